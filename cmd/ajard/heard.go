package main

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// heard takes in what other replicas committed, so that what is noticed by looking now and then is noticed at once. It
// decides nothing, and everything works without.
type heard struct {
	p        *plane
	waiting  func() bool // whether anybody waits for news
	listener listener

	mu    sync.Mutex
	spans []span // of the log, that were not read yet
	hosts int64  // behind this some host's identity was changed; 0 = none was
	more  chan struct{}
}

// span is the events behind after, up to last.
type span struct{ after, last int64 }

// spanMost is how many events are read of what came while others were read; what is older is noticed by looking.
const spanMost = 20_000

// told is given each commit of another replica, and does not block.
func (h *heard) told(c store.Commit) {
	if c.Missed || slices.ContainsFunc(c.Changed, func(k ajar.DocKind) bool { return k == ajar.KindToken || k == ajar.KindPrincipal }) {
		h.p.auth.ForgetAll()
	}
	if c.Missed {
		h.p.loop.Wake()
	} else if here := h.p.hosts.connected(c.Due); len(here) > 0 {
		h.p.loop.Wake(here...)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.spans); c.Last > c.After {
		if n > 0 && h.spans[n-1].last == c.After {
			h.spans[n-1].last = c.Last
			h.spans[n-1].after = max(h.spans[n-1].after, c.Last-spanMost)
		} else {
			h.spans = append(h.spans, span{c.After, c.Last})
		}
	}
	if h.hosts == 0 && slices.Contains(c.Changed, ajar.KindHostIdentity) {
		h.hosts = c.Seq
	}
	select {
	case h.more <- struct{}{}:
	default:
	}
}

// run reads what was told of until ctx ends, and tells who waits for it.
func (h *heard) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.more:
		}
		h.mu.Lock()
		spans, hosts := h.spans, h.hosts
		h.spans, h.hosts = nil, 0
		h.mu.Unlock()
		var err error
		if hosts > 0 {
			err = h.p.hosts.recheck(ctx, hosts)
		}
		// Whoever begins to wait from here on looks first, and sees what is committed by now.
		if h.waiting() {
			for _, s := range spans {
				err = errors.Join(err, h.read(ctx, s))
			}
		}
		if err != nil && ctx.Err() == nil {
			h.p.log.Info("what other replicas committed was not read; it is noticed by looking", "err", err)
		}
	}
}

func (h *heard) read(ctx context.Context, s span) error {
	for s.after < s.last {
		var es []*ajar.Event
		err := h.p.store.View(ctx, func(tx ajar.Tx) (err error) {
			es, err = tx.Events(ajar.EventFilter{After: s.after, Until: s.last + 1, Ascending: true, Limit: 1000})
			return err
		})
		if err != nil || len(es) == 0 {
			return err
		}
		s.after = es[len(es)-1].Pos
		var requests []ajar.RequestID
		logged := make([]ajar.Event, len(es))
		for i, e := range es {
			logged[i] = *e
			if e.Request != "" {
				requests = append(requests, e.Request)
			}
		}
		slices.Sort(requests)
		h.listener.changed(slices.Compact(requests)...)
		h.listener.logged(logged)
	}
	return nil
}
