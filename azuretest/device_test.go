//go:build linux

package azuretest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
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
