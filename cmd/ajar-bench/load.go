//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar/store/storetest"
)

func (b *bench) sqlitePart(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ajar-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return b.requests(ctx, "requests_sqlite", "sqlite:"+filepath.Join(dir, "ajar.db"))
}

func (b *bench) postgresPart(ctx context.Context) error {
	dsn, stop, err := startPostgres()
	if err != nil {
		return err
	}
	return errors.Join(b.requests(ctx, "requests_postgres", dsn), stop())
}

// requests measures how many requests per second are accepted and durable, with 64 clients over TLS and the loop at work.
func (b *bench) requests(ctx context.Context, name, dsn string) error {
	p, err := startPlane(dsn)
	if err != nil {
		return err
	}
	defer p.stop()
	before, err := p.ask()
	if err != nil {
		return err
	}
	n, took, err := p.load(ctx, time.Duration(b.n(15, 6))*time.Second)
	if err != nil {
		return err
	}
	ended := time.Now()
	var after answer
	for {
		if after, err = p.ask(); err != nil {
			return err
		}
		if after.Opening == 0 {
			break
		}
		if time.Since(ended) > 30*time.Second {
			return fmt.Errorf("%d leases are still opening 30 s after the end", after.Opening)
		}
		time.Sleep(20 * time.Millisecond)
	}
	drained := time.Since(ended)
	if after.Open-before.Open != n {
		return fmt.Errorf("%d requests were accepted, but %d leases are open", n, after.Open-before.Open)
	}
	b.note("%s: %d accepted in %.1f s, all open %.2f s after the end, %s rows per request", name, n, took.Seconds(), drained.Seconds(),
		figure(float64(after.Rows-before.Rows)/float64(n)))
	if drained > 5*time.Second {
		b.note("%s: NOT drained within 5 s", name)
	}
	b.metric(name, float64(n)/took.Seconds(), "1/s")
	return nil
}

// planeProcess is a plane in a process of its own.
type planeProcess struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	hello hello
	roots *x509.CertPool
}

func startPlane(dsn string) (*planeProcess, error) {
	p := &planeProcess{cmd: exec.Command("/proc/self/exe"), roots: x509.NewCertPool()}
	p.cmd.Env = append(os.Environ(), planeEnv+"="+dsn)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	if err := p.hear(&p.hello); err != nil {
		p.stop()
		return nil, fmt.Errorf("start a plane: %w", err)
	}
	p.roots.AppendCertsFromPEM(p.hello.CA)
	return p, nil
}

func (p *planeProcess) hear(into any) error {
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// ask has the plane count.
func (p *planeProcess) ask() (a answer, err error) {
	if _, err := p.in.Write([]byte("count\n")); err != nil {
		return a, err
	}
	return a, p.hear(&a)
}

func (p *planeProcess) stop() {
	p.in.Close()
	_ = p.cmd.Wait() // it ended because its input did
}

// load has 64 clients request one after the other, each on a connection of its own, and counts what was accepted.
func (p *planeProcess) load(ctx context.Context, d time.Duration) (n int64, took time.Duration, err error) {
	var next, accepted atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for _, token := range p.hello.Tokens {
		g.Go(func() error {
			c, err := p.dial(ctx, token)
			if err != nil {
				return err
			}
			defer c.conn.Close()
			for time.Since(began) < d && ctx.Err() == nil {
				if err := c.request(int(next.Add(1))); err != nil {
					return err
				}
				accepted.Add(1)
			}
			return nil
		})
	}
	err = g.Wait()
	return accepted.Load(), time.Since(began), err
}

// caller is one client on its connection. It says HTTP by itself, so that measuring takes little of the machine that is
// measured.
type caller struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
	head string // what all its requests have in common
}

func (p *planeProcess) dial(ctx context.Context, token string) (*caller, error) {
	d := tls.Dialer{Config: &tls.Config{RootCAs: p.roots, MinVersion: tls.VersionTLS12}}
	conn, err := d.DialContext(ctx, "tcp", p.hello.Addr)
	if err != nil {
		return nil, err
	}
	return &caller{conn: conn, in: bufio.NewReader(conn),
		head: " HTTP/1.1\r\nHost: " + p.hello.Addr + "\r\nContent-Type: application/json\r\nAuthorization: Bearer " + token + "\r\nContent-Length: "}, nil
}

// request asks for the i-th opening: each has another machine or source.
func (c *caller) request(i int) error {
	host := i % fakeHosts
	body := fmt.Sprintf(`{"virtualMachines":[{"id":%q,"ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":%q}]}],"justification":"load"}`,
		fakeTarget(host), crowdSource(i/fakeHosts))
	c.out = fmt.Appendf(c.out[:0], "POST %s/initiate?api-version=2020-01-01%s%d\r\n\r\n%s", fakePolicy(host), c.head, len(body), body)
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16)) //nolint:errcheck // for people, as far as it came
		return fmt.Errorf("%s: %s", resp.Status, text)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// startPostgres starts a server for this run alone.
func startPostgres() (dsn string, stop func() error, err error) {
	dir, err := os.MkdirTemp("", "ajar-bench-")
	if err != nil {
		return "", nil, err
	}
	dsn, end, err := storetest.StartPostgresServer(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dsn, func() error { return errors.Join(end(), os.RemoveAll(dir)) }, nil
}
