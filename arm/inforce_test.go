package arm

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/provider/fake"
)

// Who waits for guards is answered when a firewall was seen to have them, and told of hosts that cannot be.
func TestWhoWaitsForGuardsIsToldOfThem(t *testing.T) {
	r := newRig(t)
	vm, ep := r.Machine("gate1"), ajartest.Endpoint(ajartest.MachineID("gate1"))
	state := func(query string) inForceBody {
		t.Helper()
		var l list[inForceBody]
		a := r.must(http.StatusOK, "POST", "/ajar/v1/hosts/in-force"+query, `{"targets":["`+string(vm)+`","`+string(ajartest.MachineID("nosuch"))+`"]}`)
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || len(l.Value) != 1 || l.Value[0].Host == nil {
			t.Fatalf("%v: %s", err, a.body)
		}
		return l.Value[0]
	}
	h := r.Firewall.Host(ep)
	h.Connect()
	r.Until(func() bool { return ajartest.Get[ajar.Endpoint](r.Plane, string(ep)).Connected })
	r.Policy("gate", vm)
	if b := state("?wait=PT25S"); b.Host.Pending || !b.Host.Connected || !b.Joined {
		t.Errorf("a connected host: %+v", b.Host)
	}
	h.Set(func(h *fake.Host) { h.Fault.Unreachable = true })
	r.Until(func() bool { return !ajartest.Get[ajar.Endpoint](r.Plane, string(ep)).Connected })
	r.PolicyOf("gate", []ajar.PortPolicy{{Number: 3389, Protocol: ajar.TCP, Any: true, MaxDuration: 3600e9}}, vm)
	if b := state("?wait=PT25S"); !b.Host.Pending || b.Host.Connected {
		t.Errorf("an unreachable host: %+v", b.Host)
	}
	h.Set(func(h *fake.Host) { h.Fault.Unreachable = false })
	r.Until(func() bool { return !state("?wait=PT1S").Host.Pending })
	r.must(http.StatusBadRequest, "POST", "/ajar/v1/hosts/in-force?wait=soon", `{"targets":[]}`)
	r.must(http.StatusBadRequest, "POST", "/ajar/v1/hosts/in-force", `{"targets":["/x"]}`)
}
