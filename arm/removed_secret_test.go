package arm

import "testing"

// TestARemovedSecretEndsItsTokens at once, where it was removed.
func TestARemovedSecretEndsItsTokens(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/ajar/v1/principals", `{"kind":"ServicePrincipal","name":"deployer"}`)
	var old, fresh secretBody
	r.must(201, "POST", "/ajar/v1/principals/deployer/secrets", "").into(t, &old)
	r.must(201, "POST", "/ajar/v1/principals/deployer/secrets", "").into(t, &fresh)
	first, second := r.login("deployer", old.Secret), r.login("deployer", fresh.Secret)
	me := func(token string) int { return r.do("GET", "/ajar/v1/me", token, "").StatusCode }
	if a, b := me(first.Token), me(second.Token); a != 200 || b != 200 {
		t.Fatalf("before: %d, %d", a, b)
	}
	r.must(204, "DELETE", "/ajar/v1/principals/deployer/secrets/"+old.ID, "")
	if a, b := me(first.Token), me(second.Token); a != 401 || b != 200 {
		t.Errorf("the removed secret's token: %d, the other's: %d", a, b)
	}
}
