//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// manual is what docs/install.md tells to type or to write, by the heading that it stands under.
type manual map[string][]string

func readManual(name string) (manual, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m, under, block := manual{}, "", ""
	end := func() {
		if block != "" {
			m[under] = append(m[under], block)
		}
		block = ""
	}
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "    "):
			block += line[4:]
		case strings.TrimSpace(line) == "" && block != "":
			block += line
		default:
			end()
			if h, ok := strings.CutPrefix(line, "## "); ok {
				under = strings.TrimSpace(h)
			}
		}
	}
	end()
	return m, nil
}

// block is the one under a heading that has word in it.
func (m manual) block(under, word string) (string, error) {
	for _, b := range m[under] {
		if strings.Contains(b, word) {
			return b, nil
		}
	}
	return "", fmt.Errorf("docs/install.md, %q: nothing with %q", under, word)
}

// boot waits for the machine and gives it something to protect.
func (p *proof) boot(ctx context.Context) (string, error) {
	began := time.Now()
	if err := p.m.await(ctx, patience); err != nil {
		return "", err
	}
	p.pace = time.Since(began).Round(time.Second)
	err := errors.Join(p.m.write(ctx, "/etc/systemd/system/echo.socket", echoSocket), p.m.write(ctx, "/etc/systemd/system/echo.service", echoService))
	if err != nil {
		return "", err
	}
	out, err := p.m.do(ctx, `set -e
mkdir -p /root/ajar; tar -C /root/ajar -xf /dev/vdb
systemctl enable -q --now echo.socket
. /etc/os-release; echo "$PRETTY_NAME, kernel $(uname -r), systemd $(systemctl --version | sed -n '1s/.*(\(.*\)).*/\1/p')"`)
	if err != nil {
		return "", err
	}
	err = eventually(ctx, patience, "its ports", func() (bool, error) {
		return knock(ctx, stranger, guarded) && knock(ctx, stranger, free) && knock(ctx, stranger, sshPort), nil
	})
	return out + "; three ports are open to everybody", err
}

// plane installs ajard by the manual's words, and somebody at home signs in.
func (p *proof) plane(ctx context.Context) (string, error) {
	doc, err := readManual(filepath.Join(p.repo, "docs", "install.md"))
	if err != nil {
		return "", err
	}
	install, err := doc.block("The plane", "bin/ajard")
	if err != nil {
		return "", err
	}
	config, err := doc.block("The plane", "listen:")
	if err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "set -e; cd /root/ajar\n"+install); err != nil {
		return "", err
	}
	if err := p.m.write(ctx, "/etc/ajard/ajard.yaml", config); err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "sudo systemctl enable -q --now ajard"); err != nil {
		return "", err
	}
	login := regexp.MustCompile(`(?s)is\s+(\S+)\s+ajar login --server (\S+) --ca-hash (\S+) --user (\S+)`)
	var said []string
	err = eventually(ctx, patience, "the first credential", func() (bool, error) {
		out, err := p.m.do(ctx, "sudo journalctl -u ajard -o cat --no-pager")
		said = login.FindStringSubmatch(out)
		return said != nil, err
	})
	if err != nil {
		return "", err
	}
	once, own := filepath.Join(p.dir, "once"), filepath.Join(p.dir, "own")
	if err := errors.Join(os.WriteFile(once, []byte(said[1]), 0o600), os.WriteFile(own, []byte("a long password of mine 7"), 0o600)); err != nil {
		return "", err
	}
	if _, err := p.ajar(ctx, "login", "--server", said[2], "--ca-hash", said[3], "--user", said[4], "--password-file", once); err != nil {
		return "", err
	}
	if _, err := p.ajar(ctx, "user", "password", "--current-password-file", once, "--password-file", own); err != nil {
		return "", err
	}
	out, err := p.m.do(ctx, `ps -o user= -C ajard; systemd-analyze security --no-pager ajard | sed -n 's/.*Overall exposure level for \S*: \(\S*\).*/\1/p'`)
	f := strings.Fields(out)
	if err != nil || len(f) != 2 || f[0] != "ajard" {
		return "", errors.Join(err, fmt.Errorf("ajard runs as %q", out))
	}
	p.hash = said[3]
	return "as user ajard; exposure of the unit " + f[1], nil
}

// host installs the agent by the manual's words and joins.
func (p *proof) host(ctx context.Context) (string, error) {
	doc, err := readManual(filepath.Join(p.repo, "docs", "install.md"))
	if err != nil {
		return "", err
	}
	install, err := doc.block("A host", "bin/ajar-agent")
	if err != nil {
		return "", err
	}
	token, err := doc.block("A host", "ajar hosts add")
	if err != nil {
		return "", err
	}
	join, err := doc.block("A host", "ajar-agent join")
	if err != nil {
		return "", err
	}
	if p.before, err = p.found(ctx); err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "set -e; cd /root/ajar\n"+install); err != nil {
		return "", err
	}
	if _, err := p.ajar(ctx, strings.Fields(token)[1:]...); err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(p.dir, "token"))
	if err != nil {
		return "", err
	}
	if err := p.m.write(ctx, "/root/token", string(b)); err != nil {
		return "", err
	}
	began := time.Now()
	if _, err := p.m.do(ctx, "set -e; cd /root\n"+strings.ReplaceAll(join, "sha256:…", p.hash)); err != nil {
		return "", err
	}
	if err := p.connected(ctx); err != nil {
		return "", err
	}
	took := time.Since(began)
	out, err := p.m.do(ctx, `pid=$(systemctl show -P MainPID ajar-agent)
sed -n 's/^CapEff:\s*0*//p; s/^NoNewPrivs:\s*//p; s/^Seccomp:\s*//p' /proc/$pid/status | tr '\n' ' '
stat -c %U /proc/$pid; awk '/^VmRSS/{print $2}' /proc/$pid/status
for u in ajar-agent ajar-agent-restore; do systemd-analyze security --no-pager $u | sed -n 's/.*Overall exposure level for \S*: \(\S*\).*/\1/p'; done`)
	if err != nil {
		return "", err
	}
	f := strings.Fields(out)
	if len(f) != 7 || f[0] != "1000" || f[1] != "1" || f[2] != "2" || f[3] != "ajar-agent" {
		return "", fmt.Errorf("capabilities, no new rights, seccomp, user, kB, exposure: %q", f)
	}
	return fmt.Sprintf("joined and connected in %.1f s; user %s, CAP_NET_ADMIN alone, %s kB; exposure of the units %s, %s", took.Seconds(), f[3], f[4], f[5], f[6]), nil
}

func (p *proof) connected(ctx context.Context) error {
	return eventually(ctx, patience, "the agent is connected", func() (bool, error) {
		s, err := p.status(ctx)
		return s.Connected, err
	})
}
