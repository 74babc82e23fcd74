package arm

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// BenchmarkInitiate is a whole request over TLS: authorized, recorded, durable, with the loop opening it at a fake
// firewall meanwhile.
func BenchmarkInitiate(b *testing.B) {
	r := newRig(b)
	var machines []ajar.ID
	for i := range 10 {
		machines = append(machines, r.Machine(fmt.Sprintf("vm%d", i)))
	}
	p := string(r.Policy("default", machines...))
	token := r.tokenFor(r.User("alice", ajartest.At("Just-in-time Requester", ajar.Root), ajartest.At("Reader", ajar.Root)))
	var n atomic.Int64
	b.SetParallelism(32) // × 2 cores
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
		for pb.Next() {
			i := n.Add(1)
			text := body(fmt.Sprintf(`{"virtualMachines":[{"id":"%%M","ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"10.%d.%d.%d"}]}],"justification":"bench"}`, i>>16&255, i>>8&255, i&255), machines[int(i)%len(machines)])
			req, err := http.NewRequestWithContext(b.Context(), "POST", r.server.URL+p+"/initiate"+v, strings.NewReader(text))
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := c.Do(req)
			if err != nil {
				b.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body) //nolint:errcheck // drained for the next
			resp.Body.Close()
			if resp.StatusCode != 202 {
				b.Fatal(resp.Status)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// BenchmarkTargetByName is what the command line asks first, of a plane with many machines.
func BenchmarkTargetByName(b *testing.B) {
	r := newRig(b)
	var docs []ajar.Doc
	for i := range 10_000 {
		docs = append(docs, &ajar.Target{ID: ajartest.MachineID(fmt.Sprintf("vm%d", i)), Location: "westeurope", OS: "Linux"})
	}
	r.Put(docs...)
	for b.Loop() {
		for path := "/ajar/v1/targets?name=vm9999"; path != ""; {
			var l list[targetBody]
			r.must(200, "GET", path, "").into(b, &l)
			path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
		}
	}
}
