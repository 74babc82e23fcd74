package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider"
)

// Config is the one YAML file. Every key can be left out; unknown keys are errors. Secrets stand in files or
// environment variables that the file names, never in it.
type Config struct {
	Listen      string   `yaml:"listen"`      // for people and programs; default 127.0.0.1:8443
	AgentListen string   `yaml:"agentListen"` // for hosts' agents; default 127.0.0.1:8444; "off" = none
	PublicURL   string   `yaml:"publicURL"`   // what people reach the plane by; default from listen
	AgentURL    string   `yaml:"agentURL"`    // host:port that agents reach it by; default from publicURL and agentListen
	Names       []string `yaml:"names"`       // more names and addresses for the certificate
	Replica     string   `yaml:"replica"`     // this process among its replicas; default host name and listen

	Database reference `yaml:"database"` // sqlite:/path or postgres://…; default sqlite:/var/lib/ajard/ajar.db
	KEK      reference `yaml:"kek"`      // key-encryption key; default the file kek beside the database, made at first start

	Tenant        Tenant         `yaml:"tenant"`
	Subscriptions []Subscription `yaml:"subscriptions"` // beyond those that machines, policies and assignments name

	Admin               Admin                `yaml:"admin"`
	Bounds              Bounds               `yaml:"bounds"`
	Compat              string               `yaml:"compat"`       // azure = as strict with names as Azure is
	GuardConfirm        duration             `yaml:"guardConfirm"` // new guards are rolled back unless confirmed in time; 0 = at once
	TokenLifetime       duration             `yaml:"tokenLifetime"`
	LongestToken        duration             `yaml:"longestToken"` // that people and programs make for themselves; default 2160h
	Issuer              Issuer               `yaml:"issuer"`
	SignIn              Browsers             `yaml:"signIn"`
	Upstreams           []Upstream           `yaml:"upstreams"` // providers that people can sign in with, too
	TrustedProxies      prefixes             `yaml:"trustedProxies"`
	ClientAddressHeader string               `yaml:"clientAddressHeader"`
	Metrics             Metrics              `yaml:"metrics"`
	LogLevel            level                `yaml:"logLevel"`
	LogFormat           string               `yaml:"logFormat"`  // json (default) or text
	BreakGlass          string               `yaml:"breakGlass"` // on (default) or off: whether hosts may open by themselves
	Providers           map[string]yaml.Node `yaml:"providers"`
	Discovery           Discovery            `yaml:"discovery"` // of the providers that list machines

	dir  string         // of the file, which relative paths are taken from
	loud *slog.LevelVar // LogLevel, as it is now
}

// Admin is the first administrator.
type Admin struct {
	Name   string   `yaml:"name"`   // default admin
	File   string   `yaml:"file"`   // where the one-time credential is written, 0600; "" = it is printed once
	Within duration `yaml:"within"` // how long it is good; default 1h
}

// Bounds are plane-wide limits on policies.
type Bounds struct {
	Min     duration `yaml:"min"` // of a port's longest duration
	Max     duration `yaml:"max"`
	Drain   duration `yaml:"drain"`
	MaxWarn duration `yaml:"maxWarn"`
	Lapse   duration `yaml:"lapse"`
}

// Metrics says who may read /metrics: on the main listener whoever has the token, or without one the plane's own
// machine; on a listener of its own, in clear text, whoever reaches it.
type Metrics struct {
	Listen string    `yaml:"listen"`
	Token  reference `yaml:"token"`
}

// duration is 90s, 1h30m or PT1H30M.
type duration struct {
	time.Duration
	set bool
}

// UnmarshalYAML reads it.
func (d *duration) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err != nil {
		v, err = ajar.ParseDuration(n.Value)
	}
	if err != nil || v < 0 || n.Kind != yaml.ScalarNode {
		return misread(n, "%.40q is not a duration such as 90s, 1h30m or PT1H30M", n.Value)
	}
	d.Duration, d.set = v, true
	return nil
}

// prefixes are address ranges.
type prefixes []netip.Prefix

// UnmarshalYAML reads them; one address is a range, too.
func (ps *prefixes) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode {
		return misread(n, "a list of addresses and prefixes is expected")
	}
	var faults []string
	for _, v := range n.Content {
		p, err := netip.ParsePrefix(v.Value)
		if a, bad := netip.ParseAddr(v.Value); bad == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			faults = append(faults, fmt.Sprintf("line %d: %.40q is neither an address nor a prefix such as 192.0.2.0/24", v.Line, v.Value))
			continue
		}
		*ps = append(*ps, p)
	}
	if len(faults) > 0 {
		return &yaml.TypeError{Errors: faults}
	}
	return nil
}

