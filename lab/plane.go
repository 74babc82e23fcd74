//go:build linux

package lab

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ajar-access/ajar/client"
)

// Plane is the lab's control plane: an ajard in a namespace of its own.
type Plane struct {
	URL       string
	AgentAddr string
	CAFile    string
	CAHash    string
	Admin     *client.Client // signed in as the administrator
	AdminEnv  []string       // of the administrator's ajar

	Space *Space
	lab   *Lab
	dir   string
	proc  *Proc
}

func (l *Lab) newPlane(ctx context.Context) (*Plane, error) {
	p := &Plane{lab: l, dir: filepath.Join(l.Dir, "plane")}
	p.URL = "https://" + net.JoinHostPort(addr4(planeN).String(), "8443")
	p.AgentAddr = net.JoinHostPort(addr4(planeN).String(), "8444")
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return p, err
	}
	if err := p.configure(); err != nil {
		return p, err
	}
	var err error
	if p.Space, err = l.place("plane", planeN); err != nil {
		return p, err
	}
	if err := p.Start(ctx); err != nil {
		return p, err
	}
	return p, p.signIn(ctx)
}

func (p *Plane) file(name string) string { return filepath.Join(p.dir, name) }

// configure writes the one YAML file there is, and the key that wraps the plane's secrets.
func (p *Plane) configure() error {
	db := p.lab.o.Database
	if db == "" {
		db = "sqlite:" + p.file("ajar.db")
	}
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
guardConfirm: %s
`, addr4(planeN).String()+":8443", addr4(planeN).String()+":8444", p.URL, db, p.file("kek"), p.file("admin"), confirm)
	return errors.Join(
		os.WriteFile(p.file("kek"), []byte(strings.Repeat("6b", 32)+"\n"), 0o600),
		os.WriteFile(p.file("ajard.yaml"), []byte(text), 0o600))
}

// Start starts ajard and returns once it serves.
func (p *Plane) Start(ctx context.Context) error {
	proc, err := start(p.Space, p.lab.logs, "ajard", nil, filepath.Join(p.lab.o.Bin, "ajard"), "serve", "-c", p.file("ajard.yaml"))
	if err != nil {
		return err
	}
	p.proc = proc
	err = Await(ctx, 20*time.Second, func() (bool, error) {
		if !proc.Alive() {
			return true, nil
		}
		conn, err := net.DialTimeout("tcp", strings.TrimPrefix(p.URL, "https://"), time.Second)
		if err != nil {
			return false, err
		}
		return true, conn.Close()
	})
	if err == nil && proc.Alive() {
		return nil
	}
	return fmt.Errorf("ajard does not serve: %w\n%s", err, proc.Tail())
}

// Kill is kill -9.
func (p *Plane) Kill() { p.proc.Kill() }

// Stop asks ajard to end.
func (p *Plane) Stop() { p.proc.Stop() }

// Proc is the running ajard.
func (p *Plane) Proc() *Proc { return p.proc }

// Ajard runs a command of ajard on the plane's machine.
func (p *Plane) Ajard(ctx context.Context, args ...string) (string, error) {
	return p.Space.Output(ctx, nil, append([]string{filepath.Join(p.lab.o.Bin, "ajard")}, args...)...)
}

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

// signIn takes the credential that was shown at the first start.
func (p *Plane) signIn(ctx context.Context) error {
	return errors.New("not known yet")
}

func readCA(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return "", fmt.Errorf("%s holds no certificate", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	return client.CAHash(cert), nil
}
