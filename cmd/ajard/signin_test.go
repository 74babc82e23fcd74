package main

import (
	"context"
	"encoding/base32"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/client"
)

// pageReader is a browser without scripts at the plane's listener.
type pageReader struct {
	t    *testing.T
	web  *http.Client
	base string
	body string
}

func (p *program) browser() *pageReader {
	p.t.Helper()
	pem, err := client.FetchCA(p.t.Context(), p.url, p.ca, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	b := &pageReader{t: p.t, web: httpClient(p.t, pem), base: p.url}
	if b.web.Jar, err = cookiejar.New(nil); err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (b *pageReader) keep(resp *http.Response, err error) *pageReader {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.body = string(text)
	return b
}

func (b *pageReader) open(path string) *pageReader {
	b.t.Helper()
	return b.keep(b.web.Get(b.base + path))
}

var hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)

// fill posts the form with that action, with what it hides and pairs.
func (b *pageReader) fill(action string, pairs ...string) *pageReader {
	b.t.Helper()
	_, rest, ok := strings.Cut(b.body, `action="`+action+`"`)
	if !ok {
		b.t.Fatalf("there is no form %s:\n%s", action, b.body)
	}
	form, _, _ := strings.Cut(rest, "</form>")
	v := url.Values{}
	for _, m := range hidden.FindAllStringSubmatch(form, -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return b.keep(b.web.PostForm(b.base+action, v))
}

func (b *pageReader) says(words string) *pageReader {
	b.t.Helper()
	if !strings.Contains(b.body, words) {
		b.t.Errorf("it does not say %q:\n%s", words, b.body)
	}
	return b
}

// TestPeopleSignInWithABrowser at a whole plane: the administrator exchanges the one-time password, sets up an app, and
// lets the command line in; what that gets is a token like any other.
func TestPeopleSignInWithABrowser(t *testing.T) {
	m := newMachine(t, "signIn: {secondFactor: required}\n")
	p := m.serve()
	b := p.browser().open("/account").says("Sign in").fill("/signin", "name", "admin", "password", once.FindString(p.stderr.String())).
		says("Choose a password").fill("/signin/password", "new", password, "again", password).says("Set up a second factor")
	uri, err := url.Parse(html.UnescapeString(regexp.MustCompile(`otpauth:[^"]*`).FindString(b.body)))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(uri.Query().Get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	enrolled := time.Now()
	b.fill("/signin/enrol/totp", "code", authn.TOTPCode(secret, enrolled), "label", "phone").says("Your account").says("phone")

	if _, err := p.login("admin", password); !strings.Contains(ajar.Message(err), "second factor") {
		t.Errorf("the password alone: %v", err)
	}
	if s, err := p.client().LoginWithCode(t.Context(), "admin", password, authn.TOTPCode(secret, enrolled.Add(30*time.Second))); err != nil || s.Name != "admin" {
		t.Errorf("with the next code: %v", err)
	}

	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	wait, err := p.client().LoginWithBrowser(ctx)
	if err != nil {
		t.Fatal(err)
	}
	b.open("/device").fill("/device", "user_code", wait.Code).says("Let Ajar sign in?").fill("/device/decide", "decision", "allow").says("The device is signed in")
	s, err := wait.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	me, err := p.client().WithToken(s.Token).Me(ctx)
	if err != nil || me.Name != "admin" || time.Until(s.Expires) < 11*time.Hour {
		t.Errorf("%+v until %s, %v", me, s.Expires, err)
	}
	b.open("/account").says("login with a browser").open("/signout").fill("/signout").says("You are signed out.")
	if strings.Contains(b.open("/account").body, "Your account") {
		t.Error("still signed in")
	}
}
