package nftables

import (
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

func TestClosedPortIsResetAtOnce(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22)})
	p.guest.wantRefused(guest4, ap(host4, 22))
	p.guest.wantRefused(guest6, ap(host6, 22))
}

func TestOpeningLetsExactlyItsSourceIn(t *testing.T) {
	p := newPair(t)
	p.host.serve("tcp", ":22")
	f := p.host.firewall(Config{})
	apply(t, f, ajar.Ruleset{Guard: guardOf(22), Allow: []ajar.Rule{leaseOf("a", 22, time.Now().Add(time.Hour), guest4, guest6)}})
	p.guest.wantOpen(guest4, ap(host4, 22))
	p.guest.wantOpen(guest6, ap(host6, 22))
	p.guest.wantRefused(other4, ap(host4, 22))
	p.guest.wantRefused(other6, ap(host6, 22))
}

