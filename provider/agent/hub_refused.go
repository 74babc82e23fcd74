package agent

import (
	"crypto/x509"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Anybody can knock with a certificate that is no good. So the log is told of one address at most every knockEach, and of
// all together in bursts of knockBurst, one more every knockEvery; what was left out is counted in the next.
const (
	knockEach  = 10 * time.Minute
	knockBurst = 20
	knockEvery = time.Minute
	maxKnocks  = 4096
)

// knocks decides which refusals are worth an event.
type knocks struct {
	clock ajar.Clock

	mu     sync.Mutex
	told   map[netip.Addr]time.Time
	bucket tries
	unsaid int
}

func newKnocks(clock ajar.Clock) *knocks {
	return &knocks{clock: clock, told: map[netip.Addr]time.Time{}, bucket: tries{left: knockBurst, at: clock()}}
}

// say reports whether a refusal of from is told, and how many were not since the last that was.
func (k *knocks) say(from netip.Addr) (unsaid int, ok bool) {
	a, now := who(from), k.clock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if since := now.Sub(k.bucket.at); since > 0 {
		k.bucket.left = min(knockBurst, k.bucket.left+float64(since)/float64(knockEvery))
	}
	k.bucket.at = now
	last, known := k.told[a]
	if known && now.Sub(last).Abs() < knockEach || k.bucket.left < 1 {
		k.unsaid++
		return 0, false
	}
	if len(k.told) >= maxKnocks {
		clear(k.told) // the bucket bounds what that lets through
	}
	k.told[a] = now
	k.bucket.left--
	unsaid, k.unsaid = k.unsaid, 0
	return unsaid, true
}

// refusals are the kinds of error that say something of the certificate; others, of the plane.
var refusals = []ajar.Kind{ajar.Forbidden, ajar.NotFound, ajar.Unauthenticated, ajar.Conflict}

// reportRefused makes a Report of a certificate of our own authority that is good no longer. ep is "" where it never was
// known whose it is.
func (h *Hub) reportRefused(ep ajar.EndpointID, from netip.AddrPort, cert *x509.Certificate, why error) {
	if slices.Contains(refusals, ajar.KindOf(why)) {
		h.reportKnock(ep, from, cert, ajar.Message(why))
	}
}

// reportKnock makes a Report of a certificate that was refused at the door.
func (h *Hub) reportKnock(ep ajar.EndpointID, from netip.AddrPort, cert *x509.Certificate, why string) {
	unsaid, ok := h.knock.say(from.Addr())
	if !ok {
		return
	}
	d := map[string]string{
		"from": from.String(), "serial": tame(cert.SerialNumber.Text(16), maxWord),
		"subject": tame(cert.Subject.CommonName, maxWord), "why": tame(why, maxMessage),
	}
	if unsaid > 0 {
		d["unreported"] = strconv.Itoa(unsaid)
	}
	h.news.add(item{report: ajar.Report{
		Endpoint: ep, Time: h.Clock(), Action: ajar.HostRefused, Details: d,
		Message: "a host's certificate was refused",
	}})
}
