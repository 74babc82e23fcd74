package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestUpstreams(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ajard.yaml")
	if err := os.WriteFile(path, []byte(`
upstreams:
  - name: corp
    title: Example Corp
    issuer: https://login.example.com/tenant/v2.0
    clientID: plane
    clientSecret: {file: secret}
    scopes: [profile]
    nameClaim: upn
    groupsClaim: groups
    groups: {9f0c: Operators}
    create: on
    secondFactor: ours
  - {name: other, issuer: "http://localhost:5556/dex", clientID: plane, clientSecret: {env: OTHER}, audiences: ["api://ajar"]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"OTHER": "else"}
	get := func(name string) string { return env[name] }
	c, err := loadConfig(path, get)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.upstreams(get)
	if err != nil {
		t.Fatal(err)
	}
	one, two := all[0], all[1]
	if one.ClientSecret != "s3cret" || !one.Create || !one.Ours || one.NameClaim != "upn" || !maps.Equal(one.Groups, map[string]string{"9f0c": "Operators"}) || len(one.Scopes) != 1 {
		t.Errorf("%+v", one)
	}
	if two.ClientSecret != "else" || two.Create || two.Ours || two.Scopes != nil {
		t.Errorf("%+v", two)
	}
	if b := c.bearers(); len(b) != 1 || b[0].Issuer != two.Issuer || !slices.Equal(b[0].Audiences, []string{"api://ajar"}) {
		t.Errorf("%d providers' access tokens are taken", len(b))
	}
}

func TestBadUpstreams(t *testing.T) {
	for text, want := range map[string]string{
		`[{name: A b, issuer: "https://x.example", clientID: c}]`:                                                    "small letters",
		`[{name: a, issuer: "http://x.example", clientID: c}]`:                                                       "https://",
		`[{name: a, issuer: "https://x.example"}]`:                                                                   "clientID",
		`[{name: a, issuer: "https://x.example", clientID: c, clientSecret: text}]`:                                  "does not belong",
		`[{name: a, issuer: "https://x.example", clientID: c, clientSecret: {env: NONE}}]`:                           "NONE is empty",
		`[{name: a, issuer: "https://x.example", clientID: c, clientSecret: {file: none}}]`:                          "none",
		`[{name: a, issuer: "https://x.example", clientID: c, groups: {a: b}}]`:                                      "groupsClaim",
		`[{name: a, issuer: "https://x.example", clientID: c, scopes: [a b]}]`:                                       "scopes",
		`[{name: a, issuer: "https://x.example", clientID: c, create: maybe}]`:                                       "create",
		`[{name: a, issuer: "https://x.example", clientID: c, secondFactor: theirs}]`:                                "secondFactor",
		`[{name: a, issuer: "https://x.example", clientID: c, audiences: [a, c]}]`:                                   "id tokens",
		`[{name: a, issuer: "https://x.example", clientID: c, audiences: [a], secondFactor: ours}]`:                  "get around",
		`[{name: a, issuer: "https://x.example", clientID: c, trust: all}]`:                                          "there is no key trust",
		`[{name: a, issuer: "https://x.example", clientID: c}, {name: a, issuer: "https://y.example", clientID: c}]`: "name a is there twice",
		`[{name: a, issuer: "https://x.example", clientID: c}, {name: b, issuer: "https://x.example", clientID: c}]`: "https://x.example is there twice",
	} {
		if _, err := loadConfig(write(t, "upstreams: "+text+"\n"), noEnv); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, not %q", text, err, want)
		}
	}
}
