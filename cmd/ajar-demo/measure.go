//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/lab"
)

// exact is how near a deadline must have been seen to be met.
const exact = 50 * time.Millisecond

// disturbed says that this machine was too busy to measure something, which tells neither that it holds nor that it does
// not.
type disturbed struct{ why string }

func (d *disturbed) Error() string { return "this machine is too busy to measure it: " + d.why }

// over calls an error a disturbance if it came after the lease ended that it needs. Before that it is none.
func over(err error, end time.Time) error {
	if err == nil || time.Now().Before(end) {
		return err
	}
	return &disturbed{fmt.Sprintf("the lease was over before it was used (%v)", err)}
}

// measured has something on m measured again, with more time, if the machine disturbed it. What is seen not to hold fails
// at once.
func (d *demo) measured(ctx context.Context, m *lab.Machine, see func(n time.Duration) (string, error)) (string, error) {
	for n := time.Duration(1); ; n++ {
		seen, err := see(n)
		var why *disturbed
		if !errors.As(err, &why) || n == 5 {
			return seen, err
		}
		fmt.Fprintf(d.out, "    once more, since %v\n", err)
		if err := d.settle(ctx, m); err != nil {
			return "", err
		}
	}
}

// settle has everything run, and no lease left on m.
func (d *demo) settle(ctx context.Context, m *lab.Machine) error {
	if !d.lab.Plane.Proc().Alive() {
		if err := d.lab.Plane.Start(ctx); err != nil {
			return err
		}
	}
	if !m.Agent().Alive() {
		if err := m.StartAgent(ctx); err != nil {
			return err
		}
	}
	if err := d.lab.Plane.AwaitHost(ctx, m, time.Minute); err != nil {
		return err
	}
	err := lab.Await(ctx, time.Minute, func() (bool, error) {
		for _, err := range d.lab.Plane.Admin.Leases(ctx, client.LeaseQuery{Scope: m.ID, Live: true}) {
			return false, err
		}
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("a lease on %s does not end: %w", m.Name, err)
	}
	_, err = d.lab.Requester.AwaitClosed(ctx, m.SSH())
	return err
}

// watchTo watches m from just before a deadline, unless w does already, until a try was made that was clearly after it.
func (d *demo) watchTo(ctx context.Context, w *lab.Watch, m *lab.Machine, end time.Time) (lab.Seen, error) {
	if w == nil {
		if err := until(ctx, end.Add(-150*time.Millisecond)); err != nil {
			return lab.Seen{}, err
		}
		w = d.lab.Requester.Watch(m.SSH(), 2*time.Millisecond)
	}
	err := until(ctx, end.Add(2*exact))
	if err == nil {
		err = lab.Await(ctx, time.Minute, func() (bool, error) { return w.Now().Latest.After(end.Add(exact)), nil })
	}
	return w.Stop(), err
}

// met judges what a watch saw of a deadline. Each try lies between its begin and its end: what is not met on both is not
// met, what is met on one alone was measured badly.
func met(seen lab.Seen, end time.Time) error {
	if late := seen.LastBegan.Sub(end); seen.EverOpen() && late > exact {
		return fmt.Errorf("the deadline was not met: a connection that was begun %s after it came about", late)
	}
	for i, c := range seen.Changes {
		if early := end.Sub(c.At); !c.Open && early > exact {
			return fmt.Errorf("it closed %s before the deadline", early)
		} else if c.Open && i > 0 {
			return fmt.Errorf("there was a gap: %d changes in %d tries", len(seen.Changes), seen.Tries)
		}
	}
	if !seen.EverOpen() {
		return &disturbed{"no try was made before the deadline"}
	}
	return near("the last connection came about", seen.LastOpen, end)
}

// near calls it a disturbance if something was seen much later than a deadline that it was begun before.
func near(what string, at, end time.Time) error {
	if late := at.Sub(end); late > exact {
		return &disturbed{fmt.Sprintf("%s between the deadline and %s after it", what, ms(late))}
	}
	return nil
}

// worse is what does not hold, if one of two does not, else what disturbed either.
func worse(a, b error) error {
	var why *disturbed
	if a == nil || errors.As(a, &why) && b != nil {
		return b
	}
	return a
}

// cut judges what a session with a lease saw of its end, in the same way.
func (s *session) cut(end time.Time) error {
	if late := s.lastTyped().Sub(end); late > exact {
		return fmt.Errorf("the deadline was not met: a line that was typed %s after it came back", late)
	}
	return near("the last line came back", s.lastLine(), end)
}
