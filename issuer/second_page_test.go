package issuer

import (
	"encoding/base32"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// enrolTOTP sets up an authenticator app by the page shown, as a person does: it gives the secret.
func (b *browser) enrolTOTP(action string) []byte {
	b.t.Helper()
	u, err := url.Parse(b.otpauth())
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" {
		b.t.Fatalf("not what apps read: %s, %v", u, err)
	}
	secret := fromBase32(b.t, u.Query().Get("secret"))
	b.fill(action, "code", "000000").shows(http.StatusBadRequest, "The code is not the one that the app should show now")
	if b.otpauth() != u.String() {
		b.t.Error("another picture after a wrong code")
	}
	b.fill(action, "code", authn.TOTPCode(secret, b.now()))
	return secret
}

var otpauthText = regexp.MustCompile(`href="(otpauth:[^"]*)"`)

func (b *browser) otpauth() string {
	b.t.Helper()
	m := otpauthText.FindStringSubmatch(b.page.body)
	if m == nil {
		b.t.Fatalf("no secret on %s:\n%s", b.at, b.page.body)
	}
	return strings.ReplaceAll(m[1], "&amp;", "&")
}

// events are those of an action, the newest first.
func (g *rig) events(action ajar.Action) (list []*ajar.Event) {
	g.t.Helper()
	fatal(g.t, g.Store.View(g.t.Context(), func(tx ajar.Tx) (err error) {
		list, err = tx.Events(ajar.EventFilter{Action: action})
		return err
	}))
	return list
}

// TestTOTPIsEnrolledAndAskedFor, and a code is not taken twice, nor is half a sign-in worth anything.
func TestTOTPIsEnrolledAndAskedFor(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	b := g.browser().signIn("alice").shows(http.StatusOK, "You have none")
	secret := b.open("/account/factor").enrolTOTP("/account/factor/totp")
	b.shows(http.StatusOK, "The authenticator app is set up", "authenticator app", "You have no recovery codes")
	if e := g.events("Ajar.Access/principals/factors/write"); len(e) != 1 || e[0].Via != "web" || e[0].Details["kind"] != "totp" {
		t.Errorf("recorded: %+v", e)
	}
	phone := g.browser().signIn("alice").shows(http.StatusOK, "One more step")
	if phone.signedIn() != "" {
		t.Fatal("the password alone signs in")
	}
	phone.fill("/signin/code", "code", authn.TOTPCode(secret, g.now())).shows(http.StatusForbidden, "used before") // to enrol
	g.step(30 * time.Second)
	code := authn.TOTPCode(secret, g.now())
	phone.fill("/signin/code", "code", code[:3]+" "+code[3:]).shows(http.StatusOK, "Your account")
	if accepted, _ := g.signIns(); accepted[0].Details["factor"] != "totp" {
		t.Errorf("recorded: %+v", accepted[0])
	}
	again := g.browser().signIn("alice")
	again.fill("/signin/code", "code", code).shows(http.StatusForbidden, "used before")
	if _, refused := g.signIns(); len(refused) != 2 || refused[0].Name != "alice" {
		t.Errorf("recorded: %+v", refused)
	}
	g.step(halfLife)
	again.send("/signin/code", append(again.fields("/signin/code"), "code", authn.TOTPCode(secret, g.now()))...).follow().shows(http.StatusOK, "Password")
	if again.signedIn() != "" {
		t.Error("half a sign-in never ends")
	}
	if strings.Contains(g.browser().open("/static/").page.body, "passkey.js") {
		t.Error("the folder is listed")
	}
}

