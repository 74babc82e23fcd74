package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// near lists those of all that somebody may have meant by what they typed, the likeliest first.
func near(typed string, all []string) (found []string) {
	type guess struct {
		name string
		far  int
	}
	typed = strings.ToLower(typed)
	var guesses []guess
	for _, name := range all {
		low := strings.ToLower(name)
		far := distance(typed, low)
		if far > 2 || far*2 > len(typed) {
			if len(typed) < 2 || !strings.HasPrefix(low, typed) {
				continue
			}
			far = 3
		}
		guesses = append(guesses, guess{name, far})
	}
	slices.SortStableFunc(guesses, func(g, h guess) int { return g.far - h.far })
	for _, g := range guesses {
		if len(found) < 3 && g.far == guesses[0].far && !slices.Contains(found, g.name) {
			found = append(found, g.name)
		}
	}
	return found
}

// distance counts the letters to add, drop, change or swap with their neighbour.
func distance(s, t string) int {
	two, last, now := make([]int, len(t)+1), make([]int, len(t)+1), make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(s) {
		now[0] = i + 1
		for j := range len(t) {
			change := 1
			if s[i] == t[j] {
				change = 0
			}
			now[j+1] = min(last[j+1]+1, now[j]+1, last[j]+change)
			if i > 0 && j > 0 && s[i] == t[j-1] && s[i-1] == t[j] {
				now[j+1] = min(now[j+1], two[j-1]+1)
			}
		}
		two, last, now = last, now, two
	}
	return last[len(t)]
}

// meant is advice that offers what somebody may have meant, or else the usual.
func meant(typed string, all []string, as func(string) string, usual string) string {
	found := near(typed, all)
	if len(found) == 0 {
		return usual
	}
	for i, s := range found {
		found[i] = as(s)
	}
	return "did you mean " + strings.Join(found, " or ") + "?"
}

// asIs offers a word as it is.
func asIs(s string) string { return s }

// noSuchCommand refuses arguments of a command that only holds others.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, append([]string{c.Name()}, c.Aliases...)...)
		}
	}
	path := cmd.CommandPath() + " "
	return hint(usage("there is no command %q", path+args[0]), "%s", meant(args[0], names, func(s string) string { return path + s }, path+"--help lists those there are"))
}

// orCommand is for commands that take a machine and hold others: what is no machine may be a slip of those.
func orCommand(cmd *cobra.Command, typed string, err error) error {
	if ajar.KindOf(err) != ajar.NotFound {
		return err
	}
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	if len(near(typed, names)) == 0 {
		return err
	}
	return hint(err, "%s", meant(typed, names, func(s string) string { return cmd.CommandPath() + " " + s }, ""))
}

// noSuchFlag adds to a fault of a flag what may have been meant.
func noSuchFlag(cmd *cobra.Command, err error) error {
	usual := cmd.CommandPath() + " --help"
	if _, rest, ok := strings.Cut(err.Error(), ` for "`); ok && strings.HasPrefix(err.Error(), "invalid argument ") {
		if name, why, ok := strings.Cut(rest, `" flag: `); ok {
			return hint(usage("%s: %s", name, why), "%s", usual)
		}
	}
	_, name, ok := strings.Cut(err.Error(), "unknown flag: --")
	if !ok {
		return hint(usage("%w", err), "%s", usual)
	}
	return hint(usage("there is no flag --%s", name), "%s", meant(name, flagNames(cmd), func(s string) string { return "--" + s }, usual))
}

func flagNames(cmd *cobra.Command) (names []string) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// nearMachines says which machines may have been meant.
func nearMachines(ctx context.Context, c *client.Client, name, usual string) string {
	group, machine, inGroup := strings.Cut(name, "/")
	if !inGroup {
		group, machine = "", name
	}
	all := gather(c.Targets(ctx, client.TargetQuery{}), func(t client.Target) string { return t.ID.Name() })
	if group != "" && slices.ContainsFunc(all, func(s string) bool { return sameName(s, machine) }) {
		return "there is one of that name in another group; " + usual // the name was right
	}
	return meant(machine, all, asIs, usual)
}
