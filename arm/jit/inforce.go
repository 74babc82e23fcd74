package jit

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// inForceIn names machines whose guards somebody waits for.
type inForceIn struct {
	Targets []string `json:"targets"`
}

// inForceBody is a machine, and whether its firewall was seen to have what is to be guarded.
type inForceBody struct {
	Target ajar.ID    `json:"target"`
	Joined bool       `json:"joined"`         // whether a host has joined as the machine
	Host   *hostState `json:"host,omitempty"` // for who may read hosts
}

// inForce tells how hosts stand to what they are to guard. With wait it holds until one of them has it that had not, or
// its connection came or went.
func (s room) inForce(ctx context.Context, c *rest.Call, in inForceIn) (l rest.List[inForceBody], err error) {
	targets := make([]ajar.ID, len(in.Targets))
	for i, t := range in.Targets {
		if targets[i], err = rest.MachineID(t, "targets"); err != nil {
			return l, err
		}
	}
	var most time.Duration
	if w := c.Param("wait"); w != "" {
		if most, err = rest.ParseWait(w); err != nil {
			return l, err
		}
		most = min(most, rest.LongestWait)
	}
	ch, stop, err := s.News.Follow(c.Who.Principal, ajar.EventFilter{Action: ajar.GuardInForce})
	if err != nil {
		return l, err
	}
	defer stop()
	began, before := s.Clock(), guardCount{}
	for try := 0; ; try++ {
		if err := c.Still(); err != nil {
			return l, err
		}
		all, err := s.Broker.HostsOf(ctx, c.Who, targets)
		if err != nil {
			return l, err
		}
		now, waited := countGuards(all), s.Clock().Sub(began)
		if try == 0 {
			before = now
		}
		if now != before || now.waiting == 0 || (try == 0 && now.have > 0) || waited >= most {
			for _, h := range all {
				l.Value = append(l.Value, showInForce(h))
			}
			return l, nil
		}
		if s.News.Pause(ctx, ch, min(rest.Glance, most-waited)) != nil {
			return l, context.Cause(ctx)
		}
	}
}

// guardCount counts machines: those that have what they are to guard, and those that can be waited for because they are
// connected.
type guardCount struct{ have, waiting int }

func countGuards(all []broker.HostOf) (n guardCount) {
	for _, h := range all {
		switch b := showInForce(h); {
		case b.Host == nil:
		case !b.Host.Pending:
			n.have++
		case b.Host.Connected:
			n.waiting++
		}
	}
	return n
}

// showInForce takes several hosts of one machine together: the worst counts.
func showInForce(h broker.HostOf) inForceBody {
	b := inForceBody{Target: h.Target, Joined: h.Joined}
	for _, ep := range h.Hosts {
		if st := showHostState(ep); b.Host == nil || (st.Pending && (!b.Host.Pending || !st.Connected)) {
			b.Host = st
		}
	}
	return b
}
