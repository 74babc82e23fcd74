//go:build linux

package lab

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(t \*testing\.T\)`)
	tested   = regexp.MustCompile("((?:`Test[A-Za-z0-9]+`, )*`Test[A-Za-z0-9]+`)(?: \\(|, )([a-z]+(?:/[a-z]+)?)\\)")
	testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
)

// Every promise of docs/security.md names a test, and every test that it names exists, in the package that it says.
func TestPromisesHaveTests(t *testing.T) {
	doc, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	where := map[string][]string{} // the folders that have a test of that name
	err = filepath.WalkDir("..", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, "_test.go") {
			return err
		}
		b, err := os.ReadFile(p)
		code.Write(b)
		for _, m := range testFunc.FindAllSubmatch(b, -1) {
			where[string(m[1])] = append(where[string(m[1])], filepath.ToSlash(filepath.Dir(p)))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, promises, _ := strings.Cut(string(doc), "## The promises")
	promises, _, _ = strings.Cut(promises, "\n## ")
	rows := 0
	for line := range strings.Lines(promises) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| promise ") {
			continue
		}
		if rows++; !strings.Contains(line, "`Test") {
			t.Errorf("no test is named for: %.100s", line)
		}
	}
	if rows < 15 {
		t.Errorf("docs/security.md makes only %d promises", rows)
	}
	for _, group := range tested.FindAllStringSubmatch(string(doc), -1) {
		for _, n := range testName.FindAllStringSubmatch(group[1], -1) {
			if !slices.ContainsFunc(where[n[1]], func(dir string) bool {
				return strings.HasSuffix(dir, "/"+group[2]) || (dir == ".." && group[2] == "ajar")
			}) {
				t.Errorf("docs/security.md says that %s is in %s; it is in %v", n[1], group[2], where[n[1]])
			}
		}
	}
	names := testName.FindAllStringSubmatch(string(doc), -1)
	if len(names) < 20 {
		t.Fatalf("docs/security.md names only %d tests", len(names))
	}
	for _, n := range names {
		if !strings.Contains(code.String(), "func "+n[1]+"(t *testing.T)") {
			t.Errorf("docs/security.md names %s, which does not exist", n[1])
		}
	}
}
