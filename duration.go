package ajar

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads an ISO 8601 duration of days, hours, minutes and seconds, such as PT3H, PT3H0M or P1D.
// Years, months and weeks have no fixed meaning here and are refused, as are signs and the empty "PT".
func ParseDuration(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		return 0, Errorf(Invalid, "duration %.40q is not of the form PT1H30M or P1D (ISO 8601; days, hours, minutes, seconds)", s)
	}
	rest, ok := strings.CutPrefix(strings.ToUpper(s), "P")
	if !ok || len(s) > 40 {
		return bad()
	}
	day, clock, hasT := strings.Cut(rest, "T")
	total, n := 0.0, 0
	take := func(part, units string, sizes []time.Duration) bool {
		for part != "" {
			i := strings.IndexAny(part, units)
			if i <= 0 {
				return false
			}
			unit := strings.IndexByte(units, part[i])
			num := strings.Replace(part[:i], ",", ".", 1)
			if strings.Trim(num, "0123456789.") != "" || (units[unit] != 'S' && strings.Contains(num, ".")) {
				return false
			}
			v, err := strconv.ParseFloat(num, 64)
			if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
				return false
			}
			total += v * float64(sizes[unit])
			units, sizes = units[unit+1:], sizes[unit+1:]
			part = part[i+1:]
			n++
		}
		return true
	}
	if !take(day, "D", []time.Duration{24 * time.Hour}) ||
		!take(clock, "HMS", []time.Duration{time.Hour, time.Minute, time.Second}) ||
		n == 0 || (hasT && clock == "") || total > float64(math.MaxInt64/2) {
		return bad()
	}
	return time.Duration(total).Round(time.Millisecond), nil
}

// FormatDuration writes d as Azure does: PT3H, PT1H30M, PT5M, PT24H.
func FormatDuration(d time.Duration) string {
	if d <= 0 {
		return "PT0S"
	}
	var b strings.Builder
	b.WriteString("PT")
	if h := d / time.Hour; h > 0 {
		b.WriteString(strconv.FormatInt(int64(h), 10) + "H")
		d -= h * time.Hour
	}
	if m := d / time.Minute; m > 0 {
		b.WriteString(strconv.FormatInt(int64(m), 10) + "M")
		d -= m * time.Minute
	}
	if d > 0 {
		b.WriteString(strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "S")
	}
	return b.String()
}
