package rest

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
)

// What every answer carries, as recorded from Azure. The slices are shared and never changed.
var always = map[string][]string{
	"Cache-Control":             {"no-cache"},
	"Pragma":                    {"no-cache"},
	"Expires":                   {"-1"},
	"Strict-Transport-Security": {"max-age=31536000; includeSubDomains"},
	"X-Content-Type-Options":    {"nosniff"},
}

// stampHeaders gives the answer its ids and returns the correlation id: the caller's if it is one, so that it finds
// its call in our log, or a new one.
func (s *Server) stampHeaders(h http.Header, r *http.Request, now time.Time) (corr string) {
	for k, v := range always {
		h[k] = v
	}
	id := NewGUID()
	if corr = r.Header.Get("x-ms-correlation-request-id"); !isCorrelation(corr) {
		corr = id
	}
	h["x-ms-request-id"] = []string{id}
	h["x-ms-correlation-request-id"] = []string{corr}
	h["x-ms-routing-request-id"] = []string{s.Region + ":" + now.UTC().Format("20060102T150405Z") + ":" + id}
	if client := r.Header.Get("x-ms-client-request-id"); isCorrelation(client) && strings.EqualFold(r.Header.Get("x-ms-return-client-request-id"), "true") {
		h["x-ms-client-request-id"] = []string{client}
	}
	return corr
}

// isCorrelation reports whether id may stand in a header, a log and an event: short, letters, digits and dashes.
func isCorrelation(id string) bool {
	if len(id) < 8 || len(id) > 64 {
		return false
	}
	return strings.Trim(strings.ToLower(id), "0123456789abcdefghijklmnopqrstuvwxyz-") == ""
}

// NewGUID makes a GUID that no other call has. Those of one time begin alike (RFC 9562, version 7), so that they lie
// together in what the log is found by, and a commit that logs many calls writes few pages.
func NewGUID() string { return uuid.Must(uuid.NewV7()).String() }

// budget is one of the counters of requests that are left in an hour, which Azure shows and clients read. Ajar counts
// as Azure does and refuses nobody by them: a counter stops at 1.
type budget struct {
	header string
	start  int
}

var (
	budgetReads   = budget{"x-ms-ratelimit-remaining-subscription-reads", 12000}
	budgetLists   = budget{"x-ms-ratelimit-remaining-subscription-resource-requests", 750}
	budgetWrites  = budget{"x-ms-ratelimit-remaining-subscription-writes", 1200}
	budgetDeletes = budget{"x-ms-ratelimit-remaining-subscription-deletes", 15000}
)

// meter keeps the counters of this hour.
type meter struct {
	mu   sync.Mutex
	hour int64
	used map[meterKey]int
}

type meterKey struct {
	header, subscription, principal string
}

func (m *meter) spend(b budget, subscription, principal string, now time.Time) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if hour := now.Unix() / 3600; m.used == nil || hour != m.hour || len(m.used) > 100_000 {
		m.hour, m.used = hour, map[meterKey]int{}
	}
	k := meterKey{b.header, strings.ToLower(subscription), principal}
	m.used[k]++
	return []string{strconv.Itoa(max(1, b.start-m.used[k]))}
}
