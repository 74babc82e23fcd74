package issuer

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	shot "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

var shots = flag.String("shots", "", "`folder` for pictures of every page")

// patience is how long anything in a browser may take: the machine may be busy with other things.
const patience = 3 * time.Minute

// chromium starts the browser, with nothing in it and nothing that it would talk to.
func chromium(t *testing.T) context.Context {
	t.Helper()
	flags := append(append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...),
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(t.TempDir()), chromedp.IgnoreCertErrors, chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true), chromedp.Flag("hide-scrollbars", true))
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), flags...)
	t.Cleanup(cancel)
	ctx, stop := chromedp.NewContext(ctx)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("chromium does not start (scripts/deps test installs it): %v", err)
	}
	return ctx
}

// tab is a window of the browser that shares nothing with others, on a plane that serves over TLS.
type tab struct {
	*rig
	t    *testing.T
	ctx  context.Context
	at   string
	mu   sync.Mutex
	said []string // complaints of the browser
}

// served is a plane that a browser reaches at a name.
func served(t *testing.T) (*rig, string) {
	t.Helper()
	g := newPages(t)
	var s http.Handler
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.ServeHTTP(w, r) }))
	web.StartTLS()
	t.Cleanup(web.Close)
	at := strings.Replace(web.URL, "127.0.0.1", "localhost", 1)
	g.Server = g.plane(g.Store, func(c *Config) { c.PublicURL = at; c.Tenant.Name = "Example Works" })
	g.Auth.Vault = g.vault
	s = g.Server
	return g, at
}

func newTab(t *testing.T, chrome context.Context) *tab {
	t.Helper()
	g, at := served(t)
	ctx, cancel := chromedp.NewContext(chrome, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	fatal(t, chromedp.Do(ctx, chromedp.Navigate("about:blank")))
	ctx, stop := context.WithTimeout(ctx, patience)
	t.Cleanup(stop)
	b := &tab{rig: g, t: t, ctx: ctx, at: at}
	fatal(t, chromedp.Listen(ctx, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Level == log.EntryLevelError && !strings.Contains(e.Entry.Text, "the server responded with a status of") {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.said = append(b.said, e.Entry.Text)
		}
	}))
	tell(b, log.Enable, cdp.Empty{})
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.said {
			t.Errorf("the browser complains: %s", s)
		}
	})
	return b
}

// step is something to do on a page.
type step = chromedp.Action[chromedp.Void]

func (b *tab) run(do ...step) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, do...); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(b.ctx), 10*time.Second)
		defer cancel()
		text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
		b.t.Fatalf("%v; the page says:\n%s", err, text)
	}
}

// tell gives the browser a command.
func tell[P, R any](b *tab, c cdp.Command[P, R], params P) R {
	b.t.Helper()
	got, err := chromedp.Call(b.ctx, c, params)
	fatal(b.t, err)
	return got
}

// read gives what an action answers.
func read[T any](b *tab, a chromedp.Action[T]) T {
	b.t.Helper()
	got, err := chromedp.Run(b.ctx, a)
	fatal(b.t, err)
	return got
}

// open goes to a path and waits for its heading.
func (b *tab) open(path string) {
	b.t.Helper()
	b.run(chromedp.Navigate(b.at+path), chromedp.WaitVisible(chromedp.CSS("h1")))
}

// sees waits for a heading.
func (b *tab) sees(heading string) {
	b.t.Helper()
	b.run(chromedp.WaitVisible(fmt.Sprintf(`//h1[contains(., %q)]`, heading)))
}

// typed fills in a field, and press presses the button that says so.
func (b *tab) typed(id, text string) step {
	field := chromedp.CSS("#" + id)
	return chromedp.Steps(chromedp.WaitVisible(field), chromedp.Clear(field), chromedp.SendKeys(field, text))
}

