package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// A lease whose mode spares live sessions ends without anybody hearing of them. So the host looks, shortly after the end,
// who goes on, says so once for each lease, and again when the last of them is over.
const (
	outliveFile = "outliving"
	settleTime  = 100 * time.Millisecond // after an end, until the kernel lets nobody new in
	lookAgain   = 5 * time.Second        // while sessions go on
	lookPace    = 200 * time.Millisecond // at least between two looks, however many leases end
)

// spared is a lease that ended here, as the file remembers it: the plane was told of its sessions.
type spared struct {
	Port     ajar.Port `json:"port"`
	Sessions int       `json:"sessions"`
	Until    time.Time `json:"until"` // when the kernel cuts them, by the Clock
}

// ends is what the goroutine that looks remembers.
type ends struct {
	list  func(context.Context, []ajar.Flow) ([]ajar.Connection, error)
	told  map[ajar.LeaseID]spared
	quiet map[ajar.LeaseID]time.Time // nobody outlived the lease that ended at that time
	stale bool                       // the file does not say what told says
	fault string                     // why nothing can be seen, said once
}

// watchEnds looks who outlives leases, until ctx ends.
func (h *Host) watchEnds(ctx context.Context) {
	local, ok := h.Local.(SessionLister)
	if !ok {
		return
	}
	e := &ends{list: local.Sessions, told: h.readOutliving(), quiet: map[ajar.LeaseID]time.Time{}}
	for {
		t := time.NewTimer(h.lookAtEnds(ctx, e))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-h.ends:
		}
		t.Stop()
		if !pause(ctx, lookPace) {
			return
		}
	}
}

// lookAtEnds tells what is new of leases that ended, and for how long nothing will be.
func (h *Host) lookAtEnds(ctx context.Context, e *ends) time.Duration {
	over, live, guard, wait := h.ended(e)
	var flows []ajar.Flow
	for _, r := range over {
		if !slices.Contains(flows, r.Flow) {
			flows = append(flows, r.Flow)
		}
	}
	var all []ajar.Connection
	if len(flows) > 0 {
		var err error
		if all, err = e.list(ctx, flows); err != nil {
			if ctx.Err() == nil && e.fault != err.Error() {
				e.fault = err.Error()
				h.Log.Warn("who outlives a lease cannot be seen; trying again", "err", err)
			}
			return lookAgain
		}
		e.fault = ""
	}
	for _, r := range over {
		h.judge(e, r, outliving(r, live, all))
	}
	h.forgetEnds(e, guard)
	if e.stale {
		e.stale = h.writeOutliving(e.told) != nil
	}
	if len(e.told) > 0 || e.stale {
		wait = min(wait, lookAgain)
	}
	return wait
}

// ended lists the rules that are over, but spare sessions still and are not known to have none; those that let new ones
// in; the guard; and how long it is until the next ends.
func (h *Host) ended(e *ends) (over, live []ajar.Rule, guard []ajar.Guard, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.Clock.Now()
	wait = time.Minute
	if h.left {
		clear(e.told)
		e.stale = false
		return nil, nil, nil, wait
	}
	guard = localGuard(h.want.guard, now)
	for id, p := range h.want.rules {
		r := p.held(id).local()
		at, quiet := e.quiet[id]
		look := r.Expires.Add(settleTime)
		switch {
		case !r.HardStop.After(r.Expires) || !now.Before(r.HardStop) || quiet && at.Equal(r.Expires):
		case now.Before(look):
			wait = min(wait, look.Sub(now))
		case guards(guard, r.Flow):
			over = append(over, r)
			wait = min(wait, max(r.HardStop.Sub(now), 0))
		}
	}
	if len(over) == 0 {
		return nil, nil, guard, wait
	}
	for _, r := range h.want.local(now).Allow {
		if now.Before(r.Expires) {
			live = append(live, r)
		}
	}
	slices.SortFunc(over, func(a, b ajar.Rule) int { return cmp.Or(a.Expires.Compare(b.Expires), cmp.Compare(a.Lease, b.Lease)) })
	return over, live, guard, wait
}

// guards reports whether some guard keeps f closed. Where nothing does, sessions go on by nobody's leave.
func guards(gs []ajar.Guard, f ajar.Flow) bool {
	return slices.ContainsFunc(gs, func(g ajar.Guard) bool {
		return g.Port.Number == f.Port.Number && g.Port.Protocol.Meets(f.Port.Protocol) && (!g.Dest.IsValid() || !f.Dest.IsValid() || g.Dest == f.Dest)
	})
}

