package client

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ajar-access/ajar"
)

// InForce is a machine, and whether its firewall was seen to have what is to be guarded.
type InForce struct {
	Target ajar.ID    `json:"target"`
	Joined bool       `json:"joined"`         // whether a host has joined as the machine
	Host   *HostState `json:"host,omitempty"` // nil before that, and for who may not read hosts
}

// Done reports whether the firewall has it.
func (f *InForce) Done() bool { return f.Host != nil && !f.Host.Pending }

// Awaited reports whether the firewall can be told now, and was not yet seen to have it.
func (f *InForce) Awaited() bool { return f.Host != nil && f.Host.Pending && f.Host.Connected }

// InForce tells how the firewalls of machines stand to what they are to guard. A machine that the caller may not read is
// left out. With a wait the plane holds the answer until there is something new to tell, or that time is over.
func (c *Client) InForce(ctx context.Context, targets []ajar.ID, wait time.Duration) ([]InForce, error) {
	in := struct {
		Targets []ajar.ID `json:"targets"`
	}{targets}
	var out page[InForce]
	_, err := c.do(ctx, call{method: http.MethodPost, path: "/ajar/v1/hosts/in-force", query: query("wait", iso(wait)), in: in, out: &out, hold: wait})
	return out.Value, err
}

// mostAtOnce is how many machines one question is about.
const mostAtOnce = 200

// AwaitInForce waits until the firewall of each machine was seen to have what it is to guard, or cannot be told now, and
// gives how each of them is then, in the order of targets. news, which may be nil, is called for each machine once it has
// it. A plane that is away for a while is asked again. When ctx ends it gives the last state it saw, with ctx's error.
func (c *Client) AwaitInForce(ctx context.Context, targets []ajar.ID, news func(InForce)) ([]InForce, error) {
	known := map[string]InForce{}
	for part := range slices.Chunk(targets, mostAtOnce) {
		if err := c.awaitInForce(ctx, part, known, news); err != nil {
			return inOrder(targets, known), err
		}
	}
	return inOrder(targets, known), nil
}

func (c *Client) awaitInForce(ctx context.Context, left []ajar.ID, known map[string]InForce, news func(InForce)) error {
	wait := time.Duration(0) // the first answer says who can be waited for at all
	for try := 1; len(left) > 0; try++ {
		now, err := c.InForce(ctx, left, wait)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !away(err):
			return err
		case err != nil:
			if pause(ctx, min(backoff(try), time.Second)) != nil {
				return errors.Join(ctx.Err(), err)
			}
			continue
		}
		before := len(left)
		left = nil
		for _, f := range now {
			known[f.Target.Key()] = f
			if f.Awaited() {
				left = append(left, f.Target)
			} else if f.Done() && news != nil {
				news(f)
			}
		}
		if wait == 0 || len(left) < before {
			try = 0
		} else if pause(ctx, min(backoff(try)/4, time.Second)) != nil { // it did not hold the answer back
			return ctx.Err()
		}
		wait = hold
	}
	return nil
}

func inOrder(targets []ajar.ID, known map[string]InForce) (all []InForce) {
	for _, t := range targets {
		if f, ok := known[t.Key()]; ok {
			all = append(all, f)
		}
	}
	return all
}
