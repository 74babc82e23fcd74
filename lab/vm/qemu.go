//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// machine is an emulated computer that runs.
type machine struct {
	image, payload, dir string
	cmd                 *exec.Cmd
	qmp                 *talk
	qga                 *talk

	mu   sync.Mutex
	gone chan struct{}
}

// patience is how long anything may take where the emulator gets little of this machine.
const patience = 15 * time.Minute

// Where things are on the machine's network.
const (
	iface = "tap0"
	mac   = "52:54:00:61:6a:61"
)

// build puts a computer together, with a disk of its own that is gone with dir.
func build(image, payload, dir string) (*machine, error) {
	m := &machine{image: image, payload: payload, dir: dir}
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", filepath.Join(image, "root.img"), m.disk()).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("make a disk over the image: %w: %s", err, out)
	}
	return m, nil
}

func (m *machine) disk() string { return filepath.Join(m.dir, "disk") }

// start switches the computer on. It switches itself off where it would begin anew: an emulator that does is slow.
func (m *machine) start(ctx context.Context) error {
	accel := "tcg"
	if a := os.Getenv("ACCEL"); a != "" {
		accel = a
	}
	m.gone = make(chan struct{})
	_, _ = os.Remove(filepath.Join(m.dir, "qmp")), os.Remove(filepath.Join(m.dir, "qga"))
	args := []string{
		"-nodefaults", "-display", "none", "-machine", "q35,sata=off,accel=" + accel, "-m", "1024", "-smp", "1",
		"-global", "ICH9-LPC.disable_s3=0", "-rtc", "base=utc,clock=host", "-action", "reboot=shutdown",
		"-kernel", filepath.Join(m.image, "vmlinuz"), "-initrd", filepath.Join(m.image, "initrd"),
		"-append", "root=/dev/vda ro console=ttyS0 net.ifnames=0 loglevel=5 mitigations=off audit=0 no_timer_check systemd.mask=e2scrub_reap.service",
		"-drive", "file=" + m.disk() + ",format=qcow2,if=virtio",
		"-drive", "file=" + m.payload + ",format=raw,if=virtio,readonly=on",
		"-netdev", "tap,id=net,ifname=" + iface + ",script=no,downscript=no", "-device", "virtio-net-pci,netdev=net,mac=" + mac,
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,id=qga,server=on,wait=off,path=" + filepath.Join(m.dir, "qga"),
		"-device", "virtserialport,chardev=qga,name=org.qemu.guest_agent.0",
		"-qmp", "unix:" + filepath.Join(m.dir, "qmp") + ",server=on,wait=off",
		"-serial", "file:" + filepath.Join(m.dir, "console"),
	}
	m.cmd = exec.Command("qemu-system-x86_64", args...)
	out, err := os.Create(filepath.Join(m.dir, "qemu"))
	if err != nil {
		return err
	}
	defer out.Close()
	m.cmd.Stdout, m.cmd.Stderr = out, out
	if err := m.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, gone chan struct{}) { _ = cmd.Wait(); close(gone) }(m.cmd, m.gone)
	if m.qmp, err = m.dial(ctx, "qmp"); err == nil {
		var greeting json.RawMessage
		if err = m.qmp.dec.Decode(&greeting); err == nil {
			_, err = m.qmp.ask(ctx, "qmp_capabilities", nil)
		}
	}
	if err == nil {
		m.qga, err = m.dial(ctx, "qga")
	}
	if err != nil {
		m.stop()
		b, _ := os.ReadFile(out.Name())
		return fmt.Errorf("qemu: %w\n%s", err, b)
	}
	return nil
}

// stop cuts the power.
func (m *machine) stop() {
	_ = m.cmd.Process.Kill() // it may be gone already
	<-m.gone
}

