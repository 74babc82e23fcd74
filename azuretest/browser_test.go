//go:build linux

package azuretest

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ajar-access/ajar/lab"
)

// A person signs the command line in with a browser on the same machine: az opens it, and listens for the code.
func TestAzureCLIBrowser(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.addPerson(t, "bruno", "Just-in-time Requester")
	a := newAZ(t, w)
	a.register(t)
	address := filepath.Join(t.TempDir(), "address")
	opener := filepath.Join(t.TempDir(), "opener")
	if err := os.WriteFile(opener, []byte("#!/bin/sh\necho \"$1\" >"+address+".new && mv "+address+".new "+address+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	a.env = append(a.env, "BROWSER="+opener+" %s")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	var out string
	var failed error
	done := make(chan struct{})
	defer func() {
		cancel()
		<-done
	}()
	go func() {
		defer close(done)
		out, failed = a.try(ctx, t, "login")
	}()
	var at []byte
	err := lab.Await(ctx, patience, func() (_ bool, err error) {
		at, err = os.ReadFile(address)
		return err == nil, err
	})
	if err != nil {
		t.Fatalf("az opens no browser: %v", err)
	}
	b := w.browser(t)
	b.open(strings.TrimSpace(string(at)))
	b.submit("/signin", url.Values{"name": {"bruno"}, "password": {password}})
	if m := onward.FindStringSubmatch(b.page); m != nil { // the page between ours and where the client sent us
		b.open(b.resolve(m[1]))
	}
	b.submit("/adfs/oauth2/v2.0/authorize", url.Values{})
	if b.at.Hostname() != "localhost" || b.at.Port() != "8400" {
		t.Errorf("the code goes to %s", b.at)
	}
	if <-done; failed != nil {
		t.Fatal(failed)
	}
	var accounts []account
	if err := json.Unmarshal([]byte(out), &accounts); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(accounts) != 1 || accounts[0].User.Name != "bruno" || accounts[0].TenantID != w.tenant {
		t.Errorf("accounts: %+v", accounts)
	}
	// What it got lets it ask again without the browser, for as long as it likes.
	var list []policyOut
	a.run(t, &list, "security", "jit-policy", "list")
}

var onward = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)

func (b *browser) resolve(ref string) string {
	b.t.Helper()
	to, err := b.at.Parse(ref)
	if err != nil {
		b.t.Fatal(err)
	}
	return to.String()
}

// browser is one without JavaScript, at the requester's machine: it keeps cookies and posts the forms that it is shown.
type browser struct {
	t    *testing.T
	http *http.Client
	at   *url.URL
	page string
}

func (w *world) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, http: &http.Client{Transport: w.http.Transport, Timeout: patience, Jar: jar}}
}

func (b *browser) take(resp *http.Response, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	b.at, b.page = resp.Request.URL, html.UnescapeString(string(body))
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("%s answers %d:\n%s", b.at, resp.StatusCode, b.page)
	}
}

func (b *browser) open(address string) {
	b.t.Helper()
	b.take(b.http.Get(address))
}

var (
	form   = regexp.MustCompile(`(?s)<form [^>]*action="([^"]*)"[^>]*>(.*?)</form>`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// submit fills in the form of the page that goes to path, and sends it.
func (b *browser) submit(path string, fields url.Values) {
	b.t.Helper()
	for _, f := range form.FindAllStringSubmatch(b.page, -1) {
		to, err := b.at.Parse(f[1])
		if err != nil {
			b.t.Fatal(err)
		}
		if to.Path != path {
			continue
		}
		for _, h := range hidden.FindAllStringSubmatch(f[2], -1) {
			fields.Set(h[1], h[2])
		}
		req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, to.String(), strings.NewReader(fields.Encode()))
		if err != nil {
			b.t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", fmt.Sprintf("%s://%s", b.at.Scheme, b.at.Host))
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		b.take(b.http.Do(req))
		return
	}
	b.t.Fatalf("%s has no form for %s:\n%s", b.at, path, b.page)
}
