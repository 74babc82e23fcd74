// Package provider is the list of firewalls that a control plane can drive by itself. It does not know how any of them
// works: each has a folder of its own, with a Config to make its Enforcer from, and passes providertest. The firewalls
// of hosts that run ajar-agent are not made from configuration; the agent listener brings them.
package provider

import (
	"context"
	"log/slog"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/fake"
)

// Config is a provider's section of the configuration. Its fields are the section's keys; the zero value must be good
// wherever a key can be left out.
type Config interface {
	// Open makes the enforcer. Nothing is touched before the first Apply. Where the result is an io.Closer, it is closed
	// at the end.
	Open(ctx context.Context, log *slog.Logger) (ajar.Enforcer, error)
}

// Kinds maps the names that Endpoint.Provider and the configuration know to empty sections. A new firewall is a folder
// and a line here.
var Kinds = map[string]func() Config{
	"fake": func() Config { return new(fake.Config) },
}
