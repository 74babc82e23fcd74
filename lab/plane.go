//go:build linux

package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar/client"
)

// Plane is the lab's control plane: an ajard in a namespace of its own.
type Plane struct {
	URL       string
	AgentAddr string
	CAHash    string
	Admin     *client.Client // signed in as the administrator
	AdminEnv  []string       // of the administrator's ajar

	Space *Space
	lab   *Lab
	dir   string
	proc  *Proc
}

func (l *Lab) startPlane(ctx context.Context) (err error) {
	p := &Plane{lab: l, dir: filepath.Join(l.Dir, "plane")}
	p.URL = "https://" + p.address("8443")
	p.AgentAddr = p.address("8444")
	l.Plane = p
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	if err := p.configure(); err != nil {
		return err
	}
	if p.Space, err = l.place("plane", planeN); err != nil {
		return err
	}
	if err := p.Start(ctx); err != nil {
		return err
	}
	return p.signIn(ctx)
}

func (p *Plane) file(name string) string { return filepath.Join(p.dir, name) }

// configure writes the one YAML file there is, and the key that wraps the plane's secrets.
func (p *Plane) configure() error {
	confirm := p.lab.o.GuardConfirm
	if confirm == "" {
		confirm = "0s"
	}
	text := fmt.Sprintf(`listen: %q
agentListen: %q
publicURL: %s
database: %q
kek:
  file: %s
admin:
  file: %s
bounds:
  min: 1s
metrics:
  listen: %q
guardConfirm: %s
%s
`, p.address("8443"), p.AgentAddr, p.URL, p.Database(), p.file("kek"), p.file("admin"), p.metrics(), confirm, p.lab.o.Config)
	return errors.Join(
		os.WriteFile(p.file("kek"), []byte(strings.Repeat("6b", 32)+"\n"), 0o600),
		os.WriteFile(p.file("ajard.yaml"), []byte(text), 0o600))
}

// Database is where the plane keeps everything.
func (p *Plane) Database() string {
	if p.lab.o.Database != "" {
		return p.lab.o.Database
	}
	return "sqlite:" + p.file("ajar.db")
}

func (p *Plane) metrics() string { return p.address("9090") }

func (p *Plane) address(port string) string {
	return net.JoinHostPort(addr4(p.lab.number(planeN)).String(), port)
}

// Metrics reads what the plane tells Prometheus: samples without labels by their name, those with labels added up.
func (p *Plane) Metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.metrics()+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	m := map[string]float64{}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			name, _, _ = strings.Cut(name, "{")
			m[name] += v
		}
	}
	return m, nil
}

// Start starts ajard and returns once it serves.
func (p *Plane) Start(ctx context.Context) error {
	proc, err := start(p.Space, p.lab.logs, "ajard", nil, filepath.Join(p.lab.o.Bin, "ajard"), "serve", "-c", p.file("ajard.yaml"))
	if err != nil {
		return err
	}
	p.proc = proc
	err = Await(ctx, time.Minute, func() (bool, error) {
		if !proc.Alive() {
			return true, nil
		}
		return p.ready(ctx)
	})
	if err == nil && proc.Alive() {
		return nil
	}
	return fmt.Errorf("ajard does not serve: %w\n%s", err, proc.Tail())
}

// ready asks the plane whether it serves. Nothing is believed of the answer, so its certificate is not looked at.
func (p *Plane) ready(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/readyz", nil)
	if err != nil {
		return false, err
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return false, err
	}
	return resp.StatusCode == http.StatusOK, resp.Body.Close()
}

// Kill is kill -9.
func (p *Plane) Kill() { p.proc.Kill() }

// Stop asks ajard to end.
func (p *Plane) Stop() { p.proc.Stop() }

// Proc is the running ajard.
func (p *Plane) Proc() *Proc { return p.proc }

func (p *Plane) close() {
	p.proc.Kill()
	if p.Space != nil {
		p.Space.Close()
	}
}

// setAddresses tells the plane where m can be reached, and as whom.
func (p *Plane) setAddresses(ctx context.Context, m *Machine) error {
	_, err := p.Admin.PutTarget(ctx, client.Target{
		ID: m.ID, Name: m.Name, Location: Location, OS: "Linux", Addresses: []netip.Addr{m.IPv4, m.IPv6}, Login: p.lab.Login,
	})
	return err
}

// password is everybody's in the lab.
const password = "correct horse battery staple, in the lab"

// signIn uses up the credential that was shown at the first start, and sets a password in its place.
func (p *Plane) signIn(ctx context.Context) error {
	once, err := os.ReadFile(p.file("admin"))
	if err != nil {
		return fmt.Errorf("the one-time credential: %w", err)
	}
	if p.CAHash, err = p.hash(); err != nil {
		return err
	}
	ca, err := client.FetchCA(ctx, p.URL, p.CAHash, nil)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{Server: p.URL, CA: ca})
	if err != nil {
		return err
	}
	first, err := c.Login(ctx, "admin", strings.TrimSpace(string(once)))
	if err != nil {
		return fmt.Errorf("sign the administrator in: %w", err)
	}
	if err := c.WithToken(first.Token).SetPassword(ctx, "admin", password, ""); err != nil {
		return fmt.Errorf("set the administrator's password: %w", err)
	}
	s, err := c.Login(ctx, "admin", password)
	if err != nil {
		return fmt.Errorf("sign the administrator in: %w", err)
	}
	p.Admin = c.WithToken(s.Token)
	p.AdminEnv, err = p.lab.signIn(ctx, "admin")
	return err
}

// hash finds what ajard says of its authority when it starts to serve.
func (p *Plane) hash() (string, error) {
	b, err := os.ReadFile(p.proc.Log)
	if err != nil {
		return "", err
	}
	hash := regexp.MustCompile(`sha256:[0-9a-f]{64}`).Find(b)
	if hash == nil {
		return "", fmt.Errorf("ajard does not say the hash of its authority: %s", p.proc.Tail())
	}
	return string(hash), nil
}
