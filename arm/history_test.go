package arm

import (
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// Who had access in some month, and who approved it, is one list.
func TestLeasesOfATime(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.PolicyOf("default", []ajar.PortPolicy{{Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: time.Hour, Approvals: 1}}, vm)
	alice, bob := r.User("alice", ajartest.At("Owner", ajar.Root)), r.User("bob", ajartest.At("Owner", ajar.Root))
	var starts []time.Time
	var ids []ajar.LeaseID
	for _, source := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		o := r.Open(alice, p, vm, 22, source, time.Hour)
		o, err := r.Broker.Approve(t.Context(), bob, o.Request.ID, "fine")
		if err != nil {
			t.Fatal(err)
		}
		starts, ids = append(starts, o.Leases[0].Start), append(ids, o.Leases[0].ID)
		r.Step(24 * time.Hour)
	}
	list := func(since, before time.Time) (got []ajar.LeaseID) {
		t.Helper()
		q := url.Values{"$expand": {"request"}, "scope": {string(vm)}}
		if !since.IsZero() {
			q.Set("since", since.Format(time.RFC3339Nano))
		}
		if !before.IsZero() {
			q.Set("before", before.Format(time.RFC3339Nano))
		}
		var l list[leaseBody]
		r.must(200, "GET", "/ajar/v1/leases?"+q.Encode(), "").into(t, &l)
		for _, b := range l.Value {
			if len(b.Approvals) != 1 || b.Approvals[0].Name != "bob" || b.Approvals[0].Reason != "fine" || !b.From.IsValid() {
				t.Errorf("of the request: %+v", b)
			}
			got = append(got, b.ID)
		}
		return got
	}
	none := time.Time{}
	for what, x := range map[string]struct {
		since, before time.Time
		want          []ajar.LeaseID
	}{
		"all":                        {none, none, slices.Clone(ids)},
		"before the second":          {none, starts[1], slices.Clone(ids[:1])},
		"since the second, while it": {starts[1].Add(30 * time.Minute), none, slices.Clone(ids[1:])},
		"since it was over":          {starts[1].Add(2 * time.Hour), none, slices.Clone(ids[2:])},
		"that day":                   {starts[1].Add(-time.Hour), starts[1].Add(2 * time.Hour), slices.Clone(ids[1:2])},
		"between":                    {starts[0].Add(3 * time.Hour), starts[1], nil},
	} {
		got := list(x.since, x.before)
		slices.Sort(got)
		slices.Sort(x.want)
		if !slices.Equal(got, x.want) {
			t.Errorf("%s: %v, want %v", what, got, x.want)
		}
	}
	r.must(400, "GET", "/ajar/v1/leases?since=yesterday", "")
}
