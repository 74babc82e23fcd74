package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/discover"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/provider"
	"github.com/ajar-access/ajar/provider/agent"
	"github.com/ajar-access/ajar/store"
)

// plane is everything that a control plane consists of, wired.
type plane struct {
	cfg       *Config
	log       *slog.Logger
	clock     ajar.Clock
	store     *store.Store
	vault     *authn.Vault
	ca        *authn.CA
	tenant    ajar.Tenant
	auth      *authn.Authn
	hub       *agent.Hub
	hosts     *hosts
	loop      *enforce.Loop
	discover  *discover.Loop
	broker    *broker.Broker
	metrics   *metrics
	changes   *changes
	listeners []netip.AddrPort // of this plane, which no policy may guard by accident
	group     func(func() error)
	again     func() (*Config, error) // reads the configuration once more
}

// newLog is the program's own log. It goes to stderr; the activity log is in the store.
func newLog(c *Config, e env) *slog.Logger {
	c.loud.Set(c.LogLevel.Level())
	o := &slog.HandlerOptions{Level: c.loud}
	if c.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(e.stderr, o))
	}
	return slog.New(slog.NewJSONHandler(e.stderr, o))
}

// openStore opens the database, and makes its folder if it is a file.
func openStore(ctx context.Context, c *Config, e env, log *slog.Logger, clock ajar.Clock) (*store.Store, string, error) {
	dsn, folder, err := c.database(e.getenv)
	if err != nil {
		return nil, "", err
	}
	if folder != "" {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, "", fmt.Errorf("database: %w", err)
		}
	}
	s, err := store.Open(ctx, dsn, store.Options{Log: log, Clock: clock})
	if err != nil {
		return nil, "", fmt.Errorf("open the database: %w", err)
	}
	return s, folder, nil
}

// openVault reads the key-encryption key. At the first start it makes one, if it is to stand in a file that is not
// there; later a missing one is not replaced, since nothing would open with another.
func openVault(ctx context.Context, c *Config, e env, s *store.Store, folder string, clock ajar.Clock) (*authn.Vault, error) {
	ref := c.KEK
	if ref == (reference{}) {
		if folder == "" {
			folder = "/var/lib/ajard"
		}
		ref.File = filepath.Join(folder, "kek")
	}
	key, err := ref.read(c.dir, e.getenv)
	if errors.Is(err, os.ErrNotExist) {
		empty, eerr := authn.Empty(ctx, s)
		switch {
		case eerr != nil:
			return nil, eerr
		case !empty:
			return nil, fmt.Errorf("kek: %s is missing, and the keys in the database open with nothing else; put it back", ref.path(c.dir))
		}
		key = authn.NewKEK()
		if err = os.MkdirAll(filepath.Dir(ref.path(c.dir)), 0o700); err == nil {
			err = writePrivate(ref.path(c.dir), key, false)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	v, err := authn.NewVault(s, clock, key)
	if err != nil {
		return nil, fmt.Errorf("kek: %w", err)
	}
	return v, nil
}

// openPlane wires a plane, in the order in which its parts need each other. Nothing runs yet.
func openPlane(ctx context.Context, c *Config, e env, listeners []netip.AddrPort) (_ *plane, err error) {
	c.derive()
	log := newLog(c, e)
	steady := newSteady(log)
	p := &plane{cfg: c, log: log, clock: steady.now, listeners: reachedAt(listeners, machineAddresses()), group: func(f func() error) { go f() }} //nolint:errcheck // replaced by serve's
	var folder string
	if p.store, folder, err = openStore(ctx, c, e, p.log, p.clock); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.store.Close()
		}
	}()
	if err := steady.after(ctx, p.store); err != nil {
		return nil, fmt.Errorf("read the newest of the activity log: %w", err)
	}
	if p.vault, err = openVault(ctx, c, e, p.store, folder, p.clock); err != nil {
		return nil, err
	}
	if p.ca, err = p.vault.CA(ctx); err != nil {
		return nil, err
	}
	if p.tenant, err = p.openTenant(ctx); err != nil {
		return nil, err
	}
	logKey, err := p.vault.LogKey(ctx)
	if err != nil {
		return nil, err
	}
	p.store.SetSigner(signer(logKey))
	p.changes = &changes{Store: p.store}
	p.metrics = newMetrics()
	if err := p.wire(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// wire joins gate, loop and agents.
func (p *plane) wire(ctx context.Context) error {
	p.auth = authn.New(authn.Config{
		Store: p.changes, Clock: p.clock, TokenFor: p.cfg.TokenLifetime.Duration, Tokens: p.tokens(), Upstreams: p.cfg.bearers(),
		SecondFactor: p.cfg.SignIn.secondFactor(), Vault: p.vault, Shared: p.store.Shared(),
		Proxies: authn.Proxies{Trusted: p.cfg.TrustedProxies, Header: p.cfg.ClientAddressHeader},
	})
	p.hosts = newHosts(p)
	p.hub = p.hosts.hub()
	enforcers := map[string]ajar.Enforcer{agentProvider: p.hub}
	for kind, node := range p.cfg.Providers {
		var cfg provider.Config
		if err := decodeProvider(kind, node, &cfg); err != nil {
			return fmt.Errorf("providers.%s: %w", kind, err)
		}
		en, err := cfg.Open(ctx, p.log.With("provider", kind))
		if err != nil {
			return fmt.Errorf("providers.%s: %w", kind, err)
		}
		enforcers[kind] = en
	}
	p.loop = &enforce.Loop{
		Store: p.changes, Enforcers: enforcers, Clock: p.clock, Log: p.log, Owner: p.cfg.Replica, Hooks: p.metrics.hooks(),
	}
	p.broker = broker.New(broker.Config{
		Store: p.changes, Clock: p.clock, NewID: uuid.NewString, Bounds: p.cfg.bounds(), Log: p.log, Wake: p.loop.Wake, Take: p.loop.Take,
		GuardConfirm: p.cfg.GuardConfirm.Duration, PlaneListeners: p.listeners, Removed: p.hosts.removed, RemovePercent: p.cfg.Discovery.removePercent(),
		SubscriptionNames: p.cfg.subscriptions(), LongestToken: p.cfg.LongestToken.Duration, NoSecondFactor: p.cfg.SignIn.secondFactor() == authn.SecondOff,
		Preview: func(ctx context.Context, ep ajar.Endpoint, guard []ajar.Guard) (ajar.Impact, error) {
			if en, ok := enforcers[ep.Provider].(ajar.Previewer); ok {
				return en.Preview(ctx, ep, guard)
			}
			return ajar.Impact{}, ajar.Errorf(ajar.Unavailable, "provider %s cannot tell what a guard would cut", ep.Provider)
		},
	})
	p.discover = p.finders(enforcers)
	return nil
}

// agentProvider is the provider of endpoints that are hosts with an agent.
const agentProvider = "agent"