// TestRecoveryCodesSignInOnce, and are kept as hashes.
func TestRecoveryCodesSignInOnce(t *testing.T) {
	g := newPages(t)
	_, secret, _ := g.newGuarded("alice")
	b := g.browser().signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	b.open("/account/recovery").fill("/account/recovery")
	codes := regexp.MustCompile(`<code>([a-z2-7-]{19})</code>`).FindAllStringSubmatch(b.page.body, -1)
	if len(codes) != 10 {
		t.Fatalf("%d codes:\n%s", len(codes), b.page.body)
	}
	g.browser().signIn("alice").fill("/signin/code", "code", strings.ToUpper(codes[0][1])).shows(http.StatusOK, "Your account", "9 recovery codes")
	g.browser().signIn("alice").fill("/signin/code", "code", codes[0][1]).shows(http.StatusForbidden)
	b.open("/account/recovery").fill("/account/recovery")
	g.browser().signIn("alice").fill("/signin/code", "code", codes[1][1]).shows(http.StatusForbidden) // replaced
}

// TestOneTimePasswordIsExchanged for one of the person's own before anything else is open to them.
func TestOneTimePasswordIsExchanged(t *testing.T) {
	g := newPages(t)
	secret, hash, err := g.Auth.Hasher.NewOnce(t.Context())
	fatal(t, err)
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "admin"}
	g.put(p, &ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Once, Hash: hash, Created: g.now()})
	b := g.browser().open("/device").fill("/signin", "name", "admin", "password", secret).shows(http.StatusOK, "Choose a password")
	if b.signedIn() != "" {
		t.Fatal("signed in by the one-time password")
	}
	b.open("/account").shows(http.StatusOK, "Sign in")
	b.open("/signin/password?next=/device").fill("/signin/password", "new", "too short", "again", "too short").shows(http.StatusBadRequest, "too short")
	b.fill("/signin/password", "new", personal, "again", personal+"x").shows(http.StatusBadRequest, "not the same")
	b.fill("/signin/password", "new", personal, "again", personal).shows(http.StatusOK, "Type the code")
	if b.signedIn() != "admin" {
		t.Error("not signed in")
	}
	g.browser().open("/signin").fill("/signin", "name", "admin", "password", secret).shows(http.StatusForbidden)
	g.browser().signIn("admin").shows(http.StatusOK, "Your account")
}

// TestAOneTimePasswordTakesTheSecondFactorFirst: who got hold of the one-time password alone sets no other, and signs nobody
// out.
func TestAOneTimePasswordTakesTheSecondFactorFirst(t *testing.T) {
	g := newPages(t)
	p, secret, codes := g.newGuarded("alice")
	hash, err := g.Auth.Hasher.Hash(t.Context(), "a password for once")
	fatal(t, err)
	_, err = g.Broker.PutCredential(t.Context(), ajar.Plane, ajar.Credential{Principal: p.ID, Kind: ajar.Password, Hash: hash, Expires: g.now().Add(time.Hour)})
	fatal(t, err)
	b := g.browser().open("/device").fill("/signin", "name", "alice", "password", "a password for once").shows(http.StatusOK, "One more step")
	b.open("/signin/password").shows(http.StatusOK, "One more step")
	if b.signedIn() != "" {
		t.Fatal("signed in")
	}
	b.fill("/signin/code", "code", "000000").shows(http.StatusForbidden)
	b.fill("/signin/code", "code", authn.TOTPCode(secret, g.now())).shows(http.StatusOK, "Choose a password")
	if b.signedIn() != "" {
		t.Fatal("signed in before another password is set")
	}
	b.open("/signin/code").shows(http.StatusOK, "Choose a password")
	b.open("/signin/password?next=/device").fill("/signin/password", "new", personal, "again", personal).shows(http.StatusOK, "Type the code")
	if who, _ := b.s.session(b.asking()); who == nil || fmt.Sprint(who.AMR) != "[pwd otp mfa]" {
		t.Errorf("signed in as %+v", who)
	}
	g.browser().signIn("alice").fill("/signin/code", "code", codes[0]).shows(http.StatusOK, "Your account")
}

