package arm

import (
	"strings"
	"testing"
)

// Whoever found a token cannot make a log-in of it: not a password without the one there is, and no secret.
func TestOwnPasswordTakesTheCurrentOne(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"alice","password":"`+password+`"}`)
	s, laptop := r.login("alice", password), r.login("alice", password)
	const own, other = "/ajar/v1/principals/alice/password", "another horse, another battery"
	put := func(body string) answer { return r.do("PUT", own, s.Token, body) }
	if a := put(`{"password":"` + other + `"}`); a.StatusCode != 400 || !strings.Contains(a.body, "CurrentPasswordRequired") {
		t.Errorf("without the current one: %d %s", a.StatusCode, a.body)
	}
	if a := put(`{"password":"` + other + `","currentPassword":"a guess of somebody else"}`); a.StatusCode != 403 {
		t.Errorf("with a wrong one: %d %s", a.StatusCode, a.body)
	}
	if a := r.do("POST", "/ajar/v1/principals/alice/secrets", s.Token, `{}`); a.StatusCode != 400 {
		t.Errorf("a secret instead: %d %s", a.StatusCode, a.body)
	}
	if a := put(`{"password":"` + other + `","currentPassword":"` + password + `"}`); a.StatusCode != 204 {
		t.Fatalf("with the current one: %d %s", a.StatusCode, a.body)
	}
	if a := r.do("GET", "/ajar/v1/me", s.Token, ""); a.StatusCode != 200 {
		t.Errorf("the token it was changed with: %d", a.StatusCode)
	}
	if a := r.do("GET", "/ajar/v1/me", laptop.Token, ""); a.StatusCode != 401 {
		t.Errorf("another token of the same person goes on: %d", a.StatusCode)
	}
	r.login("alice", other)
}

// Guesses at the current password are throttled and recorded as those at a log-in are.
func TestGuessesAtTheCurrentPasswordAreThrottled(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"User","name":"alice","password":"`+password+`"}`)
	s := r.login("alice", password)
	last := 0
	for range 12 {
		last = r.do("PUT", "/ajar/v1/principals/alice/password", s.Token, `{"password":"another horse, another battery","currentPassword":"no"}`).StatusCode
	}
	if last != 429 {
		t.Errorf("the twelfth guess: %d", last)
	}
	if a := r.must(200, "GET", "/ajar/v1/events?caller=alice&outcome=Refused", ""); !strings.Contains(a.body, "the current password is wrong") {
		t.Errorf("not recorded: %s", a.body)
	}
}
