package arm

import (
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// Calls that would change something look things up first. A refusal there is a refusal all the same, and in the log.
func TestRefusedLookupForAChangeIsRecorded(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"bob","password":"`+password+`"}`)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"mallory","password":"`+password+`"}`)
	mallory := r.login("mallory", password).Token
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	request := r.Open(r.User("alice", ajartest.At("Just-in-time Requester", ajar.Root), ajartest.At("Reader", ajar.Root)), p, vm, 22, "192.0.2.7", time.Hour).Request.ID
	for path, body := range map[string]string{
		"PUT /ajar/v1/principals/bob/password":                               `{"password":"of mallory's own choice"}`,
		"POST /ajar/v1/principals/bob/secrets":                               `{}`,
		"PUT /ajar/v1/principals/bob":                                        `{"disabled":true}`,
		"DELETE /ajar/v1/principals/bob":                                     "",
		"PUT /ajar/v1/role-assignments/":                                     `{"principal":"bob","role":"Owner","scope":"/"}`,
		"POST " + string(p) + "/requests/" + string(request) + "/revoke" + v: `{}`,
	} {
		method, path, _ := strings.Cut(path, " ")
		before := refusals(r)
		if a := r.do(method, path, mallory, body); a.StatusCode != 403 {
			t.Errorf("%s %s: %d %s", method, path, a.StatusCode, a.body)
		}
		if n := refusals(r) - before; n != 1 {
			t.Errorf("%s %s left %d refusals in the log, want 1", method, path, n)
		}
	}
	before := refusals(r)
	if a := r.do("GET", "/ajar/v1/principals/bob", mallory, ""); a.StatusCode != 403 || refusals(r) != before {
		t.Errorf("a mere look: %d, and %d refusals", a.StatusCode, refusals(r)-before)
	}
}

func refusals(r *rig) int {
	var l list[*ajar.Event]
	r.must(200, "GET", "/ajar/v1/events?outcome=Refused&caller=mallory&limit=1000", "").into(r.t, &l)
	return len(l.Value)
}
