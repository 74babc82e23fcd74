package main

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/provider/agent"
)

// TestBreakGlassIsSwitchedOffByAPolicy: over ARM, to a host that is connected, and back on when the policy goes.
func TestBreakGlassIsSwitchedOffByAPolicy(t *testing.T) {
	m := newMachine(t, "")
	p := m.serve()
	admin := p.mustLogin("admin", once.FindString(p.stderr.String()))
	h := p.join(admin, false)
	p.policy(admin)
	may := func() bool { return h.Status(t.Context()).BreakGlass }
	until(t, func() bool { return len(h.firewall.Host(h.endpoint).Rules().Guard) == 1 })
	if !may() {
		t.Fatal("break-glass is off though nobody said so")
	}
	have, err := admin.Policy(t.Context(), policy)
	if err != nil {
		t.Fatal(err)
	}
	have.Properties.BreakGlass = ajar.Off
	if have, err = admin.PutPolicy(t.Context(), have, client.PutOptions{}); err != nil || have.Properties.BreakGlass != ajar.Off {
		t.Fatalf("%+v, %v", have, err)
	}
	until(t, func() bool { return !may() })
	glass := agent.BreakGlass{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}, From: netip.MustParsePrefix("192.0.2.7/32"), For: time.Minute, Reason: "why not"}
	if _, err := h.BreakGlass(t.Context(), glass); !errors.Is(err, ajar.Forbidden) || !strings.Contains(err.Error(), string(policy)) {
		t.Errorf("got %v, want Forbidden and which policy", err)
	}
	if _, err := admin.DeletePolicy(t.Context(), policy); err != nil {
		t.Fatal(err)
	}
	until(t, may)
}
