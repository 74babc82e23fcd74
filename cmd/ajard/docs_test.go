package main

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestTheManualNamesEverything: each metric and each key of the configuration stands in docs/install.md.
func TestTheManualNamesEverything(t *testing.T) {
	b, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	named := func(what string) {
		t.Helper()
		if !strings.Contains(string(b), "`"+what+"`") {
			t.Errorf("%s is not in docs/install.md", what)
		}
	}
	m := newMetrics()
	m.requests.WithLabelValues("x", "200")
	m.took.WithLabelValues("x")
	m.hooks()
	all, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if strings.HasPrefix(f.GetName(), "ajar_") {
			named(f.GetName())
		}
	}
	for _, d := range newGauges(nil).desc {
		_, name, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ = strings.Cut(name, `"`)
		named(name)
	}
	keys(reflect.TypeFor[Config](), "", named)
}

// sections have keys of their own.
var sections = []reflect.Type{
	reflect.TypeFor[Admin](), reflect.TypeFor[Bounds](), reflect.TypeFor[Metrics](), reflect.TypeFor[Tenant](), reflect.TypeFor[Issuer](), reflect.TypeFor[Browsers](),
	reflect.TypeFor[Discovery](),
}

func keys(t reflect.Type, under string, tell func(string)) {
	for f := range t.Fields() {
		key := f.Tag.Get("yaml")
		switch {
		case key == "":
		case slices.Contains(sections, f.Type):
			keys(f.Type, key+".", tell)
		default:
			tell(under + key)
		}
	}
}
