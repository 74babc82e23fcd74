//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// report writes the results: one line `metric value unit` each, and what else is worth knowing behind a #.
type report struct{ out io.Writer }

func (r report) metric(name string, value float64, unit string) {
	fmt.Fprintf(r.out, "%s %s %s\n", name, figure(value), unit)
}

func (r report) note(format string, args ...any) { fmt.Fprintf(r.out, "# "+format+"\n", args...) }

// spread notes the smallest, middle and largest of what a metric was made from.
func (r report) spread(name string, ds []time.Duration) {
	s := sorted(ds)
	if len(s) == 0 {
		r.note("%s: nothing was measured", name)
		return
	}
	r.note("%s: n %d, min %s, median %s, p99 %s, max %s ms", name, len(s), figure(ms(s[0])), figure(ms(rank(s, 50))), figure(ms(rank(s, 99))), figure(ms(s[len(s)-1])))
}

func figure(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

func sorted(ds []time.Duration) []time.Duration {
	s := slices.Clone(ds)
	slices.Sort(s)
	return s
}

// rank is the smallest value of s, which is sorted, that p percent do not exceed.
func rank(s []time.Duration, p int) time.Duration {
	if len(s) == 0 {
		return 0
	}
	return s[min(len(s)-1, (len(s)*p+99)/100-1)]
}

func median(ds []time.Duration) time.Duration { return rank(sorted(ds), 50) }
func p99(ds []time.Duration) time.Duration    { return rank(sorted(ds), 99) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
