package model_test

import (
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar/ajartest/model"
)

// pulse notes when this process did not get its turn for so long that nobody can say what it is late with.
type pulse struct {
	mu   sync.Mutex
	last time.Time
	all  []model.Stall
}

// stall is how long that is: a part of what the model allows for something to be carried out.
const stall = 100 * time.Millisecond

// feel takes the pulse until the test is over.
func feel(t *testing.T) *pulse {
	p := &pulse{last: time.Now()}
	tick, over, done := time.NewTicker(5*time.Millisecond), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-tick.C:
				p.beat()
			case <-over:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(over)
		<-done
		tick.Stop()
		if len(p.all) > 0 {
			t.Logf("the machine stood still %d times", len(p.all))
		}
	})
	return p
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if now.Sub(p.last) > stall {
		p.all = append(p.all, model.Stall{From: p.last, To: now})
	}
	p.last = now
}

// stalls are those so far, with one that nobody noticed yet.
func (p *pulse) stalls() []model.Stall {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.all[:len(p.all):len(p.all)]
	if now := time.Now(); now.Sub(p.last) > stall {
		all = append(all, model.Stall{From: p.last, To: now})
	}
	return all
}
