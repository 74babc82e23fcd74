//go:build linux

package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proof is one run.
type proof struct {
	out   io.Writer
	repo  string // with bin/, docs/ and packaging/
	dir   string
	m     *machine
	suite string // a folder with the firewall's own tests, or none
	hash  string // of the authority
	owned bool   // the machine's kernel keeps an owned table alive
	// pace is how long the machine took to boot: with others at work on this one, everything takes longer.
	pace time.Duration
	// unsure is by how much the last comparison of our clock and the machine's may be wrong.
	unsure time.Duration
	// dozed is whether the machine slept since it booted.
	dozed bool
	// before is what was on the machine before ours was.
	before []string
}

// step is one thing to be seen. It answers with what was measured.
type step struct {
	what string
	do   func(context.Context) (string, error)
	must bool // the others cannot be seen without it
	bare bool // it can be seen without them
}

func prove(ctx context.Context, out io.Writer, args []string) error {
	if len(args) != 2 && len(args) != 3 {
		return errors.New("usage: vm IMAGE REPO [SUITE]; see make vm")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 4*time.Hour, errors.New("it takes longer than four hours"))
	defer cancel()
	dir, err := os.MkdirTemp("/var/tmp", "vm") // a disk does not belong into memory
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	p := &proof{out: out, dir: dir}
	if p.repo, err = filepath.Abs(args[1]); err != nil { // commands are typed in another folder
		return err
	}
	if len(args) == 3 {
		p.suite = args[2]
	}
	payload := filepath.Join(dir, "payload.tar")
	if err := p.pack(payload); err != nil {
		return err
	}
	if err := errors.Join(wire(), p.resolve()); err != nil {
		return err
	}
	began := time.Now()
	if p.m, err = build(args[0], payload, dir); err != nil {
		return err
	}
	if err := p.m.start(ctx); err != nil {
		return err
	}
	defer func() { p.m.stop() }()
	failed := p.play(ctx, p.steps())
	fmt.Fprintf(out, "%d s in all\n", int(time.Since(began).Seconds()))
	if failed > 0 {
		return fmt.Errorf("%d steps failed", failed)
	}
	return context.Cause(ctx)
}

func (p *proof) play(ctx context.Context, steps []step) (failed int) {
	only := regexp.MustCompile(os.Getenv("ONLY")) // for whoever works on some of them
	bare := true
	for _, s := range steps {
		bare = bare && (s.bare || s.must || !only.MatchString(s.what))
	}
	for i, s := range steps {
		if bare && s.must && !s.bare || !s.must && !only.MatchString(s.what) {
			continue
		}
		began := time.Now()
		got, err := s.do(ctx)
		took := time.Since(began).Round(100 * time.Millisecond)
		if err == nil {
			fmt.Fprintf(p.out, "%2d  %-46s  %s  (%s)\n", i+1, s.what, got, took)
			continue
		}
		failed++
		fmt.Fprintf(p.out, "%2d  %-46s  FAILED: %v\n", i+1, s.what, err)
		p.tell(ctx)
		if s.must || ctx.Err() != nil {
			break
		}
	}
	return failed
}

// tell shows what the machine has to say about a failure.
func (p *proof) tell(ctx context.Context) {
	o, err := p.m.run(ctx, `ajar-agent status; nft list tables; date -u +%T.%N; journalctl -b -o short-precise --no-pager -n 40 -u ajard -u ajar-agent -u ajar-agent-restore -u ajar-agent-wake`)
	if err != nil {
		fmt.Fprintln(p.out, err, "\n"+p.m.console())
		return
	}
	fmt.Fprintln(p.out, "    "+strings.ReplaceAll(o.Out+o.Err, "\n", "\n    "))
}

// pack puts what somebody who installs has at hand into an archive that the machine sees as a disk.
func (p *proof) pack(name string) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	for _, pattern := range []string{"bin/ajar", "bin/ajard", "bin/ajar-agent", "packaging/systemd/*"} {
		files, _ := filepath.Glob(filepath.Join(p.repo, pattern))
		if len(files) == 0 {
			return fmt.Errorf("there is no %s: make build", pattern)
		}
		for _, file := range files {
			if err := add(w, p.repo, file); err != nil {
				return err
			}
		}
	}
	if p.suite != "" {
		if err := packSuite(w, p.suite); err != nil {
			return err
		}
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		return err
	}
	if err := put(w, "bin/vm", 0o755, self); err != nil {
		return err
	}
	return errors.Join(w.Close(), f.Truncate(size(f)+4096), f.Close())
}

