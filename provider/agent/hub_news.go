package agent

import (
	"context"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// The most reports that wait for somebody to take them.
const maxNews = 1 << 16

// news is the queue of reports to the loop.
type news struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []item
	lost  int
}

type item struct {
	report ajar.Report
	done   func() // called when it is durable; may be nil
}

func newNews() *news { return &news{wake: make(chan struct{}, 1)} }

// add queues a report. What cannot wait any longer is dropped: a host keeps what must not be lost, and sends it again.
func (n *news) add(it item) {
	n.mu.Lock()
	if len(n.queue) >= maxNews {
		n.lost++
	} else {
		n.queue = append(n.queue, it)
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *news) take() (it item, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) == 0 {
		n.queue = nil
		return item{}, false
	}
	it = n.queue[0]
	n.queue[0] = item{}
	n.queue = n.queue[1:]
	return it, true
}

// Report hands what hosts noticed to fn, one at a time, until ctx ends. A report that fn does not take is tried again.
func (h *Hub) Report(ctx context.Context, fn func(ajar.Report) error) error {
	h.init()
	for {
		it, ok := h.news.take()
		if !ok {
			select {
			case <-h.news.wake:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
			err := fn(it.report)
			if err == nil {
				break
			}
			h.Log.Warn("record a report", "endpoint", it.report.Endpoint, "action", it.report.Action, "err", err)
			if k := ajar.KindOf(err); k == ajar.NotFound || k == ajar.Invalid {
				break // it never will be taken
			}
			if !pause(ctx, wait) {
				h.news.add(it)
				return ctx.Err()
			}
		}
		if it.done != nil {
			it.done()
		}
	}
}