func press(label string) step {
	return chromedp.Click(fmt.Sprintf(`//button[normalize-space(.)=%q]`, label), chromedp.NodeVisible)
}

func (b *tab) signIn(name string) {
	b.t.Helper()
	b.open("/signin?again=1")
	b.run(b.typed("name", name), b.typed("password", personal), press("Sign in"))
}

// authenticator gives the browser a key that knows its holder.
func (b *tab) authenticator() {
	b.t.Helper()
	tell(b, webauthn.Enable, webauthn.EnableParams{})
	tell(b, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{Options: &webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal, HasResidentKey: true, HasUserVerification: true,
		IsUserVerified: true, AutomaticPresenceSimulation: true,
	}})
}

// TestInABrowser does with chromium what people do.
func TestInABrowser(t *testing.T) {
	chrome := chromium(t)
	for _, do := range []struct {
		what string
		do   func(*tab)
	}{
		{"signing in without scripts", withoutScripts},
		{"signing in with the keyboard", byKeyboard},
		{"an authenticator app", byApp},
		{"a passkey", byPasskey},
		{"a device", forADevice},
		{"a program on this computer", forAProgram},
		{"how every page looks", looks},
	} {
		t.Run(do.what, func(t *testing.T) { do.do(newTab(t, chrome)) })
	}
}

func withoutScripts(b *tab) {
	b.newPerson("alice")
	tell(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open("/device?user_code=BCDF-GHJK")
	b.sees("Sign in")
	b.run(b.typed("name", "alice"), b.typed("password", "wrong wrong wrong"), press("Sign in"), chromedp.WaitVisible(chromedp.CSS("#problem")))
	b.run(b.typed("password", personal), press("Sign in"))
	b.sees("Sign in on a device")
	b.open("/signout")
	b.run(press("Sign out"))
	b.sees("Sign in")
	b.open("/account")
	b.sees("Sign in")
}

func byApp(b *tab) {
	b.newPerson("alice")
	b.signIn("alice")
	b.sees("Your account")
	b.open("/account/factor")
	u, err := url.Parse(read(b, chromedp.AttributeValue(chromedp.CSS(`a[href^="otpauth:"]`), "href", chromedp.NodeReady)).Value)
	fatal(b.t, err)
	secret := fromBase32(b.t, u.Query().Get("secret"))
	b.run(b.typed("code", authn.TOTPCode(secret, b.now())), press("Set up the app"))
	b.sees("Your account")
	b.step(time.Minute)
	b.signIn("alice")
	b.sees("One more step")
	b.run(b.typed("code", authn.TOTPCode(secret, b.now())), press("Go on"))
	b.sees("Your account")
}

func byPasskey(b *tab) {
	alice := b.newPerson("alice")
	b.authenticator()
	b.signIn("alice")
	b.sees("Your account")
	b.open("/account/factor")
	b.run(b.typed("pkname", "laptop"), press("Register a passkey"))
	b.sees("Your account")
	b.run(chromedp.WaitVisible(`//strong[.="laptop"]`))
	b.open("/account/factor") // the same cannot be registered twice
	b.run(press("Register a passkey"), chromedp.WaitVisible(`//p[@role="alert"][contains(., "registered already")]`))
	b.open("/signout")
	b.run(press("Sign out"))
	b.sees("Sign in")
	b.run(press("Sign in with a passkey"))
	b.sees("Your account")
	if accepted, _ := b.signIns(); accepted[0].Caller != alice.ID || accepted[0].Details["credential"] != "passkey" {
		b.t.Errorf("recorded: %+v", accepted[0])
	}
	b.signIn("alice")
	b.sees("One more step")
	b.run(press("Use your passkey"))
	b.sees("Your account")
	if accepted, _ := b.signIns(); accepted[0].Details["credential"] != "password" || accepted[0].Details["factor"] != "passkey" || accepted[0].Details["name"] != "laptop" {
		b.t.Errorf("recorded: %+v", accepted[0])
	}
}

func forADevice(b *tab) {
	b.newPerson("alice")
	h := b.post("/organizations/oauth2/v2.0/devicecode", "client_id", OwnClient, "scope", b.at+"/.default")
	b.open("/device?user_code=" + h.fields["user_code"].(string))
	b.run(b.typed("name", "alice"), b.typed("password", personal), press("Sign in"))
	b.sees("Sign in on a device")
	b.run(press("Go on"))
	b.sees("Let Ajar sign in?")
	b.run(press("Yes, sign it in"))
	b.sees("The device is signed in")
	b.step(pollEvery)
	b.post("/organizations/oauth2/v2.0/token", "client_id", OwnClient, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", h.fields["device_code"].(string)).must(b.t)
}

func forAProgram(b *tab) {
	b.newPerson("alice")
	got := make(chan string, 1)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			select {
			case got <- r.URL.RawQuery:
			default:
			}
		}
		fmt.Fprint(w, "<h1>the program</h1>")
	}))
	b.t.Cleanup(program.Close)
	_, challenge := pkce()
	b.open("/organizations/oauth2/v2.0/authorize?" + form2([]string{"client_id", azureCLI, "response_type", "code", "redirect_uri", program.URL,
		"scope", b.at + "/.default", "state", "st", "code_challenge", challenge, "code_challenge_method", "S256"}).Encode())
	b.run(b.typed("name", "alice"), b.typed("password", personal), press("Sign in"))
	b.sees("Continue to Azure CLI?")
	b.run(press("Continue"))
	b.sees("the program")
	if q, _ := url.ParseQuery(<-got); q.Get("code") == "" || q.Get("state") != "st" {
		b.t.Errorf("the program was sent %v", q)
	}
}

