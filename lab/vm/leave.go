//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// found lists the machine's rules, files, units and accounts, as far as an installation could add some.
func (p *proof) found(ctx context.Context) ([]string, error) {
	out, err := p.m.do(ctx, `nft list ruleset
find /etc /usr/local /usr/lib/sysusers.d /usr/lib/systemd /var/lib -xdev -not -type d -not -path '/etc/*-' -not -path '/var/lib/dpkg/*' -not -path '*ajard*' -not -path '/var/lib/systemd/*'
systemctl list-unit-files --no-legend --no-pager | grep -v ajard | awk '{print "unit", $1, $2}'
sed 's/^/account /' /etc/passwd; sed 's/^/group /' /etc/group`)
	return strings.Split(out, "\n"), err
}

// leaves takes everything of ours out, by the manual's words.
func (p *proof) leaves(ctx context.Context) (string, error) {
	doc, err := readManual(filepath.Join(p.repo, "docs", "install.md"))
	if err != nil {
		return "", err
	}
	leave, err := doc.block("Taking a host out", "ajar-agent leave")
	if err != nil {
		return "", err
	}
	remove, err := doc.block("Taking a host out", "userdel")
	if err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "set -e; "+leave); err != nil {
		return "", err
	}
	if err := p.asBefore(ctx); err != nil {
		return "", err
	}
	left, err := p.m.do(ctx, "cd /var/lib/ajar-agent; ls -d identity* desired* journal* outliving* 2>/dev/null; true")
	if err != nil {
		return "", err
	}
	if left != "" {
		return "", errors.New("left behind: " + left)
	}
	if _, err := p.m.do(ctx, "set -e; "+remove); err != nil {
		return "", err
	}
	now, err := p.found(ctx)
	if err != nil {
		return "", err
	}
	if d := differ(p.before, now); len(d) > 0 {
		return "", fmt.Errorf("not as it was before:\n%s", strings.Join(d, "\n"))
	}
	err = p.m.launch(ctx, "systemctl reboot")
	if err == nil {
		err = p.boots(ctx)
	}
	if err == nil {
		err = p.asBefore(ctx)
	}
	return fmt.Sprintf("every port and the ruleset as before, after a reboot, too; %d files, units and accounts as before it was installed", len(now)), err
}

// asBefore sees that nothing is guarded and nothing has failed.
func (p *proof) asBefore(ctx context.Context) error {
	err := eventually(ctx, patience, "every port is open", func() (bool, error) {
		for _, port := range []uint16{guarded, later, sshPort, free} {
			if !knock(ctx, stranger, port) {
				return false, fmt.Errorf("port %d is closed", port)
			}
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	left, err := p.m.do(ctx, "nft list ruleset; systemctl --failed --no-legend --plain --no-pager | grep ajar; true")
	if err == nil && left != "" {
		err = errors.New("left behind:\n" + left)
	}
	return err
}

// differ lists what is in one and not in the other.
func differ(was, is []string) (d []string) {
	for _, s := range was {
		if !slices.Contains(is, s) {
			d = append(d, "- "+s)
		}
	}
	for _, s := range is {
		if !slices.Contains(was, s) {
			d = append(d, "+ "+s)
		}
	}
	return d
}
