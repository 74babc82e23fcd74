package agent

import (
	"context"
	"hash/fnv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
)

// The most reports of one queue that wait for somebody to take them.
const maxNews = 1 << 13

// news is the reports to the loop, in queues that are taken side by side, so that those of many hosts become durable
// together. One host's are in one queue, and so in order.
type news [16]*newsQueue

type newsQueue struct {
	wake chan struct{}

	mu    sync.Mutex
	queue []item
}

type item struct {
	report ajar.Report
	done   func() // called when it is durable; may be nil
}

func newNews() *news {
	n := new(news)
	for i := range n {
		n[i] = &newsQueue{wake: make(chan struct{}, 1)}
	}
	return n
}

// add queues a report, and says whether there was room. What there is none for is dropped: a host keeps what must not be
// lost, and sends it again when it is told so.
func (n *news) add(it item) bool {
	h := fnv.New32a()
	h.Write([]byte(it.report.Endpoint))
	return n[h.Sum32()%uint32(len(n))].add(it)
}

func (n *newsQueue) add(it item) bool {
	n.mu.Lock()
	room := len(n.queue) < maxNews
	if room {
		n.queue = append(n.queue, it)
	}
	n.mu.Unlock()
	poke(n.wake)
	return room
}

func (n *newsQueue) take() (it item, ok bool) {
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

// Report hands what hosts noticed to fn, of each host one at a time, until ctx ends. A report that fn does not take is
// tried again.
func (h *Hub) Report(ctx context.Context, fn func(ajar.Report) error) error {
	h.init()
	var g errgroup.Group
	for _, q := range h.news {
		g.Go(func() error { return h.reportQueue(ctx, q, fn) })
	}
	return g.Wait()
}

func (h *Hub) reportQueue(ctx context.Context, q *newsQueue, fn func(ajar.Report) error) error {
	for {
		it, ok := q.take()
		if !ok {
			select {
			case <-q.wake:
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
				q.add(it)
				return ctx.Err()
			}
		}
		if it.done != nil {
			it.done()
		}
	}
}
