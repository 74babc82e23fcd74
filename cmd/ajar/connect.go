package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// connectLine is what to type or enter to reach a port: an ssh line if sshd answers there.
func connectLine(t client.Target, number uint16) (ssh, connect string) {
	host := t.ID.Name()
	if len(t.Addresses) > 0 {
		host = t.Addresses[0].String()
	}
	connect = net.JoinHostPort(host, strconv.Itoa(int(number)))
	if number != sshPort(t) {
		return "", connect
	}
	who := host
	if t.Login != "" {
		who = t.Login + "@" + host
	}
	if number != 22 {
		return "ssh -p " + strconv.Itoa(int(number)) + " " + quote(who), connect
	}
	return "ssh " + quote(who), connect
}

// quote makes what somebody else wrote one word of a shell, and no option.
func quote(s string) string {
	safe := func(r rune) bool {
		return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') || (r >= '0' && r <= '9') || strings.ContainsRune("@._-:", r)
	}
	if strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) >= 0 {
		s = "'" + strings.ReplaceAll(plain(s), "'", `'\''`) + "'"
	}
	if strings.HasPrefix(strings.TrimPrefix(s, "'"), "-") {
		s = "-- " + s
	}
	return s
}

func sshPort(t client.Target) uint16 {
	if t.SSHPort == 0 {
		return 22
	}
	return t.SSHPort
}

// refusedLately is how old a refusal may be to be somebody's who is just trying.
const refusedLately = 10 * time.Minute

// notOpen says why a request did not open its port, and nil if it did.
func (a *app) notOpen(ctx context.Context, c *client.Client, t client.Target, r client.Request) error {
	if r.Opened() {
		a.warnOtherAddress(t, r)
		return nil
	}
	switch r.State {
	case ajar.Pending:
		return pending(r)
	case ajar.Denied:
		return exits(exitRefused, fmt.Errorf("request %s was denied%s", r.ID, verdict(r)))
	case ajar.Withdrawn, ajar.Lapsed:
		return exits(exitConflict, fmt.Errorf("request %s is %s", r.ID, lowerFirst(string(r.State))))
	}
	// The host may have come or gone since the machine was looked up.
	if now, err := c.Target(ctx, t.ID); err == nil {
		t = now
	}
	for _, l := range r.Leases {
		if l.State == ajar.Open {
			continue
		}
		if l.State != ajar.Opening {
			return exits(exitConflict, fmt.Errorf("%s on %s is %s again (%s)", port(l.Number, l.Protocol), t.ID.Name(), lowerFirst(string(l.State)), lowerFirst(string(l.Reason))))
		}
		return exits(exitUnavailable, hint(fmt.Errorf("%s on %s is not open yet: %s", port(l.Number, l.Protocol), t.ID.Name(), a.why(t, l)),
			"it opens when the host can be told, until %s; to give up: ajar close --request %s%s", a.clock(l.End), r.ID, a.refusedHint(t, l)))
	}
	return exits(exitOther, fmt.Errorf("request %s is approved but has no lease", r.ID))
}

func verdict(r client.Request) string {
	for _, ap := range r.Approvals {
		if !ap.Yes {
			s := " by " + plain(ap.Name)
			if ap.Reason != "" {
				s += ": " + plain(ap.Reason)
			}
			return s
		}
	}
	return ""
}

// why is what keeps a lease from opening.
func (a *app) why(t client.Target, l client.Lease) string {
	switch {
	case t.Host == nil && !t.Joined:
		return "no host has joined as " + t.ID.Name()
	case t.Host == nil && l.Trouble != "":
		return plain(l.Trouble)
	case t.Host == nil:
		return "the host has not answered yet"
	case !t.Host.Connected && !t.Host.Since.IsZero():
		return fmt.Sprintf("the host has been unreachable since %s (%s)", a.clock(t.Host.Since), relative(t.Host.Since.Sub(a.now())))
	case !t.Host.Connected:
		return "the host is unreachable"
	case l.Trouble != "":
		return plain(l.Trouble)
	case t.Host.Trouble != "":
		return plain(t.Host.Trouble)
	}
	return "the host has not answered yet"
}

// refusedHint names the addresses that the host lately turned away on the port.
func (a *app) refusedHint(t client.Target, l client.Lease) string {
	others := a.refused(t, l)
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("; the host lately refused %s there", join(others, ""))
}

// warnOtherAddress tells a requester whose packets seem to reach the host from another address than was opened.
func (a *app) warnOtherAddress(t client.Target, r client.Request) {
	for _, l := range r.Leases {
		for _, addr := range a.refused(t, l) {
			a.say("warning: %s lately refused %s on %s; if that is you: ajar open %s %d --from %s", t.ID.Name(), addr, port(l.Number, l.Protocol), t.ID.Name(), l.Number, addr)
		}
	}
}

// refused lists the addresses that were lately turned away on l's port and that l does not let in: as the lease has them,
// which is newer, or else as the machine was found.
func (a *app) refused(t client.Target, l client.Lease) []string {
	seen := l.Refused
	if len(seen) == 0 && t.Host != nil {
		seen = t.Host.Refused
	}
	var all []string
	for _, x := range seen {
		if x.Number == l.Number && x.At.After(a.now().Add(-refusedLately)) && !lets(l, x.Source) {
			all = append(all, x.Source.String())
		}
	}
	return all
}

func lets(l client.Lease, addr netip.Addr) bool {
	for _, s := range l.Sources {
		ps, err := ajar.ParsePrefix(s)
		if err != nil {
			continue
		}
		for _, p := range ps {
			if p.Contains(addr) {
				return true
			}
		}
	}
	return false
}
