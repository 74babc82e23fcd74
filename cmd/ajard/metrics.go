package main

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/enforce"
)

// metrics is what the plane tells Prometheus.
type metrics struct {
	registry *prometheus.Registry
	open     prometheus.Histogram
	close    prometheus.Histogram
	pass     *prometheus.HistogramVec
	drift    prometheus.Counter
	lifted   prometheus.Counter
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
}

func newMetrics() *metrics {
	fine := prometheus.ExponentialBuckets(0.0005, 2, 16) // 0.5 ms to 16 s
	m := &metrics{
		registry: prometheus.NewRegistry(),
		open:     prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ajar_open_latency_seconds", Help: "From a lease's decision until its rule was read back from the firewall.", Buckets: fine}),
		close:    prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ajar_close_lag_seconds", Help: "From a lease's deadline, or its early close, until its rule was seen to be gone.", Buckets: fine}),
		pass:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ajar_pass_seconds", Help: "One pass of the loop over one endpoint.", Buckets: fine}, []string{"result"}),
		drift:    prometheus.NewCounter(prometheus.CounterOpts{Name: "ajar_drift_repaired_total", Help: "Rules that were found different from what they should be, and repaired."}),
		lifted:   prometheus.NewCounter(prometheus.CounterOpts{Name: "ajar_guards_lifted_total", Help: "Guards that were lifted: ports open to everybody again."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ajar_http_requests_total", Help: "Answers of the REST surface."}, []string{"route", "code"}),
		took:     prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ajar_http_request_seconds", Help: "How long answers of the REST surface took.", Buckets: fine}, []string{"route"}),
	}
	m.registry.MustRegister(m.open, m.close, m.pass, m.drift, m.lifted, m.requests, m.took,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) hooks() enforce.Hooks {
	ok, failed := m.pass.WithLabelValues("ok"), m.pass.WithLabelValues("failed")
	return enforce.Hooks{
		Opened: func(d time.Duration) { m.open.Observe(d.Seconds()) },
		Closed: func(d time.Duration) { m.close.Observe(d.Seconds()) },
		Passed: func(d time.Duration, err error) {
			if err != nil {
				failed.Observe(d.Seconds())
				return
			}
			ok.Observe(d.Seconds())
		},
		Drift: func(n int) { m.drift.Add(float64(n)) },
	}
}

// liftedGuards counts by events, so that a guard that goes with its host is counted like one that a policy drops.
func (m *metrics) liftedGuards(n int) { m.lifted.Add(float64(n)) }

// observe is told of every answer. Routes are patterns, so there are few.
func (m *metrics) observe(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}

// gauges are read from the store when somebody asks.
type gauges struct {
	p    *plane
	desc map[string]*prometheus.Desc
}

func newGauges(p *plane) *gauges {
	d := func(name, help string) *prometheus.Desc { return prometheus.NewDesc(name, help, nil, nil) }
	return &gauges{p, map[string]*prometheus.Desc{
		"live":    d("ajar_live_leases", "Leases that are opening or open and not past their end."),
		"late":    d("ajar_leases_overdue", "Leases past their end whose rule was not yet seen to be gone."),
		"eps":     d("ajar_endpoints_overdue", "Endpoints that have such leases (counted up to 10,000 leases)."),
		"failing": d("ajar_endpoints_failing", "Endpoints whose last pass on this replica failed."),
		"ahead":   d("ajar_clock_ahead_seconds", "How far this plane's clock is ahead of the database server's."),
		"hosts":   d("ajar_hosts_connected", "Hosts whose agents are connected to this replica."),
	}}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range g.desc {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	set := func(name string, v float64) {
		ch <- prometheus.MustNewConstMetric(g.desc[name], prometheus.GaugeValue, v)
	}
	g.p.hosts.mu.Lock()
	set("hosts", float64(len(g.p.hosts.here)))
	g.p.hosts.mu.Unlock()
	if ahead, ok := g.p.store.ClockAhead(); ok {
		set("ahead", ahead.Seconds())
	}
	st, err := g.p.loop.Stats(ctx)
	if err != nil {
		g.p.log.Warn("metrics not read", "err", err)
		return
	}
	set("live", float64(st.Live))
	set("late", float64(st.Overdue))
	set("failing", float64(st.Failing))
	eps := map[ajar.EndpointID]bool{}
	if st.Overdue > 0 {
		states := []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}
		err = g.p.store.View(ctx, func(tx ajar.Tx) error {
			ls, _, err := ajar.List[ajar.Lease](tx, ajar.Filter{States: states, UntilBefore: g.p.clock(), Limit: 10_000})
			for _, l := range ls {
				eps[l.Endpoint] = true
			}
			return err
		})
		if err != nil {
			g.p.log.Warn("metrics not read", "err", err)
			return
		}
	}
	set("eps", float64(len(eps)))
}

// handler answers whoever has the token, or without one whoever is on this machine.
func (m *metrics) handler(p *plane, token []byte) http.Handler {
	inner := promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Timeout: 10 * time.Second})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(token) > 0 {
			given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if subtle.ConstantTimeCompare([]byte(given), token) != 1 {
				w.Header().Set("WWW-Authenticate", `Bearer realm="ajar metrics"`)
				http.Error(w, "the metrics token is wrong", http.StatusUnauthorized)
				return
			}
		} else if from := p.auth.Proxies.Client(r); !from.IsLoopback() || forwarded(r) {
			http.Error(w, "metrics are for this machine alone unless metrics.token is set", http.StatusForbidden)
			return
		}
		inner.ServeHTTP(w, r)
	})
}

// forwarded reports whether r came through a proxy, which may well stand on this machine without being in the
// configuration: what comes through it is not from here.
func forwarded(r *http.Request) bool {
	for _, h := range []string{"X-Forwarded-For", "Forwarded", "X-Real-Ip", "Via"} {
		if r.Header.Get(h) != "" {
			return true
		}
	}
	return false
}
