package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// What other people wrote, such as a reason, does not get to steer the reader's terminal.
func TestForeignTextCannotSteerTheTerminal(t *testing.T) {
	var b bytes.Buffer
	table(&b, []string{"A", "B"}, []string{"\x1b[31mred\x07\u202egnp.exe", "two\nlines\tand a tab"}, func(s string) []string { return []string{s, "x"} })
	if strings.ContainsAny(b.String(), "\x1b\x07\u202e\t") || strings.Count(b.String(), "\n") != 3 {
		t.Errorf("%q", b.String())
	}
}

func TestTimesWithUTC(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	a := &app{now: func() time.Time { return now }, utc: true}
	if got := a.when(now.Add(42 * time.Minute)); got != "2026-11-20 14:42:00Z (in 42m)" {
		t.Error(got)
	}
	if got := a.when(time.Time{}); got != "-" {
		t.Error(got)
	}
}

func TestLeaseThatSessionsOutliveSaysSo(t *testing.T) {
	now := time.Date(2026, 11, 20, 14, 0, 0, 0, time.UTC)
	a := &app{now: func() time.Time { return now }, utc: true}
	l := client.Lease{State: ajar.Closing, Reason: ajar.Expired, HardStop: now.Add(time.Hour), Outlived: &client.Outlived{Live: 2, Sessions: 3}}
	if got := a.leaseState(l); got != "closing (expired), sessions that live on: 2, until 2026-11-20 15:00:00Z at the latest" {
		t.Error(got)
	}
	if live(l) || !outliving(l) {
		t.Error("it can be closed, and not extended")
	}
	l.Outlived.Live = 0
	if got := a.leaseState(l); got != "closing (expired)" || outliving(l) {
		t.Error(got)
	}
}
