package nftables

import (
	"context"

	"github.com/ajar-access/ajar"
)

// Sessions lists the live connections that others have to flows, whoever lets them live. It waits for no change, and
// holds none up.
func (f *Firewall) Sessions(ctx context.Context, flows []ajar.Flow) ([]ajar.Connection, error) {
	var on []bar
	for _, fl := range flows {
		ks, err := bars(ajar.Guard{Flow: fl}, 0)
		if err != nil {
			return nil, err
		}
		for k := range ks {
			on = append(on, k)
		}
	}
	conns, err := f.connections(ctx, on)
	if err != nil {
		return nil, err
	}
	live := make([]ajar.Connection, 0, len(conns))
	for _, c := range conns {
		if c.over || c.socket && !c.served {
			continue // it ended, or it is our own call
		}
		live = append(live, c.shown())
	}
	return live, nil
}

// shown is c in everybody's terms.
func (c conn) shown() ajar.Connection {
	remote, local := c.ends()
	return ajar.Connection{
		Port: ajar.Port{Number: c.lport, Protocol: ajar.Protocol(protoName(c.proto))}, Local: local, Remote: remote, Since: c.since,
	}
}
