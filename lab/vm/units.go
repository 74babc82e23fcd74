//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// exposed is how much of systemd's list of exposures, from 0 to 10, a unit of ours may leave.
const exposed = 2.0

// units lets systemd judge the shipped units: no word of complaint, and little exposure.
func (p *proof) units(ctx context.Context) (string, error) {
	// What others' units are told is not about ours.
	said, err := p.m.do(ctx, `systemd-analyze verify --man=no /etc/systemd/system/ajar*.service 2>&1 | grep ajar; true`)
	if err != nil {
		return "", err
	}
	if said != "" {
		return "", errors.New("systemd-analyze verify: " + said)
	}
	out, err := p.m.do(ctx, `for u in ajar-agent ajar-agent-restore ajar-agent-wake ajard; do
	systemd-analyze security --no-pager $u | sed -n "s/.*Overall exposure level for \S*: \(\S*\).*/$u \1/p"
done`)
	if err != nil {
		return "", err
	}
	n := 0
	for line := range strings.Lines(out) {
		unit, level, _ := strings.Cut(strings.TrimSpace(line), " ")
		f, err := strconv.ParseFloat(level, 64)
		if err != nil || f > exposed {
			return "", errors.Join(fmt.Errorf("%s leaves %q exposed", unit, level), err)
		}
		n++
	}
	if n != 4 {
		return "", fmt.Errorf("systemd-analyze security: %q", out)
	}
	return "no complaints; exposure: " + strings.ReplaceAll(out, "\n", ", "), nil
}