// TestRequiredFactorIsMadeFirst: nobody gets past the password without one.
func TestRequiredFactorIsMadeFirst(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	g.Auth.SecondFactor = authn.SecondRequired
	b := g.browser().open("/device").fill("/signin", "name", "alice", "password", personal).shows(http.StatusOK, "Set up a second factor", "An authenticator app", "A passkey")
	for _, path := range []string{"/account", "/device", "/account/factor"} {
		if other := b.open(path); other.signedIn() != "" || !strings.Contains(other.page.body, "Password") {
			t.Errorf("%s is open", path)
		}
	}
	b.open("/signin/enrol?next=/device").enrolTOTP("/signin/enrol/totp")
	b.shows(http.StatusOK, "Type the code")
	if who, _ := b.s.session(b.asking()); who == nil || fmt.Sprint(who.AMR) != "[pwd otp mfa]" {
		t.Errorf("%+v", who)
	}
	if h := g.post(adfsToken, "client_id", azureCLI, "grant_type", "password", "username", "alice", "password", personal, "scope", resource); h.AccessToken != "" {
		t.Error("a token for the password alone")
	}
}

func (b *browser) asking() *http.Request {
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "/account", nil)
	fatal(b.t, err)
	for _, c := range b.jar {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	r.RemoteAddr = b.from
	return r
}

// TestPasswordGrantStopsAtASecondFactor: where clients may send passwords, they cannot for who has a second factor.
func TestPasswordGrantStopsAtASecondFactor(t *testing.T) {
	g := newPages(t, func(c *Config) { c.Password = true })
	g.newPerson("alice")
	g.newGuarded("bert")
	ask := func(name string) heard {
		return g.post(adfsToken, "client_id", azureCLI, "grant_type", "password", "username", name, "password", personal, "scope", resource)
	}
	ask("alice").must(t)
	if h := ask("bert"); h.AccessToken != "" || !strings.Contains(h.body, "second factor") {
		t.Errorf("%d %s", h.status, h.body)
	}
}

// TestGuessingIsSlowedDownAndLocksNobodyElseOut, at the password and at the second factor: whoever guesses waits; the
// owner, where they signed in before, does not.
func TestGuessingIsSlowedDownAndLocksNobodyElseOut(t *testing.T) {
	g := newPages(t)
	_, secret, _ := g.newGuarded("alice")
	home := g.browser().signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now())).shows(http.StatusOK, "Your account")

	slow := 0
	for i := range 40 { // many addresses, some guesses each
		thief := g.browser()
		thief.from = fmt.Sprintf("198.51.100.%d:4711", i+1)
		thief.open("/signin")
		for range 5 {
			if thief.fill("/signin", "name", "alice", "password", "a guess of somebody else"); thief.page.status == http.StatusTooManyRequests {
				slow++
				if thief.page.header.Get("Retry-After") == "" || !strings.Contains(thief.page.body, "Wait") {
					t.Fatalf("%v %s", thief.page.header, thief.page.body)
				}
			}
		}
	}
	if slow == 0 {
		t.Error("passwords can be guessed for ever")
	}
	guesses := 0
	for i := range 30 { // they learned the password, and go on with codes
		thief := g.browser()
		thief.from = fmt.Sprintf("192.0.2.%d:4711", i+1)
		if thief.signIn("alice"); thief.page.status != http.StatusOK {
			continue
		}
		for range 5 {
			if thief.fill("/signin/code", "code", "000000"); thief.page.status == http.StatusForbidden {
				guesses++
			}
		}
	}
	if guesses == 0 || guesses > 10 {
		t.Errorf("%d codes were guessed", guesses)
	}
	if home.signedIn() != "alice" {
		t.Error("guesses ended the owner's session")
	}
	g.step(30 * time.Second)
	back := g.browser().signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	if back.signedIn() != "alice" {
		t.Errorf("the owner is locked out: %d %s", back.page.status, back.page.body)
	}
	for range 12 {
		home.open("/signin?again=1").fill("/signin", "name", "alice", "password", "mistyped mistyped")
	}
	if home.page.status != http.StatusTooManyRequests {
		t.Errorf("guessing from home answers %d", home.page.status)
	}
}

