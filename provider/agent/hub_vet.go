package agent

import (
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ajar-access/ajar"
)

// What root of a host can make its agent say goes into everybody's log and onto administrators' screens. So a host may
// report what hosts notice and nothing else, in words that are short and plain, and only so much at a time.
const (
	maxUnheard = 64 // unanswered, of one host
	maxMessage = 2048
	maxDetails = 16
	maxWord    = 256
	maxRefused = 64

	maxSessions = 1 << 24 // on one port; more there cannot be of one address
)

// noted are the actions that a host may report.
var noted = []ajar.Action{"", ajar.BreakGlass, ajar.DriftRepaired, ajar.GuardRolledBack, ajar.HostSkew, ajar.SessionsOutlive, ajar.SessionsOver}

func (n note) vetted() (out note, ok bool) {
	if !slices.Contains(noted, n.Action) {
		return note{}, false
	}
	n.Message = tame(n.Message, maxMessage)
	details := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(n.Details)) {
		if len(details) < maxDetails {
			details[tame(k, maxWord)] = tame(n.Details[k], maxMessage)
		}
	}
	n.Details = nil
	if len(details) > 0 {
		n.Details = details
	}
	n.Lease = ajar.LeaseID(tame(string(n.Lease), maxWord))
	if n.Sessions != nil {
		s := *n.Sessions
		s.Live, s.Cut = max(0, min(s.Live, maxSessions)), tame(s.Cut, maxWord)
		s.Peers = s.Peers[:min(len(s.Peers), ajar.MaxPeers)]
		n.Sessions = &s
	}
	if n.Status != nil {
		s := tameStatus(*n.Status)
		n.Status = &s
	}
	return n, true
}

func tameStatus(s ajar.HostStatus) ajar.HostStatus {
	for _, w := range []*string{&s.Version, &s.Kernel, &s.OwnTable, &s.HangUp, &s.BootID} {
		*w = tame(*w, maxWord)
	}
	s.Refused = s.Refused[:min(len(s.Refused), maxRefused)]
	return s
}

// tame is s without control characters, at most limit bytes long.
func tame(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s[:min(len(s), 2*limit)])
	if len(s) <= limit {
		return s
	}
	s = s[:limit]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}
