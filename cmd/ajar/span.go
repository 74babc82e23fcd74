package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

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

// ago is a flag that holds a point in the past: a time, a day, or how long ago.
type ago struct {
	t   time.Time
	now ajar.Clock
}

func (g *ago) String() string {
	if g.t.IsZero() {
		return ""
	}
	return g.t.Format(time.RFC3339)
}

func (g *ago) Set(v string) error {
	now := g.now()
	if d, err := parseSpan(v); err == nil {
		g.t = now.Add(-d)
		return nil
	}
	if t, err := time.ParseInLocation("2006-01-02", v, now.Location()); err == nil {
		g.t = t
		return nil
	}
	if t, err := time.ParseInLocation("2006-01", v, now.Location()); err == nil {
		g.t = t
		return nil
	}
	t, err := parseUntil(v, now)
	if err != nil {
		return fmt.Errorf("%.60q is neither how long ago, such as 2d, nor a time such as 2006-01-02 or 2006-01-02T15:04:05Z", v)
	}
	if t.After(now) && !strings.ContainsAny(v, "-T") {
		t = t.AddDate(0, 0, -1) // a time of day is the last one
	}
	g.t = t
	return nil
}

func (*ago) Type() string { return "time" }

// period is from one moment on and before another, as flags say it.
type period struct{ since, until ago }

func (p *period) add(a *app, c *cobra.Command) {
	p.since.now, p.until.now = a.now, a.now
	c.Flags().Var(&p.since, "since", "from then on: 2d for two days ago, 2006-01 for a month's beginning, 2006-01-02, 15:04 or a time in full")
	c.Flags().Var(&p.until, "until", "before then, written likewise")
}

func (p *period) set() bool { return !p.since.t.IsZero() || !p.until.t.IsZero() }

func (p *period) check() error {
	if !p.since.t.IsZero() && !p.until.t.IsZero() && !p.since.t.Before(p.until.t) {
		return usage("--until is not after --since")
	}
	return nil
}

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