// TestChangingHowOneSignsInTakesSigningInAgain, where that was not within the last five minutes.
func TestChangingHowOneSignsInTakesSigningInAgain(t *testing.T) {
	g := newPages(t)
	_, secret, _ := g.newGuarded("alice")
	b := g.browser().signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	other := g.browser()
	g.step(30 * time.Second)
	other.signIn("alice").fill("/signin/code", "code", authn.TOTPCode(secret, g.now()))
	b.open("/account/password")
	stale := b.fields("/account/password")
	g.step(freshFor + time.Minute)
	b.send("/account/password", append(stale, "new", "another password of hers", "again", "another password of hers")...).follow().shows(http.StatusOK, "You are signed in as", `value="alice"`)
	for _, path := range []string{"/account/password", "/account/factor", "/account/recovery", "/account/factor/edit?id=x"} {
		b.open(path).shows(http.StatusOK, "show that it is you")
	}
	b.open("/account/password").fill("/signin", "name", "alice", "password", personal).fill("/signin/code", "code", authn.TOTPCode(secret, g.now())).shows(http.StatusOK, "New password")
	b.fill("/account/password", "new", "another password of hers", "again", "another password of hers").shows(http.StatusOK, "Your password is changed")
	if b.signedIn() != "alice" || other.signedIn() != "" {
		t.Errorf("signed in: %q here, %q elsewhere", b.signedIn(), other.signedIn())
	}
	id := regexp.MustCompile(`/account/factor/edit\?id=([0-9a-f-]+)`).FindStringSubmatch(b.page.body)
	b.open(id[0]).fill("/account/factor/rename", "label", "blue phone").shows(http.StatusOK, "blue phone")
	b.open(id[0]).fill("/account/factor/remove").shows(http.StatusOK, "It is removed.", "You have none")
	if e := g.events("Ajar.Access/principals/factors/delete"); len(e) != 1 || e[0].Details["name"] != "blue phone" {
		t.Errorf("recorded: %+v", e)
	}
}