// byKeyboard touches no mouse: the first field has the focus, and the order is that of reading.
func byKeyboard(b *tab) {
	b.newPerson("alice")
	b.open("/signin")
	b.run(chromedp.KeyEvent("alice\t" + personal + "\r"))
	b.sees("Your account")
	b.open("/signout")
	focus := func() string {
		return read(b, chromedp.Evaluate[string]("document.activeElement.textContent.trim()"))
	}
	var order []string
	for range 4 {
		b.run(chromedp.KeyEvent("\t"))
		order = append(order, focus())
	}
	if got := strings.Join(order, ", "); got != "alice, Sign out, Sign out, Stay signed in" {
		b.t.Errorf("the order is %s", got)
	}
	b.open("/signout")
	b.run(chromedp.KeyEvent("\t\t\t\r"))
	b.sees("Sign in")
}

// looks visits every page in both widths and both colours: nothing sticks out, and every field says what it is.
func looks(b *tab) {
	alice := b.newPerson("alice")
	b.authenticator()
	see := func(name string) { b.look(name) }
	b.open("/signin")
	see("signin")
	b.run(b.typed("name", "alice"), b.typed("password", "wrong wrong wrong"), press("Sign in"), chromedp.WaitVisible(chromedp.CSS("#problem")))
	see("signin-wrong")
	b.run(b.typed("password", personal), press("Sign in"))
	b.sees("Your account")
	see("account-new")
	b.open("/account/factor")
	see("factor")
	b.run(press("Register a passkey"))
	b.sees("Your account")
	id := uuid.NewString()
	secret := authn.NewTOTP()
	b.put(&ajar.Factor{ID: id, Principal: alice.ID, Kind: ajar.TOTP, Name: "Phone", Sealed: b.vault.Wrap(authn.TOTPSeal(id), secret), Created: b.now(), Used: b.now()},
		&ajar.Token{Hash: authn.HashSecret("x"), Principal: alice.ID, Name: "login", Created: b.now(), Expires: b.now().Add(time.Hour)},
		&ajar.Token{Hash: authn.HashSecret("y"), Principal: alice.ID, Kind: ajar.Access, Client: azureCLI, Created: b.now(), Expires: b.now().Add(time.Hour)},
		&ajar.Session{Key: authn.HashSecret("z"), Principal: alice.ID, State: ajar.SessionWhole, Agent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", Created: b.now(), Seen: b.now(), Expires: b.now().Add(time.Hour)})
	b.open("/account?done=totp")
	see("account")
	b.open("/account/factor/edit?id=" + id)
	see("edit")
	b.open("/account/password")
	see("password")
	b.open("/account/recovery")
	see("recovery")
	b.run(press("Make new codes"))
	b.sees("Your recovery codes")
	see("recovery-codes")
	b.open("/signout")
	see("signout")
	b.open("/account/nothing")
	see("error")
	b.open("/device")
	see("device")
	h := b.post("/organizations/oauth2/v2.0/devicecode", "client_id", azureCLI, "scope", b.at+"/.default")
	b.run(b.typed("user_code", h.fields["user_code"].(string)), press("Go on"))
	b.sees("Let Azure CLI")
	see("device-decide")
	b.run(press("Yes, sign it in"))
	b.sees("The device is signed in")
	see("device-done")
	_, challenge := pkce()
	b.open("/organizations/oauth2/v2.0/authorize?" + form2([]string{"client_id", azureCLI, "response_type", "code", "redirect_uri", "http://localhost:8400",
		"scope", b.at + "/.default", "code_challenge", challenge, "code_challenge_method", "S256"}).Encode())
	see("continue")
	b.signIn("alice")
	b.sees("One more step")
	see("code")
}

// odd is what is wrong with a page as it stands there.
const odd = `(() => {
  const out = [];
  if (document.documentElement.scrollWidth > innerWidth) out.push("it is wider than the window");
  for (const i of document.querySelectorAll("input:not([type=hidden]):not([hidden])")) if (!i.labels.length) out.push("field " + i.name + " has no label");
  for (const i of document.querySelectorAll("[aria-describedby]")) for (const id of i.getAttribute("aria-describedby").split(" ")) if (!document.getElementById(id)) out.push("nothing is called " + id);
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  if (new Set(ids).size !== ids.length) out.push("two things have the same id");
  for (const e of document.querySelectorAll("button, .button, input:not([type=hidden])")) { const r = e.getBoundingClientRect(); if (r.width && r.height < 44) out.push("too small to touch: " + (e.textContent || e.name)); }
  const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const rgb = (c) => c.match(/[\d.]+/g).map(Number);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  for (const e of document.querySelectorAll("main *, header *")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.getClientRects().length) continue;
    const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) out.push("hard to read, " + ratio.toFixed(1) + ": " + e.textContent.trim().slice(0, 40));
  }
  if (document.querySelectorAll("h1").length !== 1) out.push("it has not one heading");
  return out;
})()`

// look takes pictures of the page that is shown, if they are wanted.
func (b *tab) look(name string) {
	b.t.Helper()
	read(b, chromedp.Poll[bool](`document.readyState === "complete"`, chromedp.WithPollingTimeout(0))) // with its style
	for _, width := range []int64{1100, 360} {
		for _, colour := range []string{"light", "dark"} {
			tell(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 800, DeviceScaleFactor: 1, Mobile: width < 500})
			tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colour}}})
			for _, w := range read(b, chromedp.Evaluate[[]string](odd)) {
				b.t.Errorf("%s, %d wide: %s", name, width, w)
			}
			if *shots == "" {
				continue
			}
			beyond := true
			picture := tell(b, shot.CaptureScreenshot, shot.CaptureScreenshotParams{CaptureBeyondViewport: &beyond})
			fatal(b.t, os.WriteFile(filepath.Join(*shots, fmt.Sprintf("%s-%d-%s.png", name, width, colour)), picture.Data, 0o600))
		}
	}
	tell(b, emulation.ClearDeviceMetricsOverride, cdp.Empty{})
}
