package agent

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// Status is what a host says of itself to its own administrator.
type Status struct {
	Running   bool            `json:"running"`
	Version   string          `json:"version"`
	Joined    bool            `json:"joined"`
	Server    string          `json:"server,omitempty"`
	Endpoint  ajar.EndpointID `json:"endpoint,omitempty"`
	Connected bool            `json:"connected"`
	// Since is when Connected became so; Heard when the plane last said anything.
	Since       time.Time       `json:"since,omitzero"`
	Heard       time.Time       `json:"heard,omitzero"`
	Trouble     string          `json:"trouble,omitempty"`
	Advice      string          `json:"advice,omitempty"` // what a person must do
	CertExpires time.Time       `json:"certExpires,omitzero"`
	SkewMS      *int64          `json:"skewMs,omitempty"`
	Guarded     []ajar.Guard    `json:"guarded"`
	Open        []ajar.Rule     `json:"open"`
	Host        ajar.HostStatus `json:"host"`
	BreakGlass  bool            `json:"breakGlass"` // may be used
	GlassOffBy  string          `json:"breakGlassOffBy,omitempty"`
	Undelivered int             `json:"undelivered"`
	Adrift      bool            `json:"adrift,omitempty"` // the firewall does not have what is wanted
}

// Status tells what is guarded, what is open until when, and how things stand with the plane. Times are the plane's.
func (h *Host) Status(ctx context.Context) Status {
	now, shift := h.Clock.Now(), h.Clock.Shift()
	s := Status{Running: true, Version: h.Version, Host: h.hostStatus(ctx), BreakGlass: true, Undelivered: h.journal.waiting()}
	h.mu.Lock()
	s.fill(h.id, &h.want, now, shift)
	s.Adrift = h.adrift
	h.mu.Unlock()
	if skew, ok := h.Clock.Skew(); ok {
		ms := skew.Milliseconds()
		s.SkewMS = &ms
	}
	h.link.mu.Lock()
	s.Connected, s.Since, s.Heard, s.Trouble = h.link.up, h.link.since, h.link.heard, h.link.trouble
	h.link.mu.Unlock()
	return s
}

func (s *Status) fill(id *identity, want *desired, now time.Time, shift time.Duration) {
	w := want.local(now)
	s.Guarded, s.Open = w.Guard, w.Allow
	for i := range s.Open {
		s.Open[i].Expires, s.Open[i].HardStop = s.Open[i].Expires.Add(-shift), s.Open[i].HardStop.Add(-shift)
	}
	slices.SortFunc(s.Open, func(a, b ajar.Rule) int {
		return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Lease, b.Lease))
	})
	if id == nil {
		s.Advice = "this host has not joined; join it with ajar-agent join"
		return
	}
	s.Joined, s.Server, s.Endpoint, s.BreakGlass = id.Cert != "", id.Server, id.Endpoint, !id.Settings.NoBreakGlass
	if !s.BreakGlass {
		s.GlassOffBy = id.Settings.By
	}
	if id.Cert == "" {
		s.Advice = "the plane has removed this host (" + id.Gone + ")"
		if id.Lifted {
			s.Advice += "; its ports are no longer guarded"
		} else {
			s.Advice += "; its ports stay closed: join anew, or restore them with ajar-agent leave"
		}
		return
	}
	if _, leaf, err := id.certificate(); err != nil {
		s.Advice = "the identity cannot be read: join anew"
	} else {
		s.CertExpires = leaf.NotAfter
		if now.Add(-shift).After(leaf.NotAfter) {
			s.Advice = "the certificate expired; this host keeps enforcing what it last heard: join anew"
		}
	}
}

// ReadStatus is Status from the state directory alone, while no agent runs. It needs Clock and Dir, and writes nothing.
func (h *Host) ReadStatus() (Status, error) {
	s := Status{Version: h.Version, BreakGlass: true}
	id, err := readIdentity(h.Dir)
	if err != nil && ajar.KindOf(err) != ajar.NotFound {
		return s, err
	}
	_, want, at, _, _, err := openLedger(filepath.Join(h.Dir, ledgerFile))
	if err != nil {
		return s, err
	}
	if !h.Clock.restore(at, h.BootID, h.TrustWall) {
		want.close()
	}
	b, err := os.ReadFile(filepath.Join(h.Dir, journalFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	s.Undelivered = len(readJournal(b))
	s.fill(id, &want, h.Clock.Now(), h.Clock.Shift())
	if s.Advice == "" {
		s.Advice = "the agent does not run; what is guarded stays so, and what is open closes on time"
	}
	return s, nil
}

// Endpoint is what the plane calls this host; "" if it has not joined.
func (h *Host) Endpoint() ajar.EndpointID {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.id == nil {
		return ""
	}
	return h.id.Endpoint
}