// again waits until the computer has gone down, and switches it on.
func (m *machine) again(ctx context.Context, limit time.Duration) error {
	select {
	case <-m.gone:
		return m.start(ctx)
	case <-time.After(limit):
		return fmt.Errorf("it does not go down; its console:\n%s", m.console())
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// console is the end of what the machine's kernel said.
func (m *machine) console() string {
	b, _ := os.ReadFile(filepath.Join(m.dir, "console"))
	return string(b[max(0, len(b)-4000):])
}

func (m *machine) dial(ctx context.Context, name string) (*talk, error) {
	var last error
	for range ticks(ctx, 20*time.Millisecond, 10*time.Second) {
		c, err := net.Dial("unix", filepath.Join(m.dir, name))
		if err == nil {
			return &talk{conn: c, dec: json.NewDecoder(bufio.NewReader(c))}, nil
		}
		last = err
		select {
		case <-m.gone:
			return nil, errors.New("it ended at once")
		default:
		}
	}
	return nil, errors.Join(last, ctx.Err())
}

// talk is one of the emulator's two conversations in JSON.
type talk struct {
	conn net.Conn
	dec  *json.Decoder
}

type reply struct {
	Return json.RawMessage
	Event  string
	Error  *struct{ Class, Desc string }
}

func (t *talk) ask(ctx context.Context, verb string, args any) (json.RawMessage, error) {
	if err := t.send(ctx, verb, args); err != nil {
		return nil, err
	}
	return t.receive(verb)
}

func (t *talk) send(ctx context.Context, verb string, args any) error {
	b, err := json.Marshal(map[string]any{"execute": verb, "arguments": orEmpty(args)})
	if err != nil {
		return err
	}
	limit, ok := ctx.Deadline()
	if !ok {
		limit = time.Now().Add(time.Minute)
	}
	if err := t.conn.SetDeadline(limit); err != nil {
		return err
	}
	_, err = t.conn.Write(append(b, '\n'))
	return err
}

func (t *talk) receive(verb string) (json.RawMessage, error) {
	for {
		var r reply
		if err := t.dec.Decode(&r); err != nil {
			return nil, fmt.Errorf("%s: %w", verb, err)
		}
		switch {
		case r.Error != nil:
			return nil, fmt.Errorf("%s: %s", verb, r.Error.Desc)
		case r.Event == "":
			return r.Return, nil
		}
	}
}

func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}

// await waits until the machine answers: it is up. What an earlier boot may still have to say is thrown away.
func (m *machine) await(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for n := time.Now().UnixNano(); ctx.Err() == nil; n++ {
		if m.sync(ctx, n&(1<<52-1)) == nil {
			return nil
		}
		select {
		case <-m.gone:
			return errors.New("the machine is gone")
		default:
		}
	}
	return fmt.Errorf("the machine does not answer; its console:\n%s", m.console())
}

// sync asks for n and waits for it for a second.
func (m *machine) sync(ctx context.Context, n int64) error {
	_ = m.qga.conn.Close()
	t, err := m.dial(ctx, "qga")
	if err != nil {
		return err
	}
	m.qga = t
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := t.send(short, "guest-sync", map[string]any{"id": n}); err != nil {
		return err
	}
	for { // what was asked before, by whoever hung up, is answered first
		b, err := t.receive("guest-sync")
		if err != nil || string(b) == fmt.Sprint(n) {
			return err
		}
	}
}

// outcome is how a command on the machine ended.
type outcome struct {
	Out, Err string
	Code     int
}

// run runs a shell's words as root on the machine.
func (m *machine) run(ctx context.Context, script string) (outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b, err := m.qga.ask(ctx, "guest-exec", map[string]any{"path": "/bin/bash", "arg": []string{"-c", script}, "capture-output": true,
		"env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}})
	if err != nil {
		return outcome{}, err
	}
	var begun struct{ PID int }
	if err := json.Unmarshal(b, &begun); err != nil {
		return outcome{}, err
	}
	for range ticks(ctx, 30*time.Millisecond, patience) {
		b, err := m.qga.ask(ctx, "guest-exec-status", map[string]any{"pid": begun.PID})
		if err != nil {
			return outcome{}, err
		}
		var s struct {
			Exited   bool
			ExitCode int    `json:"exitcode"`
			Out      string `json:"out-data"`
			Err      string `json:"err-data"`
		}
		if err := json.Unmarshal(b, &s); err != nil {
			return outcome{}, err
		}
		if s.Exited {
			out, _ := base64.StdEncoding.DecodeString(s.Out)
			errs, _ := base64.StdEncoding.DecodeString(s.Err)
			return outcome{Out: string(out), Err: string(errs), Code: s.ExitCode}, nil
		}
	}
	return outcome{}, fmt.Errorf("%.60s: takes too long", script)
}

// do is run where anything but success is a fault.
func (m *machine) do(ctx context.Context, script string) (string, error) {
	o, err := m.run(ctx, script)
	if err == nil && o.Code != 0 {
		err = fmt.Errorf("%s\nexit code %d\n%s%s", script, o.Code, o.Out, o.Err)
	}
	return strings.TrimSpace(o.Out), err
}

// launch begins a command that is not waited for.
func (m *machine) launch(ctx context.Context, script string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := m.qga.ask(ctx, "guest-exec", map[string]any{"path": "/bin/bash", "arg": []string{"-c", script}})
	return err
}

// write puts a file onto the machine.
func (m *machine) write(ctx context.Context, name, text string) error {
	_, err := m.do(ctx, fmt.Sprintf("base64 -d >%s <<<%s", name, base64.StdEncoding.EncodeToString([]byte(text))))
	return err
}

// running tells how the emulator is: running, suspended, …
func (m *machine) running(ctx context.Context) (string, error) {
	b, err := m.qmp.ask(ctx, "query-status", nil)
	if err != nil {
		return "", err
	}
	var s struct{ Status string }
	return s.Status, json.Unmarshal(b, &s)
}

// ticks yields now and then until limit or ctx ends.
func ticks(ctx context.Context, every, limit time.Duration) func(func(time.Time) bool) {
	return func(yield func(time.Time) bool) {
		t := time.NewTicker(every)
		defer t.Stop()
		end := time.After(limit)
		for now := time.Now(); ; {
			if !yield(now) {
				return
			}
			select {
			case now = <-t.C:
			case <-end:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}