// TestDeviceIsLetInByAPerson who typed its code, saw who asks and from where, and said yes; the link alone decides
// nothing.
func TestDeviceIsLetInByAPerson(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	begin := func() (device, user string) {
		h := g.post("/organizations/oauth2/v2.0/devicecode", "client_id", azureCLI, "scope", resource)
		return h.fields["device_code"].(string), h.fields["user_code"].(string)
	}
	poll := func(device string) heard {
		g.step(pollEvery)
		return g.post("/organizations/oauth2/v2.0/token", "client_id", azureCLI, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", device)
	}
	g.from = "192.0.2.44:1"
	device, user := begin()
	b := g.browser().open("/device?user_code="+user).fill("/signin", "name", "alice", "password", personal).shows(http.StatusOK, user)
	if h := poll(device); h.Error != "authorization_pending" {
		t.Errorf("by the link: %s", h.body)
	}
	b.fill("/device", "user_code", "BBBB-BBBB").shows(http.StatusNotFound, "There is no such code")
	b.fill("/device", "user_code", strings.ToLower(strings.ReplaceAll(user, "-", " "))).shows(http.StatusOK, "Azure CLI", "192.0.2.44", "You are at 203.0.113.9", "Say yes only if you started this yourself", "alice")
	b.send("/device/decide", "user_code", user, "decision", "allow").shows(http.StatusForbidden)
	if h := poll(device); h.Error != "authorization_pending" {
		t.Errorf("by a forged form: %s", h.body)
	}
	b.open("/device").fill("/device", "user_code", user).fill("/device/decide", "decision", "allow").shows(http.StatusOK, "The device is signed in")
	token := poll(device).must(t).AccessToken
	if who, err := g.use(token); err != nil || who.Name != "alice" {
		t.Errorf("%v %v", who, err)
	}
	device, user = begin()
	b.open("/device").fill("/device", "user_code", user).fill("/device/decide", "decision", "deny").shows(http.StatusOK, "turned away")
	if h := poll(device); h.Error != "access_denied" {
		t.Errorf("denied: %s", h.body)
	}
	slow := 0
	for range 30 {
		if b.open("/device").fill("/device", "user_code", "BBBB-BBBB"); b.page.status == http.StatusTooManyRequests {
			slow++
		}
	}
	if slow == 0 {
		t.Error("user codes can be guessed for ever")
	}
	g.step(time.Hour)
	b.send("/device/decide", "user_code", user, "decision", "allow")
	if b.page.status != http.StatusSeeOther && b.page.status != http.StatusForbidden {
		t.Errorf("without a session: %d", b.page.status)
	}
}

// TestBrowserAsksBeforeAProgramGetsACode: what listens on the person's machine may be anybody's.
func TestBrowserAsksBeforeAProgramGetsACode(t *testing.T) {
	g := newPages(t)
	g.newPerson("alice")
	_, challenge := pkce()
	at := "/organizations/oauth2/v2.0/authorize?" + form2([]string{"client_id", azureCLI, "response_type", "code", "redirect_uri", "http://localhost:8400",
		"scope", resource, "state", "st", "code_challenge", challenge, "code_challenge_method", "S256"}).Encode()
	b := g.browser().open(at).fill("/signin", "name", "alice", "password", personal)
	b.shows(http.StatusOK, `http-equiv="refresh"`)
	b.open(at).shows(http.StatusOK, "Continue to Azure CLI?", "alice", "localhost:8400")
	if p := b.page.header.Get("Content-Security-Policy"); !strings.HasSuffix(p, "form-action 'self' http://localhost:8400") {
		t.Errorf("the answer may not redirect: %s", p)
	}
	b.send(at).shows(http.StatusOK, "Continue to")             // no token
	b.send(at, "yes", "x").shows(http.StatusOK, "Continue to") // a wrong one
	good := b.fields(at)
	b.header.Set("Origin", "https://evil.example")
	b.send(at, good...).shows(http.StatusOK, "Continue to")
	b.header = http.Header{}
	elsewhere := strings.Replace(at, "8400", "8401", 1)
	b.send(elsewhere, good...).shows(http.StatusOK, "Continue to") // agreed to another address
	b.send(at, good...)
	if to := b.page.header.Get("Location"); b.page.status != http.StatusSeeOther || !strings.HasPrefix(to, "http://localhost:8400?") || !strings.Contains(to, "code=") || !strings.Contains(to, "state=st") {
		t.Errorf("%d %s", b.page.status, to)
	}
}

// TestTokensAreRevokedOnTheAccountPage at once.
func TestTokensAreRevokedOnTheAccountPage(t *testing.T) {
	g := newPages(t)
	alice := g.newPerson("alice")
	code, verifier := g.code(alice)
	token := g.exchange(code, verifier).must(t).AccessToken
	b := g.browser().signIn("alice").shows(http.StatusOK, "Azure CLI").fill("/account/token/end").shows(http.StatusOK, "The token is revoked.")
	if strings.Contains(b.page.body, "Azure CLI") {
		t.Error("it is still listed")
	}
	if _, err := g.use(token); err == nil {
		t.Error("it is still good")
	}
}

func fromBase32(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	fatal(t, err)
	return b
}

// TestWhoHasNoPasswordMakesNoOtherWayIn: who signs in at another provider would keep it when that one lets them go.
func TestWhoHasNoPasswordMakesNoOtherWayIn(t *testing.T) {
	g := newPages(t)
	p := &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: "fed"}
	g.put(p)
	b := g.browser()
	r := b.asking()
	w := httptest.NewRecorder()
	fatal(t, g.visit(w, r).enter(p, []string{"fed"}, nil, map[string]string{"credential": "upstream"}, nil))
	for _, c := range w.Result().Cookies() {
		b.jar[c.Name] = c
	}
	if b.signedIn() != "fed" {
		t.Fatal("not signed in")
	}
	b.open("/account").shows(http.StatusOK, "Browsers that you are signed in with")
	if strings.Contains(b.page.body, "Change your password") || strings.Contains(b.page.body, "Add one") {
		t.Error("offered all the same")
	}
	for _, path := range []string{"/account/password", "/account/factor"} {
		b.open(path).shows(http.StatusForbidden, "another provider")
	}
}
