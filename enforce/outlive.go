package enforce

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// outlived makes events of what a host says of sessions that went on after their lease: one when it looked first, one when
// the last was over. A host is believed about leases of its own that did end and let sessions go on, once for each; and
// about peers that the lease had let in.
func outlived(tx ajar.Tx, r ajar.Report) error {
	l, err := ajar.Get[ajar.Lease](tx, string(r.Lease))
	if errors.Is(err, ajar.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	at := milli(r.Time)
	if l.Endpoint != r.Endpoint || r.Sessions == nil || !l.HardStop().After(l.End) || at.Before(l.End.Add(-slack)) {
		return nil
	}
	details := map[string]string{"port": l.Flow.Port.String(), "end": stamp(l.End)}
	ev := ajar.Event{Time: at, Action: r.Action, Outcome: ajar.Happened, Scope: l.Target, Principal: l.Requester,
		Request: l.Request, Lease: l.ID, Endpoint: l.Endpoint, Details: details}
	switch {
	case r.Action == ajar.SessionsOutlive && l.Outlived == nil && r.Sessions.Live > 0:
		l.Outlived = &ajar.Outlived{Sessions: r.Sessions.Live, Peers: admitted(l, r.Sessions.Peers), At: at}
		details["sessions"], details["until"] = strconv.Itoa(r.Sessions.Live), stamp(l.HardStop())
		if len(l.Outlived.Peers) > 0 {
			details["peers"] = peerTexts(l.Outlived.Peers)
		}
		ev.Message = "the lease ended; " + sessionsText(r.Sessions.Live, "goes", "go") + " on until " + stamp(l.HardStop()) + " at the latest"
	case r.Action == ajar.SessionsOver && l.Outlived != nil && l.Outlived.Over.IsZero():
		l.Outlived.Over = at
		details["after"] = at.Sub(l.End).Round(time.Second).String()
		ev.Message = "the last session that outlived the lease has ended"
		if cut := r.Sessions.Cut; cut != "" {
			details["sessions"], details["cut"] = strconv.Itoa(r.Sessions.Live), cut
			ev.Message = "no session outlives the lease any longer: " + sessionsText(r.Sessions.Live, "was", "were") + " left, " + cut
		}
	default:
		return nil
	}
	if err := tx.Put(l); err != nil {
		return err
	}
	return tx.Append(ev)
}

func sessionsText(n int, one, more string) string {
	if n == 1 {
		return "1 session " + one
	}
	return strconv.Itoa(n) + " sessions " + more
}

// admitted are the peers that l had let in, at most ajar.MaxPeers.
func admitted(l *ajar.Lease, peers []ajar.Peer) (out []ajar.Peer) {
	for _, p := range peers {
		in := slices.ContainsFunc(l.Sources, func(s netip.Prefix) bool { return s.Contains(p.Addr.Addr()) })
		if in && len(out) < ajar.MaxPeers {
			p.Since = milli(p.Since)
			out = append(out, p)
		}
	}
	return out
}

func peerTexts(peers []ajar.Peer) string {
	texts := make([]string, 0, len(peers))
	for _, p := range peers {
		t := p.Addr.String()
		if !p.Since.IsZero() {
			t += " since " + stamp(p.Since)
		}
		texts = append(texts, t)
	}
	return strings.Join(texts, ", ")
}
