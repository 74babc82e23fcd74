package fake_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
	"github.com/ajar-access/ajar/provider/providertest"
)

func TestEnforcer(t *testing.T) {
	providertest.Run(t, func(t *testing.T) providertest.World {
		f := fake.New(time.Now)
		return providertest.World{
			Enforcer: f, Endpoint: ajar.Endpoint{ID: "vm1", Provider: "fake"}, Clock: time.Now, Tolerance: 10 * time.Millisecond,
			Reopen:   func(*testing.T) ajar.Enforcer { return f },
			Connects: func(_ *testing.T, src netip.Addr, p ajar.Port) bool { return f.Host("vm1").Open(src, p) },
		}
	})
}
