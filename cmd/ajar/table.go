package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ajar-access/ajar"
)

// show writes v as JSON where a program reads, or has people write it for a person.
func (a *app) show(v any, people func(w io.Writer)) error {
	if a.output == "json" {
		e := json.NewEncoder(a.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	if people != nil {
		people(a.out)
	}
	return nil
}

// done writes what was done: a sentence for a person, v for a program.
func (a *app) done(v any, format string, args ...any) error {
	return a.show(v, func(w io.Writer) { fmt.Fprintf(w, format+"\n", args...) })
}

// list writes rows under headings, or says that there are none.
func list[T any](a *app, all []T, none string, heads []string, row func(T) []string) error {
	if all == nil {
		all = []T{}
	}
	return a.show(all, func(w io.Writer) {
		if len(all) == 0 {
			a.say("%s", none)
			return
		}
		table(w, heads, all, row)
	})
}

// table writes rows under headings.
func table[T any](w io.Writer, heads []string, all []T, row func(T) []string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for i, c := range cells {
			cells[i] = plain(c)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	if heads != nil {
		line(heads)
	}
	for _, v := range all {
		line(row(v))
	}
	t.Flush()
}

// plain keeps what somebody else wrote from moving the cursor, colouring the screen or breaking the table.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return ' '
		}
		return r
	}, s)
}

// when shows a time as people think of it, "in 42m" or "3h ago", and in full with --utc.
func (a *app) when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	rel := relative(t.Sub(a.now()))
	if a.utc {
		return t.UTC().Format("2006-01-02 15:04:05Z") + " (" + rel + ")"
	}
	return rel
}

// clock shows a time by the clock on the wall, and in full with --utc or when it is not today.
func (a *app) clock(t time.Time) string {
	if a.utc {
		return t.UTC().Format("2006-01-02 15:04:05Z")
	}
	l, now := t.Local(), a.now().Local()
	if l.YearDay() == now.YearDay() && l.Year() == now.Year() {
		return l.Format("15:04:05")
	}
	return l.Format("2006-01-02 15:04:05")
}

func relative(d time.Duration) string {
	switch {
	case d > -time.Second && d < time.Second:
		return "now"
	case d < 0:
		return short(-d) + " ago"
	}
	return "in " + short(d)
}

// short writes a duration with its two largest units: 2d3h, 1h5m, 42m, 9s.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	d = d.Round(time.Second)
	switch {
	case d >= day:
		return two(d, day, "d", time.Hour, "h")
	case d >= time.Hour:
		return two(d, time.Hour, "h", time.Minute, "m")
	case d >= 10*time.Minute:
		return two(d, time.Minute, "m", time.Minute, "")
	case d >= time.Minute:
		return two(d, time.Minute, "m", time.Second, "s")
	}
	return two(d, time.Second, "s", time.Second, "")
}

func two(d, big time.Duration, b string, small time.Duration, s string) string {
	out := fmt.Sprintf("%d%s", d/big, b)
	if rest := d % big / small; rest > 0 && s != "" {
		out += fmt.Sprintf("%d%s", rest, s)
	}
	return out
}

// iso shows an ISO 8601 duration as people write it.
func iso(s string) string {
	if d, err := ajar.ParseDuration(s); err == nil {
		return short(d)
	}
	return s
}

// tail is the end of a GUID: enough to tell a few apart, and to type. Their beginnings are times, and alike.
func tail[S ~string](id S) string {
	if len(id) == 36 {
		return string(id[28:])
	}
	return string(id)
}

func join[S ~string](all []S, none string) string {
	if len(all) == 0 {
		return none
	}
	var b strings.Builder
	for i, s := range all {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(s))
	}
	return b.String()
}

func port(n uint16, p ajar.Protocol) string { return ajar.Port{Number: n, Protocol: p}.String() }

func yes(b bool, word string) string {
	if b {
		return word
	}
	return ""
}
