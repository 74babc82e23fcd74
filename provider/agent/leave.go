package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ajar-access/ajar"
)

// NotesUntold is the Code of the error that says what leaving would lose.
const NotesUntold = "NotesUntold"

// How long leaving waits for the plane to take what happened here.
const leavePatience = 10 * time.Second

// Notes lists what happened here and the plane does not have yet, oldest first, a JSON text each.
func (h *Host) Notes() ([]json.RawMessage, error) {
	h.journal.mu.Lock()
	defer h.journal.mu.Unlock()
	list := make([]json.RawMessage, len(h.journal.notes))
	for i, n := range h.journal.notes {
		text, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		list[i] = text
	}
	return list, nil
}

// hearOut waits for the plane to take what happened here, and refuses if it does not. Of kept notes somebody else takes care.
func (h *Host) hearOut(ctx context.Context, kept int) error {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	for {
		n := h.journal.waiting() - kept
		if n <= 0 {
			return nil
		}
		h.link.mu.Lock()
		up := h.link.up
		h.link.mu.Unlock()
		if !up || !pause(ctx, 20*time.Millisecond) {
			return untoldOf(n)
		}
	}
}

func untoldOf(n int) error {
	things := "one thing"
	if n > 1 {
		things = fmt.Sprintf("%d things", n)
	}
	return &ajar.Error{Kind: ajar.Conflict, Code: NotesUntold,
		Msg: "the plane does not know yet of " + things + " that happened here, and leaving would lose that; nothing was changed"}
}

// Leave restores the host: the firewall is as if Ajar had never been here, the plane is told if it can be, the identity
// and the state are deleted. It returns what the plane could not be told, which is no failure of leaving. What happened here
// must be with the plane before, but for as many Notes as were kept elsewhere.
func (h *Host) Leave(ctx context.Context, kept int) (untold, err error) {
	if err := h.hearOut(ctx, kept); err != nil {
		return nil, err
	}
	h.mu.Lock()
	if n := h.journal.waiting() - kept; n > 0 { // break-glass, just now
		h.mu.Unlock()
		return nil, untoldOf(n)
	}
	h.rev++
	err = h.Local.ApplyAt(ctx, h.endpoint(), ajar.Ruleset{}, h.rev)
	if err != nil {
		h.mu.Unlock()
		return nil, fmt.Errorf("take the guard away: %w", err)
	}
	h.left, h.known, h.adrift = true, false, false
	h.want.take(&record{Whole: true})
	h.mu.Unlock()
	untold = h.tellLeaving(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ledger.broken()
	h.journal.close()
	for _, f := range []string{identityFile, ledgerFile, journalFile, outliveFile} {
		// The second is of an agent that died while it wrote the first anew: a key may be in it.
		for _, name := range []string{f, f + half} {
			if e := os.Remove(filepath.Join(h.Dir, name)); e != nil && !errors.Is(e, fs.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
	}
	h.id = nil
	h.hangUp()
	return untold, err
}

// tellLeaving tells the plane over the live connection, or over one made for it.
func (h *Host) tellLeaving(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := h.askPlane(ctx, &message{Type: typeLeave})
	if !errors.Is(err, errNoLink) {
		return err
	}
	h.mu.Lock()
	id := h.id
	h.mu.Unlock()
	if id == nil || id.Cert == "" {
		return nil // nobody to tell
	}
	pair, _, err := id.certificate()
	if err != nil {
		return err
	}
	conn, err := h.dial(ctx, id, pair)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	w := newWire(conn, maxFromPlane, maxFromHost, h.Patience)
	defer w.close()
	if _, err := h.greet(ctx, w); err != nil {
		return err
	}
	if err := w.send(ctx, &message{Type: typeLeave, Call: 1}); err != nil {
		return err
	}
	for {
		var m message
		if err := w.receive(&m); err != nil {
			return err
		}
		if m.Type == typeAnswer && m.Call == 1 {
			return m.Fault.err()
		}
	}
}

// hangUp ends the connection, so that Run looks again.
func (h *Host) hangUp() {
	h.link.mu.Lock()
	w := h.link.wire
	h.link.mu.Unlock()
	if w != nil {
		w.close()
	}
	poke(h.redial)
}
