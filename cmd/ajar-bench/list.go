//go:build linux

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar/lab"
)

// listed is how many policies are listed.
const listed = 1000

// listPart measures a list of 1,000 policies, each of one machine with three ports, as Azure's command line reads it:
// page by page behind nextLink, on a connection that stands. Every second policy has been asked for.
func (b *bench) listPart(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ajar-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p, err := startPlane("sqlite:" + filepath.Join(dir, "ajar.db"))
	if err != nil {
		return err
	}
	defer p.stop()
	l := &lister{p: p, c: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 8, DisableCompression: true,
	}}}
	if err := l.fill(ctx); err != nil {
		return err
	}
	if err := b.lists(ctx, l, "list_1000_policies, never asked for", ""); err != nil {
		return err
	}
	if err := l.each(ctx, listed/2, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodPost, listedPolicy(2*i)+"/initiate?api-version=2020-01-01", fmt.Sprintf(
			`{"virtualMachines":[{"id":%q,"ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"203.0.113.7"}]}],"justification":"list"}`, fakeTarget(2*i)))
		return err
	}); err != nil {
		return err
	}
	if err := l.settle(); err != nil {
		return err
	}
	return b.lists(ctx, l, "list_1000_policies, every second one asked for", "list_1000_policies_p50")
}

// lists lists again and again.
func (b *bench) lists(ctx context.Context, l *lister, what, metric string) error {
	var ds []time.Duration
	for i := range b.n(60, 20) + 5 {
		began := time.Now()
		if err := l.list(ctx); err != nil {
			return err
		}
		if i >= 5 { // the first ones warm up connection and caches
			ds = append(ds, time.Since(began))
		}
	}
	b.note("%s: %d pages with %s MB", what, l.pages, figure(mb(int64(l.bytes))))
	b.spread(what, ds)
	if metric != "" {
		b.metric(metric, ms(median(ds)), "ms")
	}
	return nil
}

// lister is the client, and how much its last list was.
type lister struct {
	p            *planeProcess
	c            *http.Client
	buf          bytes.Buffer
	pages, bytes int
}

func listedPolicy(i int) string {
	return fmt.Sprintf("%s/providers/Microsoft.Security/locations/%s/jitNetworkAccessPolicies/%s-JITPolicy", lab.Group, lab.Location, fakeTarget(i).Name())
}

// fill puts a policy for each machine in place of those that the plane begins with.
func (l *lister) fill(ctx context.Context) error {
	err := l.each(ctx, fakeHosts/perPolicy, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodDelete, string(fakePolicy(i*perPolicy))+"?api-version=2020-01-01", "")
		return err
	})
	if err != nil {
		return err
	}
	const port = `{"number":%d,"protocol":"*","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}`
	ports := fmt.Sprintf(port+","+port+","+port, 22, 3389, 5985)
	err = l.each(ctx, listed, func(ctx context.Context, i int) error {
		_, err := l.do(ctx, http.MethodPut, listedPolicy(i)+"?api-version=2020-01-01",
			fmt.Sprintf(`{"kind":"Basic","properties":{"virtualMachines":[{"id":%q,"ports":[%s]}]}}`, fakeTarget(i), ports))
		return err
	})
	if err != nil {
		return err
	}
	return l.settle()
}

// settle waits until nothing is opening, so that lists have the machine for themselves.
func (l *lister) settle() error {
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		a, err := l.p.ask()
		if err != nil {
			return err
		}
		if a.Opening == 0 {
			time.Sleep(500 * time.Millisecond) // what was written is tidied behind
			return nil
		}
	}
	return fmt.Errorf("leases are still opening after 30 s")
}

// each does things eight at a time.
func (l *lister) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

func (l *lister) open(ctx context.Context, method, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "https://"+l.p.hello.Addr+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+l.p.hello.Tokens[0])
	return l.c.Do(req)
}

func (l *lister) do(ctx context.Context, method, path, body string) ([]byte, error) {
	resp, err := l.open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return text, err
}

// list follows nextLink to the end. It looks for no more than that, so that measuring takes little of the machine.
func (l *lister) list(ctx context.Context) error {
	const link, entry = `"nextLink":"`, `"type":"Microsoft.Security/locations/jitNetworkAccessPolicies"`
	n := 0
	l.pages, l.bytes = 0, 0
	for path := string(lab.Group) + "/providers/Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01"; path != ""; l.pages++ {
		resp, err := l.open(ctx, http.MethodGet, path, "")
		if err != nil {
			return err
		}
		l.buf.Reset()
		_, err = l.buf.ReadFrom(resp.Body)
		resp.Body.Close()
		text := l.buf.Bytes()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Errorf("list: %s: %.500s: %w", resp.Status, text, err)
		}
		n += bytes.Count(text, []byte(entry))
		l.bytes += len(text)
		path = ""
		if i := bytes.LastIndex(text, []byte(link)); i >= 0 {
			next, _, _ := bytes.Cut(text[i+len(link):], []byte(`"`))
			_, next, _ = bytes.Cut(next, []byte(l.p.hello.Addr))
			path = string(next)
		}
	}
	if n != listed {
		return fmt.Errorf("%d policies were listed, not %d", n, listed)
	}
	return nil
}
