package broker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/rbac"
)

// TestAFacetBelongsToItsMachine, in whatever case it is named, and to no other.
func TestAFacetBelongsToItsMachine(t *testing.T) {
	p := newPlane(t)
	id := vm(group, "vm1")
	p.host(id)
	for f := broker.AsMachine; f <= broker.AsPolicySummary; f++ {
		own := f.ID(id)
		for _, as := range []ajar.ID{own, ajar.ID(strings.ToUpper(string(own))), ajar.ID(own.Key())} {
			m, err := p.b.Machine(ctx, p.owner, f, as, false)
			if err != nil || !m.ID.Equal(id) {
				t.Errorf("%s: %v", as, err)
			}
		}
		for _, bad := range []ajar.ID{
			own.Group(), own + "x", ajar.ID(strings.Replace(string(own), "vm1", "vm2", 1)), ajar.ID(strings.Replace(string(own), "Microsoft.", "Contoso.", 1)),
			"/providers/Contoso/things/x" + own, "/subscriptions/" + ajar.ID(own.Subscription()), ajar.Root,
		} {
			if m, err := p.b.Machine(ctx, p.owner, f, bad, false); !errors.Is(err, ajar.NotFound) && bad != own+"x" {
				t.Errorf("%s is %+v, %v", bad, m, err)
			}
		}
		if _, err := p.b.Machine(ctx, p.owner, f, "nonsense", false); !errors.Is(err, ajar.Invalid) {
			t.Errorf("nonsense: %v", err)
		}
	}
}

// TestNobodyReadsAMachineThroughAScopeThatOnlyEndsLikeIt: a role at a scope of another sort gives nothing of what is named in it.
func TestNobodyReadsAMachineThroughAScopeThatOnlyEndsLikeIt(t *testing.T) {
	p := newPlane(t)
	id := vm(group, "vm1")
	p.host(id)
	who := p.user("mallory")
	odd := "/providers/Contoso/things/x" + id
	p.assign(who.Principal, rbac.Reader, "/providers/Contoso/things/x")
	for f := broker.AsMachine; f <= broker.AsPolicySummary; f++ {
		if m, err := p.b.Machine(ctx, who, f, "/providers/Contoso/things/x"+f.ID(id), true); err == nil {
			t.Errorf("%s gives %s", odd, m.ID)
		}
		if ms, _, err := p.b.Machines(ctx, who, f, broker.Look{}); err != nil || len(ms) > 0 {
			t.Errorf("%d machines, %v", len(ms), err)
		}
	}
}
