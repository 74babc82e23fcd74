package main

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/discover"
)

// Discovery says how providers that can list machines are asked to. What is zero or left out is the default.
type Discovery struct {
	Every         duration `yaml:"every"`         // between two listings of a provider's scope; default 5m
	Timeout       duration `yaml:"timeout"`       // of one listing; default 3m
	Most          int      `yaml:"most"`          // machines in one listing; default 200,000
	RemovePercent *int     `yaml:"removePercent"` // of what is known from a scope, how much one listing may remove; default 20
}

func (d *Discovery) check(fault func(string, ...any)) {
	if every := d.Every.or(5 * time.Minute); every < time.Second || every > 24*time.Hour {
		fault("discovery.every is %s; between 1s and 24h", every)
	}
	if limit := d.Timeout.or(3 * time.Minute); limit < time.Second || limit > time.Hour {
		fault("discovery.timeout is %s; between 1s and 1h", limit)
	}
	if d.Most < 0 {
		fault("discovery.most is %d; at least 1", d.Most)
	}
	if p := d.RemovePercent; p != nil && (*p < 0 || *p > 100) {
		fault("discovery.removePercent is %d; between 0, which removes nothing, and 100", *p)
	}
}

// removePercent is as the broker takes it, for which zero is the default.
func (d *Discovery) removePercent() int {
	switch {
	case d.RemovePercent == nil:
		return 0
	case *d.RemovePercent == 0:
		return -1
	}
	return *d.RemovePercent
}

// finders is the loop that lists, over those enforcers that can.
func (p *plane) finders(enforcers map[string]ajar.Enforcer) *discover.Loop {
	l := &discover.Loop{
		Gate: p.broker, Finders: map[string]ajar.Finder{}, Clock: p.clock, Log: p.log, Owner: p.cfg.Replica,
		Every: p.cfg.Discovery.Every.Duration, Timeout: p.cfg.Discovery.Timeout.Duration, Most: p.cfg.Discovery.Most,
		Listed: p.metrics.listings(),
	}
	for kind, en := range enforcers {
		if f, ok := en.(ajar.Finder); ok {
			l.Finders[kind] = f
		}
	}
	return l
}

// listings counts what became of listings. Scopes are few, but a provider's own; they are no labels.
func (m *metrics) listings() func(ajar.Origin, ajar.Ended, time.Duration, error) {
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ajar_listings_total", Help: "Listings of providers: ok, failed, or refused because too many machines were missing."}, []string{"provider", "result"})
	gone := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ajar_listing_removed_total", Help: "Machines that were removed because listings lacked them."}, []string{"provider"})
	took := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ajar_listing_seconds", Help: "How long listings took.", Buckets: prometheus.ExponentialBuckets(0.01, 4, 10)}, []string{"provider"})
	m.registry.MustRegister(total, gone, took)
	return func(o ajar.Origin, end ajar.Ended, d time.Duration, err error) {
		result := "ok"
		switch {
		case err != nil:
			result = "failed"
		case end.Refused:
			result = "refused"
		}
		total.WithLabelValues(o.Provider, result).Inc()
		gone.WithLabelValues(o.Provider).Add(float64(end.Gone))
		took.WithLabelValues(o.Provider).Observe(d.Seconds())
	}
}