// size rounds up to what a disk's size may be.
func size(f *os.File) int64 {
	n, _ := f.Seek(0, io.SeekCurrent)
	return (n + 4095) &^ 4095
}

func add(w *tar.Writer, root, file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, file)
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if strings.HasPrefix(rel, "bin/") {
		mode = 0o755
	}
	return put(w, rel, mode, b)
}

func put(w *tar.Writer, name string, mode int64, b []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

// resolve gives the plane its name at this end.
func (p *proof) resolve() error {
	name := filepath.Join(p.dir, "hosts")
	if err := os.WriteFile(name, []byte("127.0.0.1 localhost\n"+there.String()+" ajar.example.com\n"), 0o644); err != nil {
		return err
	}
	return unix.Mount(name, "/etc/hosts", "", unix.MS_BIND, "")
}

// ajar types a command at home.
func (p *proof) ajar(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.repo, "bin", "ajar"), args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "AJAR_CONFIG="+filepath.Join(p.dir, "login.json"))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("ajar %s: %w\n%s%s", strings.Join(args, " "), err, out, errs.String())
	}
	return strings.TrimSpace(string(out)), err
}

// ahead is how far the machine's clock is ahead of ours.
func (p *proof) ahead(ctx context.Context) (time.Duration, error) {
	best, ahead := time.Hour, time.Duration(0)
	for range 10 {
		from := time.Now()
		b, err := p.m.qga.ask(ctx, "guest-get-time", nil)
		if err != nil {
			return 0, err
		}
		took := time.Since(from)
		ns, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			return 0, err
		}
		if took < best {
			best, ahead = took, time.Unix(0, ns).Sub(from.Add(took/2))
		}
	}
	p.unsure = best / 2
	return ahead, nil
}

// open asks for the echo's port for one address and returns until when that is open, by our clock.
func (p *proof) open(ctx context.Context, span time.Duration) (end time.Time, err error) {
	ahead, err := p.ahead(ctx)
	if err != nil {
		return end, err
	}
	out, err := p.ajar(ctx, "open", "web1", strconv.Itoa(guarded), "--from", asker.String(), "--for", span.String(), "--timeout", "2m", "-o", "json")
	if err != nil {
		return end, err
	}
	end, err = findEnd(out)
	return end.Add(-ahead), err
}

// errSlow is what cannot be seen because everything takes too long here.
var errSlow = errors.New("this machine is too slow")

// patiently tries again, with more time, where this machine was too slow to see anything.
func (p *proof) patiently(try func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (got string, err error) {
		for range 3 {
			if got, err = try(ctx); !errors.Is(err, errSlow) {
				break
			}
			p.pace *= 2
		}
		return got, err
	}
}

// findEnd finds the latest time in what ajar says of leases.
func findEnd(out string) (end time.Time, err error) {
	var v any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return end, fmt.Errorf("%w in %s", err, out)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, x := range v {
				walk(x)
			}
		case []any:
			for _, x := range v {
				walk(x)
			}
		case string:
			if t, err := time.Parse(time.RFC3339, v); err == nil && t.After(end) {
				end = t
			}
		}
	}
	walk(v)
	if end.IsZero() {
		err = fmt.Errorf("no time in %s", out)
	}
	return end, err
}

// pass waits until t.
func pass(ctx context.Context, t time.Time) error {
	select {
	case <-time.After(time.Until(t)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// eventually asks again until the answer is yes.
func eventually(ctx context.Context, limit time.Duration, what string, ok func() (bool, error)) error {
	var last error
	for range ticks(ctx, 100*time.Millisecond, limit) {
		yes, err := ok()
		if yes && err == nil {
			return nil
		}
		last = err
	}
	return errors.Join(fmt.Errorf("within %s: not seen: %s", limit, what), last, context.Cause(ctx))
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// about says when something was relative to a deadline.
func about(at, end time.Time) string {
	if d := at.Sub(end); d > 0 {
		return ms(d) + " after"
	}
	return ms(end.Sub(at)) + " before"
}
