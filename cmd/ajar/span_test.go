package main

import (
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

func TestParseSpan(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "45s": 45 * time.Second,
		"PT1H30M": 90 * time.Minute, "P1D": 24 * time.Hour, "1.5h": 90 * time.Minute,
	} {
		if got, err := parseSpan(s); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "0s", "-1h", "+1h", "1", "d", "-1d", "1d-2h", "PT0S", "P1M", "1w", "99999d", "9999999h", "1d1d", "one"} {
		if got, err := parseSpan(s); err == nil {
			t.Errorf("%q was taken for %s", s, got)
		}
	}
}

func TestParseUntil(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"17:30":                     time.Date(2026, 11, 20, 17, 30, 0, 0, time.UTC),
		"14:30":                     time.Date(2026, 11, 21, 14, 30, 0, 0, time.UTC), // now is over
		"02:00":                     time.Date(2026, 11, 21, 2, 0, 0, 0, time.UTC),
		"2026-12-01 08:00":          time.Date(2026, 12, 1, 8, 0, 0, 0, time.UTC),
		"2026-12-01T08:00:00+01:00": time.Date(2026, 12, 1, 7, 0, 0, 0, time.UTC),
	} {
		if got, err := parseUntil(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "noon", "25:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-13-01 00:00", "17"} {
		if got, err := parseUntil(s, now); err == nil {
			t.Errorf("%q was taken for %s", s, got)
		}
	}
}

func TestParsePort(t *testing.T) {
	for s, want := range map[string]ajar.Port{
		"22": {Number: 22}, "ssh": {Number: 22}, "RDP": {Number: 3389}, "53/udp": {Number: 53, Protocol: ajar.UDP}, "443/any": {Number: 443, Protocol: ajar.Both},
	} {
		if got, err := parsePort(s); err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "65536", "-1", "22/sctp", "http", "22/", "+22"} {
		if got, err := parsePort(s); err == nil {
			t.Errorf("%q was taken for %v", s, got)
		}
	}
}

func TestTimesReadAsPeopleThink(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "now", 9 * time.Second: "in 9s", 42 * time.Minute: "in 42m", 65 * time.Minute: "in 1h5m", 51 * time.Hour: "in 2d3h",
		-3 * time.Hour: "3h ago", 90 * time.Second: "in 1m30s", 59*time.Minute + 59*time.Second: "in 59m", 24 * time.Hour: "in 1d",
	} {
		if got := relative(d); got != want {
			t.Errorf("%s reads %q, want %q", d, got, want)
		}
	}
}

func FuzzSpan(f *testing.F) {
	for _, s := range []string{"90m", "1d12h", "PT1H30M", "2d", "-1h", "1e9h", "P1D"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseSpan(s)
		if err == nil && (d <= 0 || d > maxSpan) {
			t.Errorf("%q was taken for %s", s, d)
		}
	})
}

func FuzzUntil(f *testing.F) {
	for _, s := range []string{"17:30", "2026-12-01 08:00", "2026-12-01T08:00:00+01:00", "24:00"} {
		f.Add(s)
	}
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		at, err := parseUntil(s, now)
		if err == nil && (at.Year() < 2000 || at.Year() > 2200) {
			t.Errorf("%q was taken for %s", s, at)
		}
	})
}

func FuzzPort(f *testing.F) {
	for _, s := range []string{"22", "53/udp", "ssh", "0/tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := parsePort(s); err == nil && p.Number == 0 {
			t.Errorf("%q was taken for port 0", s)
		}
	})
}

func TestAgo(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"2d":                   now.Add(-48 * time.Hour),
		"2026-10":              time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC),
		"2026-10-05":           time.Date(2026, 10, 5, 0, 0, 0, 0, time.UTC),
		"2026-10-05 08:00":     time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC),
		"2026-10-05T08:00:00Z": time.Date(2026, 10, 5, 8, 0, 0, 0, time.UTC),
		"13:00":                time.Date(2026, 11, 20, 13, 0, 0, 0, time.UTC),
		"17:00":                time.Date(2026, 11, 19, 17, 0, 0, 0, time.UTC),
	} {
		g := ago{now: func() time.Time { return now }}
		if err := g.Set(s); err != nil || !g.t.Equal(want) {
			t.Errorf("%s is %s, %v; want %s", s, g.t, err, want)
		}
	}
	for _, s := range []string{"", "yesterday", "2026-13", "0"} {
		g := ago{now: func() time.Time { return now }}
		if err := g.Set(s); err == nil {
			t.Errorf("%q was taken for %s", s, g.t)
		}
	}
}
