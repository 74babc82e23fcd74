package ajar

import (
	"errors"
	"testing"
	"time"
)

func TestDurationsAreReadAsClientsSendThem(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"PT3H": 3 * time.Hour, "PT3H0M": 3 * time.Hour, "P1D": 24 * time.Hour, "PT24H": 24 * time.Hour, "PT5M": 5 * time.Minute,
		"P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond, "pt90m": 90 * time.Minute, "PT1S": time.Second, "PT0S": 0,
	} {
		if got, err := ParseDuration(s); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "P", "PT", "P1DT", "3H", "PT3", "P1M", "P1Y", "P1W", "-PT3H", "PT-3H", "PT1M1H", "PT1S2", "PT1S2S", "P1D1", "PT1.5H", "PT1e9S", "PTNaNS", "PT99999999999999999999H", "PT3H\n"} {
		if got, err := ParseDuration(s); !errors.Is(err, Invalid) {
			t.Errorf("ParseDuration(%q) = %v, %v; want Invalid", s, got, err)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	f.Add("PT3H0M")
	f.Add("P1DT2H3M4.5S")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDuration(s)
		if err != nil {
			return
		}
		if d < 0 {
			t.Fatalf("%q is negative: %v", s, d)
		}
		if again, err := ParseDuration(FormatDuration(d)); err != nil || again != d {
			t.Fatalf("%q → %v → %q → %v, %v", s, d, FormatDuration(d), again, err)
		}
	})
}