// level is how much is logged.
type level struct{ at slog.Level }

// Level implements slog.Leveler.
func (l level) Level() slog.Level { return l.at }

// UnmarshalYAML reads it.
func (l *level) UnmarshalYAML(n *yaml.Node) error {
	if l.at.UnmarshalText([]byte(n.Value)) != nil {
		return misread(n, "%.40q is not a level; debug, info, warn or error", n.Value)
	}
	return nil
}

func (d duration) or(def time.Duration) time.Duration {
	if d.set {
		return d.Duration
	}
	return def
}

// loadConfig reads and checks the file at path. A missing file is an error unless path is the default.
func loadConfig(path string, getenv func(string) string) (*Config, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && path == defaultConfig {
		b, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	c, misread := parseConfig(b)
	if c == nil {
		return nil, fmt.Errorf("%s: %w", path, misread)
	}
	if c.dir, err = filepath.Abs(filepath.Dir(path)); err != nil {
		return nil, err
	}
	c.defaults()
	if err := errors.Join(misread, c.Validate(getenv)); err != nil {
		return nil, fmt.Errorf("%s:\n%w", path, err)
	}
	return c, nil
}

// parseConfig reads what can be read and says all that cannot. What is not YAML at all gives no Config.
func parseConfig(b []byte) (*Config, error) {
	c := &Config{loud: new(slog.LevelVar)}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	err := dec.Decode(c)
	var misread *yaml.TypeError
	if err != nil && !errors.Is(err, io.EOF) && !errors.As(err, &misread) {
		return nil, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one YAML document")
	}
	if misread == nil {
		return c, nil
	}
	var faults []error
	for _, text := range misread.Errors {
		faults = append(faults, errors.New("  "+unknownKey.ReplaceAllString(text, "there is no key $1")))
	}
	return c, errors.Join(faults...)
}

// unknownKey is how the decoder says it.
var unknownKey = regexp.MustCompile(`field (\S+) not found in type \S+`)

// misread is an error of one value that does not keep the decoder from reading the others.
func misread(n *yaml.Node, format string, a ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", n.Line) + fmt.Sprintf(format, a...)}}
}

func (c *Config) defaults() {
	def(&c.Listen, "127.0.0.1:8443")
	def(&c.AgentListen, "127.0.0.1:8444")
	def(&c.Admin.Name, "admin")
	def(&c.LogFormat, "json")
	def(&c.BreakGlass, "on")
	if c.Database == (reference{}) {
		c.Database.value = "sqlite:/var/lib/ajard/ajar.db"
	}
	if c.ClientAddressHeader == "" && len(c.TrustedProxies) > 0 {
		c.ClientAddressHeader = "X-Forwarded-For"
	}
}

// derive fills in what follows from the addresses that are really listened on.
func (c *Config) derive() {
	def(&c.PublicURL, "https://"+reachable(c.Listen))
	c.PublicURL = strings.TrimSuffix(c.PublicURL, "/")
	if u, err := url.Parse(c.PublicURL); err == nil && c.AgentURL == "" && c.AgentListen != "off" {
		_, port, _ := net.SplitHostPort(c.AgentListen)
		c.AgentURL = net.JoinHostPort(u.Hostname(), port)
	}
	if c.Replica == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "ajard"
		}
		c.Replica = host + "/" + c.Listen
	}
}

func def(s *string, to string) {
	if *s == "" {
		*s = to
	}
}

// reachable is listen as others may say it: without a host it is this machine's name.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if a, err := netip.ParseAddr(host); host == "" || (err == nil && a.IsUnspecified()) {
		if host, err = os.Hostname(); err != nil {
			host = "localhost"
		}
	}
	return net.JoinHostPort(host, port)
}

// Validate lists every fault there is.
func (c *Config) Validate(getenv func(string) string) error {
	var faults []error
	fault := func(format string, a ...any) { faults = append(faults, fmt.Errorf("  "+format, a...)) }
	checkListen(c.Listen, "listen", fault)
	if c.AgentListen != "off" {
		checkListen(c.AgentListen, "agentListen", fault)
		if c.AgentListen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
			fault("agentListen is the same as listen; agents have a listener of their own")
		}
	}
	if u, err := url.Parse(c.PublicURL); c.PublicURL != "" && (err != nil || u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.User != nil) {
		fault("publicURL %q is not of the form https://host:port", c.PublicURL)
	}
	for _, n := range c.Names {
		if _, err := netip.ParseAddr(n); err != nil && !hostName(n) {
			fault("names: %q is neither a host name nor an address", n)
		}
	}
	for _, r := range []struct {
		key string
		reference
	}{{"database", c.Database}, {"kek", c.KEK}, {"metrics.token", c.Metrics.Token}} {
		if err := r.check(c.dir, getenv); err != nil {
			fault("%s: %w", r.key, err)
		}
	}
	if c.KEK.value != "" {
		fault("kek: the key itself does not belong in this file; name a file or an environment variable (kek: {file: …})")
	}
	if dsn, _, err := c.database(getenv); err == nil && !knownDatabase(dsn) {
		fault("database is neither sqlite:/path nor postgres://…")
	}
	c.checkValues(fault)
	c.checkTenant(fault)
	c.checkIssuer(fault)
	c.SignIn.check(fault)
	c.checkUpstreams(getenv, fault)
	for kind, node := range c.Providers {
		if err := decodeProvider(kind, node, new(provider.Config)); err != nil {
			fault("providers.%s: %w", kind, err)
		}
	}
	return errors.Join(faults...)
}

