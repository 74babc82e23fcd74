package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// What other people wrote, such as a reason, does not get to steer the reader's terminal.
func TestForeignTextCannotSteerTheTerminal(t *testing.T) {
	var b bytes.Buffer
	table(&b, 0, []string{"A", "B"}, []string{"\x1b[31mred\x07\u202egnp.exe", "two\nlines\tand a tab"}, func(s string) []string { return []string{s, "x"} })
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

func TestTableFitsTheTerminal(t *testing.T) {
	rows := [][]string{{"vm1", strings.Repeat("wide ", 20), strings.Repeat("a long story ", 20)}, {"ünïcode-machine", "short", ""}}
	for _, width := range []int{70, 40} {
		var b bytes.Buffer
		table(&b, width, []string{"NAME", "STATE", "STORY"}, rows, func(r []string) []string { return slices.Clone(r) })
		for line := range strings.Lines(b.String()) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); (n > width && width >= 70) || strings.HasSuffix(line, " \n") {
				t.Errorf("%d characters of %d: %q", n, width, line)
			}
		}
		if strings.Count(strings.Join(strings.Fields(b.String()), " "), "a long story") < 15 || !strings.Contains(b.String(), "…") {
			t.Errorf("the story is not told:\n%s", b.String())
		}
	}
	var b bytes.Buffer
	table(&b, 10, []string{"A", "B"}, [][]string{{"short", "words"}}, func(r []string) []string { return r })
	if !strings.Contains(b.String(), "short") || !strings.Contains(b.String(), "words") {
		t.Errorf("what is short anyhow is cut: %q", b.String())
	}
}

// What is watched is drawn again until somebody ends it; a plane that is away for a while ends nothing.
func TestWatch(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out, err: &out, output: "table", now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := a.redraw(ctx, time.Millisecond, func(context.Context) error {
		switch n++; n {
		case 2:
			return ajar.Errorf(ajar.Unavailable, "The plane is away")
		case 4:
			cancel()
		}
		a.say("drawing %d", n)
		return nil
	})
	if err != nil || !strings.Contains(out.String(), "drawing 1") || !strings.Contains(out.String(), "the plane is away; trying on") || !strings.Contains(out.String(), "drawing 3") {
		t.Errorf("%v: %q", err, out.String())
	}
	if err := a.redraw(t.Context(), time.Millisecond, func(context.Context) error { return ajar.Errorf(ajar.Forbidden, "no") }); ajar.KindOf(err) != ajar.Forbidden {
		t.Error(err)
	}
}
