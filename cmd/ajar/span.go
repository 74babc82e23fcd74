package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// maxSpan keeps spans far from where arithmetic on times ends.
const maxSpan = 10 * 365 * 24 * time.Hour

// parseSpan reads a length of time: 90m, 1h30m, 2d, 1d12h or ISO 8601 (PT1H30M). It is longer than nothing.
func parseSpan(s string) (time.Duration, error) {
	bad := fmt.Errorf("%.60q is not a length of time such as 90m, 1h30m, 2d or PT1H30M", s)
	if strings.HasPrefix(s, "P") || strings.HasPrefix(s, "p") {
		d, err := ajar.ParseDuration(s)
		if err != nil || d <= 0 || d > maxSpan {
			return 0, bad
		}
		return d, nil
	}
	rest, days := s, 0
	if before, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(before, 10, 12)
		if err != nil {
			return 0, bad
		}
		rest, days = after, int(n)
		if rest == "" {
			rest = "0s"
		}
	}
	if strings.HasPrefix(rest, "+") || strings.HasPrefix(rest, "-") {
		return 0, bad
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || d > maxSpan {
		return 0, bad
	}
	d += time.Duration(days) * 24 * time.Hour
	if d <= 0 || d > maxSpan {
		return 0, bad
	}
	return d, nil
}

// parseUntil reads a point in time: RFC 3339, a date and time of day, or a time of day alone, which is the next one.
func parseUntil(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return sane(s, t)
	}
	for _, layout := range []string{"2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return sane(s, t)
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		y, m, d := now.Date()
		at := time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if !at.After(now) {
			at = time.Date(y, m, d+1, t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		}
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%.60q is not a time such as 15:04, 2006-01-02 15:04 or 2006-01-02T15:04:05Z", s)
}

func sane(s string, t time.Time) (time.Time, error) {
	if y := t.Year(); y < 2000 || y > 2200 {
		return time.Time{}, fmt.Errorf("the year of %.60q cannot be meant", s)
	}
	return t, nil
}

// span is a flag that holds a length of time.
type span struct{ d time.Duration }

func (s *span) String() string {
	if s.d == 0 {
		return ""
	}
	return short(s.d)
}

func (s *span) Set(v string) (err error) {
	s.d, err = parseSpan(v)
	return err
}

func (*span) Type() string { return "duration" }

// until is a flag that holds a point in time.
type until struct {
	t   time.Time
	now ajar.Clock
}

func (u *until) String() string {
	if u.t.IsZero() {
		return ""
	}
	return u.t.Format(time.RFC3339)
}

func (u *until) Set(v string) (err error) {
	u.t, err = parseUntil(v, u.now())
	return err
}

func (*until) Type() string { return "time" }

// wellKnown are names for the ports that are asked for most.
var wellKnown = map[string]uint16{"ssh": 22, "rdp": 3389, "winrm": 5985, "winrms": 5986, "winrm-https": 5986}

// parsePort reads 22, 22/tcp or ssh. Without a protocol it leaves the choice to the policy.
func parsePort(s string) (ajar.Port, error) {
	num, proto, has := strings.Cut(strings.ToLower(s), "/")
	p := ajar.Port{Number: wellKnown[num]}
	if p.Number == 0 {
		n, err := strconv.ParseUint(num, 10, 16)
		if err != nil || n == 0 {
			return p, usage("%.40q is not a port such as 22, 53/udp, ssh or rdp", s)
		}
		p.Number = uint16(n)
	}
	if has {
		if proto == "any" {
			proto = "*"
		}
		var err error
		if p.Protocol, err = ajar.ParseProtocol(proto); err != nil {
			return p, usage("%.40q: %s", s, ajar.Message(err))
		}
	}
	return p, nil
}
