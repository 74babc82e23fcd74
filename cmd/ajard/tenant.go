package main

import (
	"context"
	"strings"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
)

// Tenant is whom the plane belongs to, as Azure's clients know it.
type Tenant struct {
	ID     string `yaml:"id"`     // a GUID; default one that is made at the first start and kept
	Name   string `yaml:"name"`   // shown; default Ajar
	Domain string `yaml:"domain"` // such as example.org; may stand where the id does
}

// Subscription is one that is known even where nothing lies in it, or that has a name.
type Subscription struct {
	ID   string `yaml:"id"`
	Name string `yaml:"name"`
}

func (c *Config) checkTenant(fault func(string, ...any)) {
	if c.Tenant.ID != "" && uuid.Validate(c.Tenant.ID) != nil {
		fault("tenant.id %q is not a GUID", c.Tenant.ID)
	}
	if c.Tenant.Domain != "" && (!hostName(c.Tenant.Domain) || strings.Contains(c.Tenant.Domain, "*") || !strings.Contains(c.Tenant.Domain, ".")) {
		fault("tenant.domain %q is not a domain such as example.org", c.Tenant.Domain)
	}
	seen := map[string]bool{}
	for i, s := range c.Subscriptions {
		id := strings.ToLower(s.ID)
		switch {
		case uuid.Validate(id) != nil || len(id) != 36:
			fault("subscriptions[%d].id %q is not a GUID", i, s.ID)
		case seen[id]:
			fault("subscriptions[%d].id %s is there twice", i, s.ID)
		case len(s.Name) > 128:
			fault("subscriptions[%d].name is longer than 128 bytes", i)
		}
		seen[id] = true
	}
}

// openTenant finds out whom this plane belongs to. All its replicas come to the same.
func (p *plane) openTenant(ctx context.Context) (ajar.Tenant, error) {
	t := ajar.Tenant{ID: strings.ToLower(p.cfg.Tenant.ID), Name: p.cfg.Tenant.Name, Domain: strings.ToLower(p.cfg.Tenant.Domain)}
	def(&t.Name, "Ajar")
	if t.ID != "" {
		return t, nil
	}
	var err error
	t.ID, err = p.vault.TenantID(ctx, uuid.NewString)
	return t, err
}

// subscriptions are the configured ones, as the broker takes them.
func (c *Config) subscriptions() map[string]string {
	all := make(map[string]string, len(c.Subscriptions))
	for _, s := range c.Subscriptions {
		all[strings.ToLower(s.ID)] = s.Name
	}
	return all
}
