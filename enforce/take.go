package enforce

import (
	"context"
	"runtime"

	"github.com/ajar-access/ajar"
)

// takeMost is how many endpoints one verb may have claimed by itself; where there are more, claiming them in batches is
// cheaper, and holds up nobody else's Update.
const takeMost = 8

// Take claims endpoints that a verb marked due, inside that verb's own Update: then their passes begin with its commit
// and need none of their own before the firewall is driven. The verb calls begun after the commit, and nothing if there
// is none. What cannot be taken is woken then: a loop that does not run, or that is at work on the endpoint, takes
// nothing, nor may a replica that is not the endpoint's home.
//
// written is all leases that the verb wrote, as it wrote them, which nobody changes any more; and it has marked each of
// eps due. So a pass that knows what was written up to the mark before goes on from there without reading.
func (l *Loop) Take(tx ajar.Tx, eps []ajar.EndpointID, written []*ajar.Lease) (begun func(), err error) {
	l.init()
	now := l.Clock()
	var claims []ajar.Claim
	var rest []ajar.EndpointID
	for _, id := range eps {
		if !l.free(id) || len(eps) > takeMost {
			rest = append(rest, id)
			continue
		}
		c, ok, err := tx.Claim(id, now, l.Hold, l.Owner)
		switch {
		case err != nil:
			return nil, err
		case ok:
			claims = append(claims, c)
		default:
			rest = append(rest, id)
		}
	}
	return func() {
		if len(rest) > 0 {
			l.Wake(rest...)
		}
		if len(claims) > 0 {
			l.begin(claims, written)
			runtime.Gosched() // the firewall is told before the caller is: it takes longer
		}
	}, nil
}

// free reports whether a pass over id could begin now. One that is under way is told that something is being written.
func (l *Loop) free(id ajar.EndpointID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.flying[id]
	if f != nil {
		f.disturbed = true
	}
	return l.running != nil && f == nil && len(l.flying) < l.Width
}

// disturbed reports whether the pass over id was told so.
func (l *Loop) disturbed(id ajar.EndpointID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.flying[id]
	return f == nil || f.disturbed || f.again
}

// begin starts the passes of claims that are durable. If the loop has stopped meanwhile they stand until they end, as
// after a crash.
func (l *Loop) begin(claims []ajar.Claim, written []*ajar.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running != nil && l.running.Err() == nil {
		l.start(l.running, claims, &news{written})
	}
}

// news is what a verb hands over with the claim: nil = nobody waits for this pass.
type news struct{ written []*ajar.Lease }

// of gives what there is of one endpoint.
func (n *news) of(id ajar.EndpointID) (ls []*ajar.Lease) {
	if n == nil {
		return nil
	}
	for _, l := range n.written {
		if l.Endpoint == id {
			ls = append(ls, l)
		}
	}
	return ls
}

// spent reports whether the firewall could be under way with c still when c ends: the commit that made it durable, or
// the reading after it, took too long.
func (l *Loop) spent(ctx context.Context, c ajar.Claim) bool {
	return c.Until.Sub(l.Clock()) < l.ApplyTimeout && ctx.Err() == nil
}