// outliving are the connections of all that r let in and nothing that is live would let in now.
func outliving(r ajar.Rule, live []ajar.Rule, all []ajar.Connection) (out []ajar.Connection) {
	var meets []ajar.Rule
	for _, l := range live {
		if l.Port.Number == r.Port.Number {
			meets = append(meets, l)
		}
	}
	for _, c := range all {
		if lets(r, c) && !slices.ContainsFunc(meets, func(l ajar.Rule) bool { return lets(l, c) }) {
			out = append(out, c)
		}
	}
	return out
}

func lets(r ajar.Rule, c ajar.Connection) bool {
	if r.Port.Number != c.Port.Number || !r.Port.Protocol.Meets(c.Port.Protocol) || r.Dest.IsValid() && r.Dest != c.Local.Addr() {
		return false
	}
	for _, s := range r.Sources {
		if s.Contains(c.Remote.Addr()) {
			return true
		}
	}
	return false
}

// judge tells the plane what there is to tell of r, which ended and was outlived by who.
func (h *Host) judge(e *ends, r ajar.Rule, who []ajar.Connection) {
	_, told := e.told[r.Lease]
	switch {
	case len(who) == 0 && told:
		h.tellOver(e, r.Lease, "")
		e.quiet[r.Lease] = r.Expires
	case len(who) == 0:
		e.quiet[r.Lease] = r.Expires
	case !told:
		s := &ajar.Sessions{Live: len(who)}
		slices.SortFunc(who, func(a, b ajar.Connection) int { return a.Remote.Compare(b.Remote) })
		for _, c := range who[:min(len(who), ajar.MaxPeers)] {
			s.Peers = append(s.Peers, ajar.Peer{Addr: c.Remote, Since: c.Since})
		}
		n := note{Time: h.Clock.Plane(), Action: ajar.SessionsOutlive, Lease: r.Lease, Sessions: s}
		if err := h.journal.add(n); err != nil {
			h.Log.Error("keep a report for the plane", "err", err)
			return
		}
		h.Log.Info("sessions outlive their lease", "lease", r.Lease, "port", r.Port, "sessions", s.Live, "until", r.HardStop)
		e.told[r.Lease], e.stale = spared{Port: r.Port, Sessions: s.Live, Until: r.HardStop}, true
	case e.told[r.Lease].Until != r.HardStop || e.told[r.Lease].Sessions != len(who):
		e.told[r.Lease] = spared{Port: r.Port, Sessions: len(who), Until: r.HardStop} // the file need not know each number
	}
}

// tellOver tells that nobody outlives the lease any longer.
func (h *Host) tellOver(e *ends, id ajar.LeaseID, cut string) {
	n := note{Time: h.Clock.Plane(), Action: ajar.SessionsOver, Lease: id, Sessions: &ajar.Sessions{Cut: cut}}
	if cut != "" {
		n.Sessions.Live = e.told[id].Sessions
	}
	if err := h.journal.add(n); err != nil {
		h.Log.Error("keep a report for the plane", "err", err)
		return
	}
	h.Log.Info("no session outlives its lease any longer", "lease", id, "cut", cut)
	delete(e.told, id)
	e.stale = true
}

// forgetEnds tells of the leases whose sessions the kernel cut meanwhile, and forgets those that are no longer known.
func (h *Host) forgetEnds(e *ends, guard []ajar.Guard) {
	h.mu.Lock()
	now := h.Clock.Now()
	why := map[ajar.LeaseID]string{}
	for id, s := range e.told {
		held, known := h.want.rules.get(id)
		until := s.Until
		if known {
			until = held.local().HardStop
		}
		switch {
		case known && !guards(guard, held.Flow):
			why[id] = "the port is no longer guarded"
		case !now.Before(until):
			why[id] = "cut at the hard stop"
		case !known:
			why[id] = "cut before the hard stop"
		}
	}
	for id := range e.quiet {
		if _, known := h.want.rules[id]; !known {
			delete(e.quiet, id)
		}
	}
	h.mu.Unlock()
	for id, cut := range why {
		h.tellOver(e, id, cut)
	}
}

// readOutliving gives what the plane was told before this agent started. Where the file cannot be read it is told once
// more, and knows that it was told.
func (h *Host) readOutliving() map[ajar.LeaseID]spared {
	told := map[ajar.LeaseID]spared{}
	b, err := os.ReadFile(filepath.Join(h.Dir, outliveFile))
	if err == nil {
		err = json.Unmarshal(b, &told)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.Log.Error("read which sessions the plane knows of", "err", err)
		clear(told)
	}
	if told == nil {
		told = map[ajar.LeaseID]spared{}
	}
	return told
}

func (h *Host) writeOutliving(told map[ajar.LeaseID]spared) error {
	b, err := json.Marshal(told)
	if err == nil {
		err = writeFile(filepath.Join(h.Dir, outliveFile), b)
	}
	if err != nil {
		h.Log.Error("keep which sessions the plane knows of", "err", err)
	}
	return err
}
