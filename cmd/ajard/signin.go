package main

import (
	"time"

	"github.com/ajar-access/ajar/authn"
)

// Browsers says how people sign in with them.
type Browsers struct {
	SecondFactor string   `yaml:"secondFactor"` // optional (default), required or off
	Idle         duration `yaml:"idle"`         // a browser that is not used for so long is signed out; default 1h
	Lifetime     duration `yaml:"lifetime"`     // after so long any browser is; default 12h
}

func (b Browsers) check(fault func(string, ...any)) {
	switch b.SecondFactor {
	case "", "optional", string(authn.SecondRequired), string(authn.SecondOff):
	default:
		fault("signIn.secondFactor is %q; optional, required or off", b.SecondFactor)
	}
	if d := b.idle(); d < 5*time.Minute || d > b.lifetime() {
		fault("signIn.idle is %s; between 5m and signIn.lifetime, %s", d, b.lifetime())
	}
	if d := b.lifetime(); d > 30*24*time.Hour {
		fault("signIn.lifetime is %s; at most 720h", d)
	}
}

func (b Browsers) secondFactor() authn.SecondFactor {
	if b.SecondFactor == "optional" {
		return authn.SecondOptional
	}
	return authn.SecondFactor(b.SecondFactor)
}

func (b Browsers) idle() time.Duration     { return b.Idle.or(time.Hour) }
func (b Browsers) lifetime() time.Duration { return b.Lifetime.or(12 * time.Hour) }
