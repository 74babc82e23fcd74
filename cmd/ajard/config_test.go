package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar/authn"
)

func noEnv(string) string { return "" }

// write makes a configuration file and gives its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ajard.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAnEmptyConfigurationIsGood(t *testing.T) {
	c, err := loadConfig(write(t, ""), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	c.derive()
	if c.Listen != "127.0.0.1:8443" || c.AgentListen != "127.0.0.1:8444" || c.PublicURL != "https://127.0.0.1:8443" || c.AgentURL != "127.0.0.1:8444" || c.Database.value != "sqlite:/var/lib/ajard/ajar.db" {
		t.Errorf("defaults: %+v", c)
	}
	if !slices.Contains(c.serverNames(), "127.0.0.1") || !slices.Contains(c.serverNames(), "localhost") {
		t.Errorf("the certificate is for %v", c.serverNames())
	}
	if b := c.bounds(); b.Shortest != 5*time.Minute || b.Longest != 24*time.Hour {
		t.Errorf("bounds: %+v", b)
	}
}

func TestTheWholeConfiguration(t *testing.T) {
	t.Setenv("X", "")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kek"), []byte(strings.Repeat("6b", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ajard.yaml")
	err := os.WriteFile(path, []byte(`
listen: 0.0.0.0:443
agentListen: "[::]:8444"
publicURL: https://ajar.example.com/
agentURL: agents.example.com:8444
names: [ajar, 203.0.113.9]
replica: one
database: {env: DB}
kek: {file: kek}
tenant: {id: 3B7E0E9E-41C9-4B51-8D0F-0D6B5F1D2A10, name: Example, domain: Example.org}
subscriptions:
  - {id: 5D0A9D56-0B1C-4F60-9A8E-0C6F4E1F7A01, name: Production}
  - id: 5d0a9d56-0b1c-4f60-9a8e-0c6f4e1f7a02
admin: {name: root, file: once, within: 30m}
bounds: {min: 1s, max: PT48H, drain: 1m, maxWarn: 2h, lapse: 12h}
guardConfirm: 5m
tokenLifetime: PT8H
longestToken: 720h
issuer:
  keyLifetime: 240h
  accessTokenLifetime: 30m
  refreshLifetime: P1D
  password: on
  clients:
    - {id: 5d0a9d56-0b1c-4f60-9a8e-0c6f4e1f7a09, name: Grafana, redirectURIs: [https://grafana.example.com/cb]}
    - {id: cli, public: true, redirectURIs: ["http://127.0.0.1"]}
  audiences: [https://management.example.com/]
signIn: {secondFactor: required, idle: 30m, lifetime: 8h}
trustedProxies: [10.0.0.0/8, "2001:db8::/32"]
metrics: {listen: 127.0.0.1:9464, token: {env: MT}}
logLevel: debug
logFormat: text
breakGlass: off
providers:
  fake:
`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"DB": "postgres://ajar:hunter2@db/ajar", "MT": "secret"}
	c, err := loadConfig(path, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	c.derive()
	if c.PublicURL != "https://ajar.example.com" || c.Bounds.Max.Duration != 48*time.Hour || len(c.TrustedProxies) != 2 || c.ClientAddressHeader != "X-Forwarded-For" || c.BreakGlass != "off" || c.Replica != "one" ||
		c.Tenant.Domain != "Example.org" || c.subscriptions()["5d0a9d56-0b1c-4f60-9a8e-0c6f4e1f7a01"] != "Production" || len(c.Subscriptions) != 2 ||
		c.SignIn.secondFactor() != authn.SecondRequired || c.SignIn.idle() != 30*time.Minute ||
		c.Issuer.Password != "on" || c.Issuer.refreshLifetime() != 24*time.Hour || len(c.Issuer.clients()) != 2 || c.Issuer.clients()[1].Name != "cli" {
		t.Errorf("read: %+v", c)
	}
	for _, n := range []string{"ajar.example.com", "agents.example.com", "ajar", "203.0.113.9"} {
		if !slices.Contains(c.serverNames(), n) {
			t.Errorf("the certificate is not for %s", n)
		}
	}
	if dsn, _, err := c.database(func(k string) string { return env[k] }); err != nil || dsn != env["DB"] {
		t.Errorf("database %q: %v", dsn, err)
	}
}

// TestEveryFaultAtOnce: whoever writes a configuration learns everything in one go.
func TestEveryFaultAtOnce(t *testing.T) {
	_, err := loadConfig(write(t, `
listen: everywhere
agentListen: 1.2.3.4:99999
publicURL: http://ajar.example.com
names: ["a b"]
database: {env: NOT_SET}
tenant: {id: mine, domain: "*.example"}
subscriptions: [{id: x}, {id: 5d0a9d56-0b1c-4f60-9a8e-0c6f4e1f7a01}, {id: 5D0A9D56-0b1c-4f60-9a8e-0c6f4e1f7a01}]
kek: c2VjcmV0LXNlY3JldC1zZWNyZXQ=
admin: {within: 1s}
bounds: {min: 10ms, max: 10000h}
guardConfirm: 48h
signIn: {secondFactor: maybe, idle: 1s, lifetime: 1000h}
issuer: {keyLifetime: 1h, accessTokenLifetime: 25h, refreshLifetime: 1s, password: perhaps, clients: [{id: "a b"}, {id: c, redirectURIs: ["http://example.com/cb"]}], audiences: [x]}
clientAddressHeader: "X Y"
metrics: {listen: here}
logFormat: xml
breakGlass: maybe
providers: {cisco: {}, fake: {colour: red}}
`), noEnv)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{"listen", "agentListen", "publicURL", "names", "NOT_SET", "kek", "tenant.id", "tenant.domain", "subscriptions[0].id", "there twice", "admin.within", "issuer.keyLifetime", "issuer.accessTokenLifetime", "issuer.refreshLifetime", "issuer.password", "issuer.clients[0]", "issuer.clients[1]", "issuer.audiences", "signIn.secondFactor", "signIn.idle", "signIn.lifetime", "bounds.min", "bounds.max", "guardConfirm", "clientAddressHeader", "trustedProxies", "metrics.listen", "logFormat", "breakGlass", "providers.cisco", "providers.fake", "colour"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "c2VjcmV0") {
		t.Error("the key is shown")
	}
}

// TestWhatCannotBeReadHidesNoOtherFault: a value of the wrong form and an unknown key are told beside the rest.
func TestWhatCannotBeReadHidesNoOtherFault(t *testing.T) {
	_, err := loadConfig(write(t, `
listen: everywhere
listne: x
kek: {file: a, env: B}
database: {path: x}
bounds: {min: soon, minimum: 1s}
guardConfirm: banana
trustedProxies: [here, 192.0.2.1, there]
logLevel: loud
names: {a: b}
logFormat: xml
`), noEnv)
	if err == nil {
		t.Fatal("it was taken")
	}
	for _, want := range []string{"everywhere", "line 3: there is no key listne", "line 4: exactly one", "line 5: \"path\"", "line 6: \"soon\"", "no key minimum", "line 7: \"banana\"", "line 8: \"here\"", "\"there\"", "line 9: \"loud\"", "line 10", "xml"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("nothing is said of %s in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "main.") {
		t.Errorf("it tells of our types:\n%v", err)
	}
}

func TestDatabasesThatAreNotKnown(t *testing.T) {
	for _, text := range []string{"database: mysql://user:hidden@host/db", "database: /var/lib/hidden.db", "database: postgres:hidden"} {
		_, err := loadConfig(write(t, text), noEnv)
		if err == nil || !strings.Contains(err.Error(), "neither sqlite") || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestUnknownKeysAreErrors(t *testing.T) {
	for _, text := range []string{"listne: x", "bounds: {minimum: 1s}", "admin: {password: x}", "kek: {path: x}", "kek: {file: x, env: y}", "metrics: {user: x}", "guardConfirm: soon", "guardConfirm: -5m", "trustedProxies: [here]", "logLevel: loud", "a: 1\n---\nb: 2", "listen: [1]"} {
		if _, err := loadConfig(write(t, text), noEnv); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestTrustingEverybodyIsAFault(t *testing.T) {
	if _, err := loadConfig(write(t, "trustedProxies: [0.0.0.0/0]"), noEnv); err == nil || !strings.Contains(err.Error(), "anybody") {
		t.Errorf("%v", err)
	}
}

func TestAKeyThatEverybodyCanReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kek"), []byte(strings.Repeat("6b", 32)), 0o644); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ajard.yaml")
	if err := os.WriteFile(path, []byte("kek: {file: kek}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadConfig(path, noEnv); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("%v", err)
	}
}

// FuzzConfig: no text makes the reader panic.
func FuzzConfig(f *testing.F) {
	f.Add("listen: 127.0.0.1:0\nkek: {file: x}\nproviders: {fake: {}}")
	f.Add("bounds: {min: &a 1s, max: *a}\ntrustedProxies: [10.0.0.0/8]")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseConfig([]byte(text))
		if err != nil {
			return
		}
		c.defaults()
		_ = c.Validate(noEnv)
		c.derive()
	})
}
