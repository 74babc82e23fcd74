package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// TestTheFirstFactorSignsTheOthersOut: whatever was got with the password alone ends, but the browser that the factor was
// made with, and whoever has a copy of its cookie is out, too. Another factor later ends nothing.
func TestTheFirstFactorSignsTheOthersOut(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	g.newPerson("bert")
	b, thief, bert := g.browser().signIn("alice"), g.browser().signIn("alice"), g.browser().signIn("bert")
	copied := g.browser()
	copied.jar[sessionCookie] = b.jar[sessionCookie]
	waiting, proof := g.code(alice)
	program := g.exchange(g.code(alice)).must(t)
	opaque, err := g.Auth.SignIn(t.Context(), authn.Login{Name: "alice", Secret: personal, Via: "arm"})
	fatal(t, err)
	made, err := g.made(opaque.Token)
	fatal(t, err)

	secret := b.open("/account/factor").enrolTOTP("/account/factor/totp")
	b.shows(http.StatusOK, "Your other browsers, your programs and your tokens are signed out")
	for what, other := range map[string]*browser{"another browser": thief, "a copy of the cookie": copied} {
		if other.open("/account"); other.signedIn() != "" {
			t.Errorf("%s is still signed in", what)
		}
	}
	g.gone("the program's token", program.AccessToken)
	g.gone("the log-in's token", opaque.Token)
	g.gone("the token that was made", made)
	g.refreshWith(program.RefreshToken).refusedAs(t, "the refresh token", 400, "invalid_grant")
	g.exchange(waiting, proof).refusedAs(t, "the code that waits", 400, "invalid_grant")
	if who, ok := b.s.session(b.asking()); !ok || fmt.Sprint(who.AMR) != "[pwd otp mfa]" {
		t.Errorf("where it was made: %+v", who)
	}
	if bert.open("/account"); bert.signedIn() != "bert" {
		t.Error("somebody else is signed out")
	}

	g.step(30 * time.Second)
	phone := g.browser().signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	b.open("/account/factor").enrolTOTP("/account/factor/totp")
	b.shows(http.StatusOK, "The authenticator app is set up")
	if phone.open("/account"); phone.signedIn() != "alice" {
		t.Error("the second app signed the phone out")
	}
}

// meanwhile is a store in which something happens before the next change.
type meanwhile struct {
	ajar.Store
	do func()
}

// Update does what is to happen first.
func (m *meanwhile) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return m.Store.Update(ctx, fn)
}

// TestNobodyIsLetInPastAFactorMadeMeanwhile: the password was looked at while there was none.
func TestNobodyIsLetInPastAFactorMadeMeanwhile(t *testing.T) {
	g := newPages(t, func(c *Config) { c.Password = true })
	m := &meanwhile{Store: g.Auth.Store}
	g.Auth.Store = m
	for what, in := range map[string]func(name string) bool{
		"a browser": func(name string) bool { return g.browser().signIn(name).signedIn() != "" },
		"a log-in": func(name string) bool {
			_, err := g.Auth.SignIn(t.Context(), authn.Login{Name: name, Secret: personal, Via: "arm"})
			return err == nil
		},
		"a password that a client sends": func(name string) bool {
			return g.post(adfsToken, "client_id", azureCLI, "grant_type", "password", "username", name, "password", personal, "scope", resource).AccessToken != ""
		},
	} {
		one, other := g.newPerson(uuid.NewString()[:8]+".x"), g.newPerson(uuid.NewString()[:8]+".y")
		if !in(one.Name) {
			t.Errorf("%s is not let in without a factor", what)
		}
		m.do = func() {
			_, err := g.Broker.PutFactor(t.Context(), ajar.Caller{Principal: other.ID}, ajar.Factor{Kind: ajar.Passkey, Name: "key", Handle: other.Name, Public: []byte("{}")})
			fatal(t, err)
		}
		if in(other.Name) {
			t.Errorf("%s is let in", what)
		}
		if m.do != nil {
			t.Errorf("%s: nothing happened meanwhile", what)
		}
	}
}

// TestWhoIsDisabledMeanwhileGetsNothing, not even what would be good when they are enabled again.
func TestWhoIsDisabledMeanwhileGetsNothing(t *testing.T) {
	g := newPages(t)
	m := &meanwhile{Store: g.Auth.Store}
	g.Auth.Store = m
	p, secret := g.newProgram("deployer")
	m.do = func() {
		_, err := g.Broker.PutPrincipal(t.Context(), ajar.Plane, ajar.Principal{ID: p.ID, Name: p.Name, Disabled: true})
		fatal(t, err)
	}
	h := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource)
	h.refusedAs(t, "a program that was disabled", 401, "invalid_client")
	fatal(t, g.Store.View(t.Context(), func(tx ajar.Tx) error {
		n, err := tx.Count(ajar.KindToken, ajar.Filter{})
		if n != 0 {
			t.Errorf("%d tokens", n)
		}
		return err
	}))
}

