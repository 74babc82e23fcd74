package ajar_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

const module = "github.com/ajar-access/ajar"

// layers says what each package may import of this module, beyond ajar itself, by pattern of path.Match. What is not
// listed may import ajar alone. Programs, and the packages that only tests, demo and benchmarks use, may import anything.
var layers = []struct {
	pkg string
	may []string
}{
	{".", nil},
	{"rbac", nil},
	{"broker", []string{"rbac"}},
	{"activity", []string{"odata"}},
	{"arm", []string{"arm/*"}},
	{"arm/rest", []string{"broker", "authn", "odata"}},
	{"arm/jit", []string{"arm/rest", "broker"}},
	{"arm/machines", []string{"arm/rest", "broker", "odata"}},
	{"arm/rights", []string{"arm/rest", "broker", "odata"}},
	{"arm/people", []string{"arm/rest", "broker", "authn"}},
	{"arm/places", []string{"arm/rest", "broker"}},
	{"arm/events", []string{"arm/rest", "broker", "activity"}},
	{"arm/openapi", []string{"arm/rest"}},
	{"issuer", []string{"broker", "authn"}},
	{"provider", []string{"provider/*"}},
	{"cmd/*", []string{"*", "*/*"}},
	{"ajartest", []string{"*", "*/*"}},
	{"ajartest/*", []string{"*", "*/*"}},
	{"lab", []string{"*", "*/*"}},
	{"lab/*", []string{"*", "*/*"}},
}

func TestLayers(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Standard", "./...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(strings.NewReader(string(out)))
	n := 0
	for {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
		pkg := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		if pkg == "" {
			pkg = "."
		}
		for _, imp := range p.Imports {
			if !strings.HasPrefix(imp, module) {
				if pkg == "." && strings.Contains(strings.Split(imp, "/")[0], ".") {
					t.Errorf("package ajar imports %s; it may import the standard library alone", imp)
				}
				continue
			}
			if to := strings.TrimPrefix(strings.TrimPrefix(imp, module), "/"); to != "" && !may(pkg, to) {
				t.Errorf("%s imports %s, which the house does not allow", pkg, to)
			}
		}
	}
	if n < 2 {
		t.Fatalf("only %d packages were looked at", n)
	}
}

func may(pkg, to string) bool {
	for _, l := range layers {
		if ok, _ := path.Match(l.pkg, pkg); !ok {
			continue
		}
		for _, m := range l.may {
			if ok, _ := path.Match(m, to); ok {
				return true
			}
		}
	}
	return false
}

// TestTxStaysSmall holds the store's interface to the size that a person can keep in mind.
func TestTxStaysSmall(t *testing.T) {
	if n := reflect.TypeFor[ajar.Tx]().NumMethod(); n > 25 {
		t.Errorf("Tx has %d methods; at most 25", n)
	}
	if n := reflect.TypeFor[ajar.Enforcer]().NumMethod(); n > 3 {
		t.Errorf("Enforcer has %d methods; at most 3", n)
	}
}

// TestFilesStaySmall holds every file to 600 lines: a longer one is two nouns.
func TestFilesStaySmall(t *testing.T) {
	err := filepath.WalkDir(".", func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if n := strings.Count(string(b), "\n"); n > 600 {
			t.Errorf("%s has %d lines", p, n)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
