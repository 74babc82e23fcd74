package broker

import (
	"context"
	"errors"

	"github.com/ajar-access/ajar"
)

// HostOf is a machine with the hosts that keep its ports, as far as the caller may read them.
type HostOf struct {
	Target ajar.ID
	Joined bool // that there are hosts at all
	Hosts  []*ajar.Endpoint
}

// HostsOf reads the hosts of machines. A machine that the caller may not read, or that there is not, is left out.
func (b *Broker) HostsOf(ctx context.Context, who ajar.Caller, targets []ajar.ID) (out []HostOf, err error) {
	if len(targets) > ajar.MaxMachines {
		return nil, ajar.Errorf(ajar.Invalid, "%d machines; at most %d are taken", len(targets), ajar.MaxMachines)
	}
	ids := make([]ajar.ID, len(targets))
	for i, id := range targets {
		if ids[i], err = machine(id); err != nil {
			return nil, err
		}
	}
	err = b.view(ctx, who, func(t *txn) error {
		out = make([]HostOf, 0, len(ids))
		for _, id := range ids {
			if !t.can(ajar.MachineRead, id) {
				continue
			}
			m, err := ajar.Get[ajar.Target](t, id.Key())
			if errors.Is(err, ajar.NotFound) {
				continue
			} else if err != nil {
				return err
			}
			h := HostOf{Target: m.ID, Joined: len(m.Endpoints) > 0}
			for _, ep := range m.Endpoints {
				if !t.can(ajar.HostRead, id) {
					break
				}
				e, err := ajar.Get[ajar.Endpoint](t, string(ep))
				if errors.Is(err, ajar.NotFound) {
					continue
				} else if err != nil {
					return err
				}
				h.Hosts = append(h.Hosts, e)
			}
			out = append(out, h)
		}
		return nil
	})
	return out, err
}
