package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar/arm"
	"github.com/ajar-access/ajar/issuer"
)

// serve runs the plane until ctx ends: open the store, then the keys, bring the gate up to date, make what is overdue
// durably closing, and only then let anybody in.
func serve(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "serve", "")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	c, err := loadConfig(*path, e.getenv)
	if err != nil {
		return err
	}
	api, agents, err := listen(c)
	if err != nil {
		return err
	}
	defer closeAll(api, agents)
	p, err := openPlane(ctx, c, e, addresses(api, agents))
	if err != nil {
		return err
	}
	defer p.store.Close()
	if err := p.start(ctx, e); err != nil {
		return err
	}
	p.again = func() (*Config, error) { return loadConfig(*path, e.getenv) }
	return p.run(ctx, e, api, agents)
}

// listen takes the addresses first, so that a second plane by mistake touches nothing. A port of zero in the
// configuration becomes the one that was got.
func listen(c *Config) (api, agents net.Listener, err error) {
	if api, err = net.Listen("tcp", c.Listen); err != nil {
		return nil, nil, fmt.Errorf("listen: %w", err)
	}
	c.Listen = gotPort(c.Listen, api)
	if c.AgentListen != "off" {
		if agents, err = net.Listen("tcp", c.AgentListen); err != nil {
			api.Close()
			return nil, nil, fmt.Errorf("agentListen: %w", err)
		}
		c.AgentListen = gotPort(c.AgentListen, agents)
	}
	c.derive()
	return api, agents, nil
}

func gotPort(listen string, l net.Listener) string {
	host, _, err := net.SplitHostPort(listen)
	a, ok := l.Addr().(*net.TCPAddr)
	if err != nil || !ok {
		return listen
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port))
}

func closeAll(all ...net.Listener) {
	for _, l := range all {
		if l != nil {
			l.Close()
		}
	}
}

// start brings the store up to date before anything is served.
func (p *plane) start(ctx context.Context, e env) error {
	boot, err := p.broker.Bootstrap(ctx)
	if err != nil {
		return fmt.Errorf("bootstrap: %w", err)
	}
	if boot.OwnerMissing {
		if err := p.firstAdmin(ctx, e); err != nil {
			return err
		}
	}
	if err := p.loop.Recover(ctx); err != nil {
		return fmt.Errorf("close what is overdue: %w", err)
	}
	return nil
}

// run serves until ctx ends or a part fails. The parts stop in the order: nobody new comes in, what is under way is
// answered, then loop and agents.
func (p *plane) run(ctx context.Context, e env, api, agents net.Listener) error {
	key, err := p.vault.LogKey(ctx)
	if err != nil {
		return err
	}
	surface := arm.New(arm.Config{
		Broker: p.broker, Auth: p.auth, Clock: p.clock, Log: p.log, PublicURL: p.cfg.PublicURL, CA: p.ca.PEM(), Tenant: p.tenant,
		JoinCommand: p.joinCommand(), LogKey: key.Public().(ed25519.PublicKey), Observe: p.metrics.observe,
		Export: func(ctx context.Context, from int64, w io.Writer) error { return exportLog(ctx, p.store, from, w) },
	})
	news := listener{surface.Changed, surface.Logged, p.metrics.liftedGuards}
	p.changes.listen(news)
	others := &heard{p: p, waiting: surface.Waited, listener: news, more: make(chan struct{}, 1)}
	p.metrics.registry.MustRegister(newGauges(p))
	token, err := p.cfg.Metrics.Token.read(p.cfg.dir, e.getenv)
	if err != nil {
		return fmt.Errorf("metrics.token: %w", err)
	}
	var stopping atomic.Bool
	upstreams, err := p.cfg.upstreams(e.getenv)
	if err != nil {
		return err
	}
	web := p.httpServer(p.routes(surface, p.issuer(upstreams), bytes.TrimSpace(token), &stopping))

	inner, stopInner := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopInner(errStopped)
	g, gctx := errgroup.WithContext(inner)
	p.group = g.Go
	g.Go(func() error { return stopped(p.loop.Run(gctx)) })
	g.Go(func() error { return p.hosts.run(gctx) })
	g.Go(func() error { return stopped(p.discover.Run(gctx)) })
	g.Go(func() error { return p.tidy(gctx) })
	g.Go(func() error { return p.heed(gctx) })
	g.Go(func() error { return others.run(gctx) })
	g.Go(func() error { return stopped(p.store.Hear(gctx, others.told)) })
	if agents != nil {
		g.Go(func() error { return p.hub.Serve(gctx, agents) })
	}
	if p.cfg.Metrics.Listen != "" {
		g.Go(func() error { return p.serveMetrics(gctx) })
	}
	g.Go(func() error {
		if err := web.ServeTLS(api, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			p.log.Info("stopping", "why", fmt.Sprint(context.Cause(ctx)))
		case <-gctx.Done():
		}
		stopping.Store(true)
		surface.Stop()
		last, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := web.Shutdown(last)
		stopInner(errStopped)
		return err
	})
	p.log.Info("serving", "listen", p.cfg.Listen, "agentListen", p.cfg.AgentListen, "url", p.cfg.PublicURL, "ca", p.ca.Hash(), "replica", p.cfg.Replica, "version", versionText())
	return stopped(g.Wait())
}

