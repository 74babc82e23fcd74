package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/ajar-access/ajar"
)

// width is how many characters a line of the terminal has; 0 = no end.
func (a *app) width() int {
	if a.columns > 0 {
		return a.columns
	}
	return a.lineOf(a.out)
}

func (a *app) lineOf(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok || !terminal(f) {
		return 0
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return n
}

const (
	gap      = 2  // between columns
	narrowed = 16 // no column is made narrower than this
	indent   = 4  // of what does not fit beside
	story    = 30 // what the last column has at least, to go on in below itself
)

// table writes rows under headings. Where they do not fit into width the widest columns are cut, but for the last, which
// tells the story: it goes on in the next line.
func table[T any](w io.Writer, width int, heads []string, all []T, row func(T) []string) {
	var lines [][]string
	if heads != nil {
		lines = append(lines, heads)
	}
	for _, v := range all {
		lines = append(lines, row(v))
	}
	var wide []int
	for _, cells := range lines {
		for i, c := range cells {
			cells[i] = plain(c)
			if i == len(wide) {
				wide = append(wide, 0)
			}
			wide[i] = max(wide[i], utf8.RuneCountInString(cells[i]))
		}
	}
	last := fit(wide, width)
	var b strings.Builder
	for _, cells := range lines {
		line(&b, cells, wide, last)
	}
	io.WriteString(w, b.String())
}

// lastColumn is where the last column goes: how wide it may be, 0 = as it is; and whether it stands below the others.
type lastColumn struct {
	wide  int
	below bool
}

// fit narrows the widest columns but the last until a line is no longer than width, as far as that goes.
func fit(wide []int, width int) (last lastColumn) {
	n := len(wide)
	sum := gap * (n - 1)
	for _, w := range wide {
		sum += w
	}
	if width <= 0 || n == 0 || sum <= width {
		return last
	}
	tells := min(wide[n-1], story)
	for sum -= wide[n-1]; sum+tells > width; {
		widest := 0
		for i := range wide[:n-1] {
			if wide[i] > wide[widest] {
				widest = i
			}
		}
		if n == 1 || wide[widest] <= narrowed {
			break
		}
		now := max(narrowed, wide[widest]-(sum+tells-width))
		sum, wide[widest] = sum-wide[widest]+now, now
	}
	if left := width - sum; left >= tells {
		return lastColumn{wide: left}
	}
	return lastColumn{max(width-indent, narrowed), true}
}

// line writes one row.
func line(b *strings.Builder, cells []string, wide []int, last lastColumn) {
	at, to := 0, 0 // where the line is, and where it should be
	for i, c := range cells {
		parts := []string{c}
		if i == len(wide)-1 && last.wide > 0 {
			if parts = wrap(c, last.wide); last.below && c != "" {
				b.WriteByte('\n')
				at, to = 0, indent
			}
		} else {
			parts[0] = cut(c, wide[i])
		}
		for n, part := range parts {
			if n > 0 {
				b.WriteByte('\n')
				at = 0
			}
			if part != "" {
				b.WriteString(strings.Repeat(" ", to-at) + part)
				at = to + utf8.RuneCountInString(part)
			}
		}
		to += wide[i] + gap
	}
	b.WriteByte('\n')
}

// wrap breaks s between words, or where a word has no end, into lines of at most n characters.
func wrap(s string, n int) (lines []string) {
	rest := []rune(s)
	for len(rest) > n {
		at := n
		for i := n; i > n/2; i-- {
			if rest[i] == ' ' {
				at = i
				break
			}
		}
		lines = append(lines, strings.TrimRight(string(rest[:at]), " "))
		rest = []rune(strings.TrimLeft(string(rest[at:]), " "))
	}
	return append(lines, strings.TrimRight(string(rest), " "))
}

// cut is s in at most n characters.
func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
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
	if a.csv() {
		return t.UTC().Format(time.RFC3339)
	}
	rel := relative(t.Sub(a.now()))
	if a.utc {
		return t.UTC().Format("2006-01-02 15:04:05Z") + " (" + rel + ")"
	}
	return rel
}

// clock shows a time by the clock on the wall, and in full with --utc or when it is not today.
func (a *app) clock(t time.Time) string {
	if a.csv() {
		return t.UTC().Format(time.RFC3339)
	}
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

// id shows a GUID: its end to people, the whole to programs.
func (a *app) id(guid string) string {
	if a.csv() {
		return guid
	}
	return tail(guid)
}

// name shows a thing's ID: its name to people, the whole to programs.
func (a *app) name(id ajar.ID) string {
	if a.csv() {
		return string(id)
	}
	return id.Name()
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
