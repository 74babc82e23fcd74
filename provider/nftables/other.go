//go:build !linux

package nftables

import (
	"context"
	"log/slog"
	"runtime"

	"github.com/ajar-access/ajar"
)

// Firewall exists on Linux only; elsewhere there is none to be had.
type Firewall struct{}

func missing() error {
	return ajar.Errorf(ajar.Unavailable, "nftables is Linux's firewall; this is %s", runtime.GOOS)
}

// Open answers that there is no nftables here.
func (c Config) Open(context.Context, *slog.Logger) (*Firewall, error) { return nil, missing() }

// Apply answers Unavailable.
func (*Firewall) Apply(context.Context, ajar.Endpoint, ajar.Ruleset) error { return missing() }

// ApplyAt answers Unavailable.
func (*Firewall) ApplyAt(context.Context, ajar.Endpoint, ajar.Ruleset, uint64) error {
	return missing()
}

// Change answers Unavailable.
func (*Firewall) Change(context.Context, ajar.Endpoint, ajar.Delta) error { return missing() }

// Observe answers Unavailable.
func (*Firewall) Observe(context.Context, ajar.Endpoint) (ajar.Ruleset, error) {
	return ajar.Ruleset{}, missing()
}

// Preview answers Unavailable.
func (*Firewall) Preview(context.Context, ajar.Endpoint, []ajar.Guard) (ajar.Impact, error) {
	return ajar.Impact{}, missing()
}

// Report answers Unavailable.
func (*Firewall) Report(context.Context, func(ajar.Report) error) error { return missing() }

// Refused answers Unavailable.
func (*Firewall) Refused(context.Context) ([]ajar.Refusal, error) { return nil, missing() }

// Resync answers Unavailable.
func (*Firewall) Resync(context.Context) error { return missing() }

// Status says nothing.
func (*Firewall) Status() ajar.HostStatus { return ajar.HostStatus{} }

// Close does nothing.
func (*Firewall) Close() error { return nil }
