package agent

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

// Root of a host can make its agent say anything; in the plane's log only what a host can know arrives, in plain words.
func TestHostCannotForgeTheLog(t *testing.T) {
	p := newPlane(t)
	m := newMachine(t, p, "web")
	m.start()
	m.await(true)
	m.mem.reports <- ajar.Report{Action: ajar.RoleAssignmentWrite, Message: "made somebody Owner"}
	m.mem.reports <- ajar.Report{Action: ajar.LeaseClosed, Message: "closed"}
	long := map[string]string{"screen": "\x1b[2Jgone\nnew line"}
	for i := range 100 {
		long[fmt.Sprint(i)] = strings.Repeat("x", 10_000)
	}
	m.mem.reports <- ajar.Report{Action: ajar.DriftRepaired, Message: strings.Repeat("é", 5000), Details: long}
	var r ajar.Report
	for r = range p.reports {
		if r.Action == ajar.RoleAssignmentWrite || r.Action == ajar.LeaseClosed {
			t.Errorf("the log has %s: %s", r.Action, r.Message)
		} else if r.Action == ajar.DriftRepaired {
			break
		}
	}
	if len(r.Message) > maxMessage || len(r.Details) > maxDetails {
		t.Errorf("a message of %d bytes and %d details arrived", len(r.Message), len(r.Details))
	}
	for k, v := range r.Details {
		if len(v) > maxMessage || strings.ContainsAny(k+v, "\x1b\n") {
			t.Errorf("detail %q: %.40q", k, v)
		}
	}
}

func TestStatusIsTamed(t *testing.T) {
	s := tameStatus(ajar.HostStatus{Version: strings.Repeat("v", 1000) + "\x00", Kernel: "6.1\x1b", Refused: make([]ajar.Refusal, 1000)})
	if len(s.Version) != maxWord || s.Kernel != "6.1" || len(s.Refused) != maxRefused {
		t.Errorf("%d bytes, %q, %d refusals", len(s.Version), s.Kernel, len(s.Refused))
	}
}