// TestATokenIsMadeByWhoSignedInLately: whoever finds a log-in's token makes none of it that goes on, and nobody who
// has a second factor makes one without.
func TestATokenIsMadeByWhoSignedInLately(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	bert, secret, _ := g.newGuarded("bert")
	p, key := g.newProgram("deployer")
	login := func(name, secret, code string) string {
		t.Helper()
		s, err := g.Auth.SignIn(t.Context(), authn.Login{Name: name, Secret: secret, Code: code, Via: "arm"})
		fatal(t, err)
		return s.Token
	}
	tokens := map[string]string{"alice": login("alice", personal, ""), "bert": login("bert", personal, authn.TOTPCode(secret, g.now())), "deployer": login("deployer", key, "")}
	g.step(14 * time.Minute)
	for name, token := range tokens {
		text, err := g.made(token)
		fatal(t, err)
		if _, err := g.made(text); err != nil {
			t.Errorf("what %s made of it, at once: %v", name, err)
		}
		tokens[name+"'s own"] = text
	}
	g.step(2 * time.Minute)
	for name, token := range tokens {
		var e *ajar.Error
		if _, err := g.made(token); !errors.As(err, &e) || e.Code != "FreshSignInRequired" {
			t.Errorf("%s makes one: %v", name, err)
		}
	}
	who, err := g.use(tokens["deployer"])
	fatal(t, err)
	_, hash, _ := authn.NewSecret()
	if _, err := g.Broker.PutCredential(t.Context(), who, ajar.Credential{Principal: p.ID, Kind: ajar.Secret, Hash: hash}); !errors.Is(err, ajar.Forbidden) {
		t.Errorf("a secret: %v", err)
	}

	text, hash := authn.NewToken()
	g.put(&ajar.Token{Hash: hash, Principal: bert.ID, Created: g.now(), Expires: g.now().Add(time.Hour), AuthTime: g.now(), Amr: []string{"pwd"}})
	var e *ajar.Error
	if _, err := g.made(text); !errors.As(err, &e) || e.Code != "SecondFactorRequired" {
		t.Errorf("without the second factor: %v", err)
	}
	_, hash = authn.NewToken()
	who, err = g.use(login("alice", personal, ""))
	fatal(t, err)
	if _, err := g.Broker.PutToken(t.Context(), who, ajar.Token{Hash: hash, Expires: g.now().AddDate(0, 0, 91)}); !errors.Is(err, ajar.Invalid) {
		t.Errorf("for longer than can be: %v", err)
	}
}

// TestATokenDoesNotOutliveItsSecret or certificate, which ends by itself; nor does what is made of it.
func TestATokenDoesNotOutliveItsSecret(t *testing.T) {
	v := newProver(t)
	g := v.rig
	p, secret := g.newProgram("deployer")
	end := g.now().Add(20 * time.Minute)
	fatal(t, g.Store.Update(t.Context(), func(tx ajar.Tx) error {
		list, _, err := ajar.List[ajar.Credential](tx, ajar.Filter{Owner: p.ID})
		fatal(t, err)
		list[0].Expires = end
		return tx.Put(list[0])
	}))
	h := g.post(adfsToken, "grant_type", "client_credentials", "client_id", string(p.ID), "client_secret", secret, "scope", resource).must(t)
	if h.ExpiresIn != 20*60 || h.RefreshToken != "" {
		t.Errorf("an access token for %d s, a refresh token %q", h.ExpiresIn, h.RefreshToken)
	}
	opaque, err := g.Auth.SignIn(t.Context(), authn.Login{Name: "deployer", Secret: secret, Via: "arm"})
	fatal(t, err)
	if !opaque.Expires.Equal(end) {
		t.Errorf("a log-in until %s", opaque.Expires)
	}
	made, err := g.made(opaque.Token)
	fatal(t, err)

	g.step(23*time.Hour + 40*time.Minute) // the certificate has 20 minutes left
	short := v.send(v.sign(v.x5t(), nil)).must(t)
	if short.ExpiresIn != 20*60 {
		t.Errorf("an access token for %d s", short.ExpiresIn)
	}
	for what, token := range map[string]string{"the access token": h.AccessToken, "the log-in": opaque.Token, "what was made": made} {
		g.gone(what, token)
	}
	g.step(20 * time.Minute)
	g.gone("the access token of the certificate", short.AccessToken)
}

// TestAnEndedTokenMakesNone, though this replica still remembers it: who changes their password is rid of whoever makes one
// token after the other.
func TestAnEndedTokenMakesNone(t *testing.T) {
	g := newRig(t)
	p := g.newPerson("alice")
	s, err := g.Auth.SignIn(t.Context(), authn.Login{Name: "alice", Secret: personal, Via: "arm"})
	fatal(t, err)
	if _, err := g.made(s.Token); err != nil {
		t.Fatal(err)
	}
	_, err = g.Broker.PutCredential(t.Context(), ajar.Plane, ajar.Credential{Principal: p.ID, Kind: ajar.Password, Hash: "x"})
	fatal(t, err)
	if _, err := g.use(s.Token); err != nil {
		t.Fatalf("it is not remembered: %v", err)
	}
	if _, err := g.made(s.Token); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("it makes another: %v", err)
	}
}

// TestOurProgramTakesAFreshSignIn: what it gets makes tokens that last, so a browser left alone does not give it.
func TestOurProgramTakesAFreshSignIn(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	b := g.browser().signIn("alice")
	_, cli := g.device()
	g.step(freshFor + time.Minute)
	own, _ := g.post("/adfs/oauth2/v2.0/devicecode", "client_id", OwnClient, "scope", resource).fields["user_code"].(string)
	b.open("/device").fill("/device", "user_code", cli).fill("/device/decide", "decision", "allow").shows(http.StatusOK, "It is signed in")
	b.open("/device").fill("/device", "user_code", own).shows(http.StatusOK, "Password")
	b.fill("/signin", "name", "alice", "password", personal).shows(http.StatusOK, "Type the code", own)
	page := b.fill("/device", "user_code", own).shows(http.StatusOK, "Say yes only")
	g.step(2*freshFor + time.Minute)
	page.fill("/device/decide", "decision", "allow").shows(http.StatusForbidden, "too long ago")
}
