package rbac

import (
	"slices"
	"strings"
)

// mostReadings bounds what one pattern becomes.
const mostReadings = 16

// readings are the patterns that a pattern stands for: virtualMachines/*/read is virtualMachines/read, too. So Azure has it,
// whose roles for logging in at machines have nothing else that shows them.
func readings(pattern string) []string {
	all := []string{pattern}
	for i := 0; i < len(all) && len(all) < mostReadings; i++ {
		for at := 0; len(all) < mostReadings; {
			n := strings.Index(all[i][at:], "/*/")
			if n < 0 {
				break
			}
			at += n + 1
			if less := all[i][:at] + all[i][at+len("*/"):]; strings.Contains(all[i][:at-1], "/") && !slices.Contains(all, less) {
				all = append(all, less)
			}
		}
	}
	return all
}

// match reports whether action is one that pattern stands for, both in lower case: a * is any run of characters, slashes
// included. A * in action is an ordinary character, which a pattern's * alone stands for;
// so match also says, of two patterns, that everything the second stands for the first stands for too.
func match(pattern, action string) bool {
	p, a, star, mark := 0, 0, -1, 0
	for a < len(action) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, a
			p++
		case p < len(pattern) && pattern[p] == action[a]:
			p++
			a++
		case star >= 0:
			mark++
			p, a = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// meet reports whether some action is of both patterns. Both are lower case.
func meet(x, y string) bool {
	// row[j] says whether x[:i] and y[:j] meet.
	row, next := make([]bool, len(y)+1), make([]bool, len(y)+1)
	row[0] = true
	for j := range len(y) {
		row[j+1] = row[j] && y[j] == '*'
	}
	for i := range len(x) {
		next[0] = row[0] && x[i] == '*'
		for j := range len(y) {
			if x[i] == '*' || y[j] == '*' {
				// A star ends, or takes one more of the other side.
				next[j+1] = row[j+1] || next[j]
			} else {
				next[j+1] = row[j] && x[i] == y[j]
			}
		}
		row, next = next, row
	}
	return row[len(y)]
}

func matchAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if match(p, action) {
			return true
		}
	}
	return false
}
