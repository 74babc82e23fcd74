package enforce_test

import (
	"flag"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/ajartest/model"
)

// TestModel drives the whole plane at random against a model of what may be open, with fake hosts and in a bubble's
// time. The same model drives the kernel's own firewall in ajartest/model.
//
// -rapid.checks=1000 asks for more histories than an ordinary run has time for.
func TestModel(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := f.Value.Set("15"); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Value.Set(f.DefValue) }()
	}
	rapid.Check(t, func(rt *rapid.T) {
		var failed any
		synctest.Test(t, func(t *testing.T) {
			defer func() { failed = recover() }()
			model.New(rt, t, model.Options{
				Pace:  model.Pace{Unit: time.Second, Breath: 2 * time.Millisecond, Rest: 4, Settle: time.Second},
				World: func(m *model.Model, p *ajartest.Plane) model.World { return imagine(p.Firewall, m.Machines) },
			}).Run()
		})
		if failed != nil {
			panic(failed)
		}
	})
}
