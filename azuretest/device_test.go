//go:build linux

package azuretest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// A person signs the command line in from a browser elsewhere, on pages that work without JavaScript.
func TestAzureCLIDeviceCode(t *testing.T) {
	t.Parallel()
	w := shared(t)
	w.addPerson(t, "dora", "Just-in-time Requester")
	a := newAZ(t, w)
	a.register(t)
	t.Run("allowed", func(t *testing.T) {
		t.Parallel()
		out, errs, err := a.copy(t).deviceLogin(t, "allow")
		if err != nil {
			t.Fatalf("%v\n%s", err, errs)
		}
		var accounts []account
		if err := json.Unmarshal([]byte(out), &accounts); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if len(accounts) != 1 || accounts[0].ID != labSubscription || accounts[0].User.Name != "dora" || accounts[0].User.Type != "user" || accounts[0].TenantID != w.tenant {
			t.Errorf("accounts: %+v", accounts)
		}
	})
	t.Run("turned away", func(t *testing.T) {
		t.Parallel()
		if out, errs, err := a.copy(t).deviceLogin(t, "deny"); err == nil || !strings.Contains(errs, "the person said no") {
			t.Errorf("%v\n%s%s", err, out, errs)
		}
	})
}

var userCode = regexp.MustCompile(`open the page (\S+) and enter the code (\S+) to`)

// deviceLogin runs `az login --use-device-code` while dora decides in her browser.
func (a *az) deviceLogin(t *testing.T, decision string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	began := time.Now()
	cmd := a.w.lab.Requester.Command(ctx, a.env, "az", "login", "--use-device-code")
	var out, said bytes.Buffer
	cmd.Stdout = &out
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.w.lab.Requester.Do(cmd.Start); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(io.TeeReader(pipe, &said))
	for lines.Scan() {
		if m := userCode.FindStringSubmatch(lines.Text()); m != nil {
			a.w.decide(t, m[1], m[2], decision)
		}
	}
	err = cmd.Wait()
	t.Logf("%6.2f s  az login --use-device-code", time.Since(began).Seconds())
	return out.String(), said.String(), err
}

// decide is what dora does with a code: opens the page, signs in, types the code, reads what is asked, and presses a button.
func (w *world) decide(t *testing.T, page, code, decision string) {
	t.Helper()
	b := w.browser(t)
	b.open(page)
	b.submit("/signin", url.Values{"name": {"dora"}, "password": {password}})
	b.submit("/device", url.Values{"user_code": {strings.ToLower(code)}})
	for _, shown := range []string{"Azure CLI", w.lab.RequesterAddr().String(), "dora"} {
		if !strings.Contains(b.page, shown) {
			t.Errorf("the page does not say %q:\n%s", shown, b.page)
		}
	}
	b.submit("/device/decide", url.Values{"decision": {decision}})
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

// submit fills in the form of the page that goes to action, and sends it.
func (b *browser) submit(action string, fields url.Values) {
	b.t.Helper()
	for _, f := range form.FindAllStringSubmatch(b.page, -1) {
		if f[1] != action {
			continue
		}
		for _, h := range hidden.FindAllStringSubmatch(f[2], -1) {
			fields.Set(h[1], h[2])
		}
		to := b.at.ResolveReference(&url.URL{Path: action})
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
	b.t.Fatalf("%s has no form for %s:\n%s", b.at, action, b.page)
}