// errStopped is the cause of an orderly end.
var errStopped = errors.New("stopped")

func stopped(err error) error {
	if errors.Is(err, errStopped) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// httpServer bounds what a client can take of the plane's time and memory.
func (p *plane) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: ciphers, GetCertificate: p.hosts.server.Certificate},
		ReadHeaderTimeout: 10 * time.Second,
		// Longer than the longest wait for news, which the first would cut off as well: it goes on while we answer.
		ReadTimeout:    90 * time.Second,
		WriteTimeout:   90 * time.Second,
		IdleTimeout:    2 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       log.New(quiet{p.log}, "", 0),
	}
}

// ciphers are those of TLS 1.2 that keep what was said secret for good and cannot be changed unseen. Our keys are ECDSA's.
var ciphers = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
}

// quiet takes what net/http has to say of broken handshakes, which strangers cause at will.
type quiet struct{ log *slog.Logger }

// Write implements io.Writer.
func (q quiet) Write(b []byte) (int, error) {
	q.log.Debug("http", "err", strings.TrimSpace(string(b)))
	return len(b), nil
}

// routes is what stands on the main listener.
func (p *plane) routes(surface, signIn http.Handler, token []byte, stopping *atomic.Bool) http.Handler {
	probes := http.NewServeMux()
	probes.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	probes.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() {
			http.Error(w, "stopping", http.StatusServiceUnavailable)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if err := p.store.Ready(ctx); err != nil {
			p.log.Warn("not ready", "err", err)
			http.Error(w, "the database does not answer, or takes no writes", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	probes.Handle("GET /metrics", p.metrics.handler(p, token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			probes.ServeHTTP(w, r)
			return
		}
		if issuer.Owns(r.URL.Path) {
			signIn.ServeHTTP(w, r)
			return
		}
		surface.ServeHTTP(w, r)
	})
}

// serveMetrics answers on a listener of its own, without TLS and token: the operator chose who reaches it.
func (p *plane) serveMetrics(ctx context.Context) error {
	ln, err := net.Listen("tcp", p.cfg.Metrics.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	s := &http.Server{Handler: promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(quiet{p.log}, "", 0)}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tidy does the small things that nobody waits for.
func (p *plane) tidy(ctx context.Context) error {
	minute, hour := time.NewTicker(time.Minute), time.NewTicker(time.Hour)
	defer minute.Stop()
	defer hour.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-minute.C:
			_, err = p.broker.Lapse(ctx)
			err = errors.Join(err, p.auth.SweepTallies(ctx))
		case <-hour.C:
			err = p.auth.Sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			p.log.Warn("tidying failed", "err", err)
		}
	}
}

// signer signs heads of the activity log.
func signer(key ed25519.PrivateKey) func([]byte) []byte {
	return func(head []byte) []byte { return ed25519.Sign(key, head) }
}

// addresses are what is listened on.
func addresses(all ...net.Listener) (list []netip.AddrPort) {
	for _, l := range all {
		if l == nil {
			continue
		}
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			list = append(list, netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port()))
		}
	}
	return list
}
