//go:build linux

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// packSuite adds a folder with a test program and what it reads.
func packSuite(w *tar.Writer, dir string) error {
	return filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		return put(w, "suite/"+rel, 0o755, b)
	})
}

const suiteScript = `cd /srv/suite
./nftables.test -test.v -test.timeout 3h -test.run '%s' >out 2>&1
echo $? >code.new
mv code.new code
`

// tests runs the firewall's own tests as root on the machine, where they are asked for.
func (p *proof) tests(ctx context.Context) (string, error) {
	if p.suite == "" {
		return "not asked for (SUITE=1)", nil
	}
	only := os.Getenv("TESTS") // for whoever works on some of them
	if _, err := p.m.do(ctx, "mv /root/ajar/suite /srv/suite"); err != nil {
		return "", err
	}
	if err := p.m.write(ctx, "/srv/suite/run", fmt.Sprintf(suiteScript, only)); err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "systemd-run -q --unit=suite bash /srv/suite/run"); err != nil {
		return "", err
	}
	err := eventually(ctx, 3*time.Hour, "the tests are over", func() (bool, error) {
		o, err := p.m.run(ctx, "sleep 2; cat /srv/suite/code")
		return strings.TrimSpace(o.Out) != "", err
	})
	if err != nil {
		return "", err
	}
	code, err := p.m.do(ctx, "cat /srv/suite/code")
	if err != nil {
		return "", err
	}
	out, err := p.m.do(ctx, "cat /srv/suite/out")
	if err != nil {
		return "", err
	}
	if keep := os.Getenv("TESTS_OUT"); keep != "" {
		if err := os.WriteFile(keep, []byte(out), 0o644); err != nil {
			return "", err
		}
	}
	passed, failed := strings.Count(out, "\n--- PASS"), strings.Count(out, "\n--- FAIL")
	if code != "0" {
		lines := strings.Split(out, "\n")
		return "", errors.Join(fmt.Errorf("%d passed, %d failed", passed, failed), errors.New(strings.Join(lines[max(0, len(lines)-200):], "\n")))
	}
	return fmt.Sprintf("%d passed", passed), nil
}
