package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/spf13/cobra"
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

// told tells a person at once of what is done, before a longer wait; programs read of it in the end.
func (a *app) told(format string, args ...any) {
	if a.output == "table" {
		fmt.Fprintf(a.out, format+"\n", args...)
	}
}

// list writes rows under headings, or says that there are none.
func list[T any](a *app, all []T, none string, heads []string, row func(T) []string) error {
	if all == nil {
		all = []T{}
	}
	if a.csv() {
		return writeCSV(a.out, heads, all, row)
	}
	return a.show(all, func(w io.Writer) {
		if len(all) == 0 {
			a.say("%s", none)
			return
		}
		table(w, a.width(), heads, all, row)
	})
}

// csv reports whether rows are written for a spreadsheet: there, times and IDs are whole.
func (a *app) csv() bool { return a.output == "csv" }

// writeCSV writes rows for spreadsheets, which take a cell that begins like a formula for one.
func writeCSV[T any](w io.Writer, heads []string, all []T, row func(T) []string) error {
	out := csv.NewWriter(w)
	line := make([]string, len(heads))
	for i, h := range heads {
		line[i] = strings.ReplaceAll(strings.ToLower(h), " ", "_")
	}
	_ = out.Write(line) // Error below has it
	for _, v := range all {
		cells := row(v)
		for i, c := range cells {
			c = plain(c)
			if c == "-" {
				c = ""
			} else if c != "" && strings.ContainsRune("=+-@", rune(c[0])) {
				c = "'" + c
			}
			cells[i] = c
		}
		_ = out.Write(cells)
	}
	out.Flush()
	return out.Error()
}

// some reads the first most entries of a list, or all of it if most is 0, and whether there are more.
func some[T any](seq iter.Seq2[T, error], most int) (all []T, more bool, _ error) {
	for v, err := range seq {
		if err != nil {
			return nil, false, err
		}
		if most > 0 && len(all) == most {
			return all, true, nil
		}
		all = append(all, v)
	}
	return all, false, nil
}

// limit is how much of a list is shown: what somebody said, or what a person can take in at once.
type limit struct {
	n    int
	said func() bool
}

func (l *limit) add(c *cobra.Command, usual int) {
	c.Flags().IntVarP(&l.n, "limit", "n", usual, "at most so many, the newest; 0 shows all")
	f := c.Flags().Lookup("limit")
	l.said = func() bool { return f.Changed }
}

// most is the limit. Programs get everything unless they said how much.
func (l *limit) most(a *app) (int, error) {
	switch {
	case l.n < 0:
		return 0, usage("--limit cannot be negative")
	case !l.said() && a.output != "table":
		return 0, nil
	}
	return l.n, nil
}

// page is what to ask the plane for at once.
func page(most int) int {
	if most <= 0 {
		return 0
	}
	return min(most+1, 1000)
}

// cutOff says that a list goes on.
func (a *app) cutOff(more bool, most int) {
	if more {
		a.say("the newest %d; there are more: --limit 0 shows all", most)
	}
}