func (c *Config) checkValues(fault func(string, ...any)) {
	b := c.bounds()
	if b.Shortest < time.Second {
		fault("bounds.min is %s; at least 1s", b.Shortest)
	}
	if b.Longest < b.Shortest {
		fault("bounds.max is %s, which is shorter than bounds.min, %s", b.Longest, b.Shortest)
	}
	if b.Longest > 366*24*time.Hour {
		fault("bounds.max is %s; at most 8784h", b.Longest)
	}
	if b.Lapse < time.Second {
		fault("bounds.lapse is %s; at least 1s", b.Lapse)
	}
	if c.GuardConfirm.Duration > 24*time.Hour {
		fault("guardConfirm is %s; at most 24h", c.GuardConfirm.Duration)
	}
	if within := c.Admin.Within.or(time.Hour); within < time.Minute || within > 7*24*time.Hour {
		fault("admin.within is %s; between 1m and 168h", within)
	}
	if life := c.TokenLifetime.or(time.Hour); life < time.Minute || life > 366*24*time.Hour {
		fault("tokenLifetime is %s; between 1m and 8784h", life)
	}
	if life := c.LongestToken.or(time.Hour); life < time.Minute || life > 366*24*time.Hour {
		fault("longestToken is %s; between 1m and 8784h", life)
	}
	if c.ClientAddressHeader != "" && len(c.TrustedProxies) == 0 {
		fault("clientAddressHeader is set, but no trustedProxies whose word would be taken")
	}
	if strings.Trim(c.ClientAddressHeader, "-ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		fault("clientAddressHeader %q is not the name of a header", c.ClientAddressHeader)
	}
	for _, p := range c.TrustedProxies {
		if p.Bits() == 0 {
			fault("trustedProxies: %s would take anybody's word", p)
		}
	}
	if !slices.Contains([]string{"json", "text"}, c.LogFormat) {
		fault("logFormat is %q; json or text", c.LogFormat)
	}
	if !slices.Contains([]string{"", "azure"}, c.Compat) {
		fault("compat is %q; it can be azure, or left out", c.Compat)
	}
	if !slices.Contains([]string{"on", "off"}, c.BreakGlass) {
		fault("breakGlass is %q; on or off", c.BreakGlass)
	}
	c.Discovery.check(fault)
	if c.Metrics.Listen != "" {
		checkListen(c.Metrics.Listen, "metrics.listen", fault)
	}
}

func checkListen(s, key string, fault func(string, ...any)) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		fault("%s %q is not of the form address:port", key, s)
		return
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !hostName(host) {
		fault("%s %q: %q is neither an address nor a host name", key, s, host)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		fault("%s %q: %q is not a port", key, s, port)
	}
}

func hostName(s string) bool {
	return s != "" && len(s) <= 253 && strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789.-*") == ""
}

// bounds are the configured limits, Azure's where nothing is said.
func (c *Config) bounds() ajar.Bounds {
	d := ajar.DefaultBounds
	if c.Compat == "azure" {
		d.Names = ajar.AzureNames
	}
	return ajar.Bounds{
		Shortest: c.Bounds.Min.or(d.Shortest), Longest: c.Bounds.Max.or(d.Longest), Drain: c.Bounds.Drain.or(d.Drain),
		MaxWarn: c.Bounds.MaxWarn.or(d.MaxWarn), Lapse: c.Bounds.Lapse.or(d.Lapse), Names: d.Names,
	}
}

// decodeProvider reads a provider's section into its own Config; unknown keys are errors there, too.
func decodeProvider(kind string, node yaml.Node, into *provider.Config) error {
	make, ok := provider.Kinds[kind]
	if !ok {
		return fmt.Errorf("there is no such provider")
	}
	*into = make()
	b, err := yaml.Marshal(&node)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(*into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
