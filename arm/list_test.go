package arm

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// BenchmarkList1000Policies is what `az security jit-policy list` does over 1,000 policies, each of one machine with three
// ports, on a connection that stands; half of them have been asked for.
func BenchmarkList1000Policies(b *testing.B) {
	r := newRig(b)
	var docs []ajar.Doc
	for i := range 1000 {
		vm := ajartest.MachineID(fmt.Sprintf("vm%d", i))
		p := &ajar.Policy{ID: ajartest.PolicyID(fmt.Sprintf("vm%d-JITPolicy", i)), Kind: "Basic", Machines: []ajar.MachinePolicy{{Target: vm}}}
		for _, n := range []uint16{22, 3389, 5985} {
			p.Machines[0].Ports = append(p.Machines[0].Ports, ajar.PortPolicy{Number: n, Protocol: ajar.Both, Any: true, SourceText: []string{"*"}, MaxDuration: 3 * time.Hour})
		}
		docs = append(docs, p)
		for range i % 2 {
			lease := &ajar.Lease{ID: ajar.LeaseID(uuid.NewString()), Target: vm, Policy: p.ID, State: ajar.Closed, Reason: ajar.ReasonGone, Flow: ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}}
			docs = append(docs, lease, &ajar.Request{ID: ajar.RequestID(uuid.NewString()), Policy: p.ID, State: ajar.Approved, Name: "alice", Leases: []ajar.LeaseID{lease.ID},
				Asks: []ajar.Ask{{Target: vm, Port: lease.Flow.Port}}})
		}
	}
	for batch := range slices.Chunk(docs, 200) {
		r.Put(batch...)
	}
	b.ResetTimer()
	for b.Loop() {
		n, pages := 0, 0
		for path := testSub + "/providers/Microsoft.Security/jitNetworkAccessPolicies" + v; path != ""; pages++ {
			resp, err := r.server.Client().Do(r.request(http.MethodGet, path, ""))
			if err != nil {
				b.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 200 {
				b.Fatal(resp.Status, err)
			}
			var l struct {
				Value    []json.RawMessage
				NextLink string
			}
			if err := json.Unmarshal(text, &l); err != nil {
				b.Fatal(err)
			}
			n += len(l.Value)
			path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
		}
		if n != 1000 {
			b.Fatal(n)
		}
		b.ReportMetric(float64(pages), "pages")
	}
}
