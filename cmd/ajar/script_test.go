package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/client"
	"github.com/ajar-access/ajar/provider/fake"
)

func signer(key ed25519.PrivateKey) func([]byte) []byte {
	return func(head []byte) []byte { return ed25519.Sign(key, head) }
}

func publicKey(key ed25519.PrivateKey) []byte { return key.Public().(ed25519.PublicKey) }

// export writes the log as the plane does, or with the harm that a script asked for.
func (r *rig) export(ctx context.Context, _ int64, w io.Writer) error {
	var lines []client.ExportedBatch
	err := r.Store.View(ctx, func(tx ajar.Tx) error {
		events, err := tx.Events(ajar.EventFilter{Ascending: true, Limit: 1000})
		if err != nil {
			return err
		}
		batches, err := tx.Batches(1, 1000)
		for _, b := range batches {
			line := client.ExportedBatch{Link: client.Link{First: b.First, Last: b.Last, Head: b.Head, Signature: b.Signature}}
			for _, e := range events[b.First-1 : b.Last] {
				body, err := json.Marshal(e)
				if err != nil {
					return err
				}
				line.Events = append(line.Events, string(body))
			}
			lines = append(lines, line)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch r.harm.Load() {
	case "edit":
		lines[0].Events[0] = strings.Replace(lines[0].Events[0], `"outcome":"`, `"outcome":"Not`, 1)
	case "cut":
		lines = slices.Delete(lines, 1, 2)
	case "truncate":
		lines = lines[:1]
	case "unsign":
		for i := range lines {
			lines[i].Signature = nil
		}
	}
	out := json.NewEncoder(w)
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	return nil
}

// ajar ARGUMENTS is exec ajar ARGUMENTS.
func scriptAjar(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("ajar", args...)
	switch {
	case err != nil && !neg:
		ts.Fatalf("unexpected command failure")
	case err == nil && neg:
		ts.Fatalf("unexpected command success")
	}
}

func rigOf(ts *testscript.TestScript) *rig { return ts.Value("rig").(*rig) }

// as NAME: what follows runs as somebody.
func scriptAs(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	if r.tokens[args[0]] == "" {
		ts.Fatalf("there is no %s", args[0])
	}
	r.config(r.t, ts.Getenv("AJAR_CONFIG"), args[0])
}

// stranger SUBJECT NAME: somebody proved themselves at a provider whom nobody is linked to.
func scriptStranger(ts *testscript.TestScript, _ bool, args []string) {
	_, err := rigOf(ts).Broker.Arrive(context.Background(), broker.Arrival{
		Link: ajar.Link{Issuer: "https://login.example.com", Subject: args[0]}, Provider: "corp", Name: args[1], From: netip.MustParseAddr("203.0.113.1"),
	})
	if !errors.Is(err, ajar.Forbidden) {
		ts.Fatalf("a stranger is let in: %v", err)
	}
}

// stale: the session of who plays has ended. nowhere: their plane is not there.
func scriptStale(ts *testscript.TestScript, _ bool, _ []string) {
	changeConfig(ts, func(c *config) { c.Token, c.Expires = "stale", time.Now().Add(-3*time.Hour) })
}

func scriptNowhere(ts *testscript.TestScript, _ bool, _ []string) {
	changeConfig(ts, func(c *config) { c.Server = "https://127.0.0.1:1" })
}

func changeConfig(ts *testscript.TestScript, change func(*config)) {
	var c config
	ts.Check(readPrivate(ts.Getenv("AJAR_CONFIG"), &c))
	change(&c)
	ts.Check(writePrivate(ts.Getenv("AJAR_CONFIG"), &c))
}

// host NAME unreachable | reachable | hangs | answers | refused ADDRESS PORT | connection REMOTE PORT | listener PORT PROCESS | glass.
func scriptHost(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	id := ajartest.Endpoint(ajartest.MachineID(args[0]))
	h := r.Firewall.Host(id)
	num := func(i int) ajar.Port {
		n, err := strconv.ParseUint(args[i], 10, 16)
		ts.Check(err)
		return ajar.Port{Number: uint16(n), Protocol: ajar.TCP}
	}
	switch args[1] {
	case "unreachable", "reachable":
		up := args[1] == "reachable"
		h.Set(func(h *fake.Host) { h.Fault.Unreachable = !up })
		r.Until(func() bool { return ajartest.Get[ajar.Endpoint](r.Plane, string(id)).Connected == up })
	case "hangs", "answers":
		h.Set(func(h *fake.Host) { h.Fault.Hang = args[1] == "hangs" })
	case "refused":
		src := netip.MustParseAddr(args[2])
		h.Say(ajar.Report{Status: &ajar.HostStatus{Version: "1", Refused: []ajar.Refusal{{Source: src, Port: num(3), At: r.Now()}}}})
		r.Until(func() bool { return len(ajartest.Get[ajar.Endpoint](r.Plane, string(id)).Status.Refused) > 0 })
	case "connection":
		remote := netip.MustParseAddrPort(args[2])
		h.Set(func(h *fake.Host) {
			h.Connections = append(h.Connections, ajar.Connection{Port: num(3), Local: netip.MustParseAddrPort("192.0.2.1:" + args[3]), Remote: remote})
		})
	case "glass":
		h.Say(ajar.Report{Time: r.Now(), Action: ajar.BreakGlass, Message: "port 22/TCP was opened on the host itself"})
		r.Until(func() bool { return len(r.Events(ajar.BreakGlass)) > 0 })
	case "listener":
		h.Set(func(h *fake.Host) {
			h.Listening = append(h.Listening, ajar.Listener{Port: num(2), Address: netip.MustParseAddr("0.0.0.0"), Process: args[3]})
		})
	default:
		ts.Fatalf("a host cannot be made %s", args[1])
	}
}

// twin NAME: there is another machine of that name, in another group.
func scriptTwin(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	id := ajar.ID(strings.Replace(string(ajartest.MachineID(args[0])), "/lab/", "/other/", 1))
	r.Put(&ajar.Target{ID: id, Location: "westeurope", Source: "person", Created: r.Now()})
}

// await FILE [TEXT]: until a file is there, and holds a text.
func scriptAwait(ts *testscript.TestScript, _ bool, args []string) {
	rigOf(ts).Until(func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && (len(args) == 1 || strings.Contains(string(b), args[1]))
	})
}

// asked TEXT: until the plane was last asked for a URL with that text in it.
func scriptAsked(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	r.Until(func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		found := len(r.asked) > 0 && strings.Contains(r.asked[len(r.asked)-1], args[0])
		if found {
			r.asked = nil
		}
		return found
	})
}

// away on|off: the plane takes what is asked for, and then cannot be reached.
func scriptAway(ts *testscript.TestScript, _ bool, args []string) {
	r := rigOf(ts)
	r.away.Store(args[0] == "on")
	r.server.CloseClientConnections() // and whoever waits for an answer
}

// tamper WAY: the plane's log is not what it was.
func scriptTamper(ts *testscript.TestScript, _ bool, args []string) { rigOf(ts).harm.Store(args[0]) }

// exits CODE COMMAND: the command ends with exactly that code.
func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var e *exec.ExitError
	if errors.As(err, &e) {
		code = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// shape FILE: the JSON on standard output has the members and types that FILE lists, which programs rely on.
func scriptShape(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	lines := map[string]bool{}
	shape(lines, "", v)
	var got []string
	for l := range lines {
		got = append(got, l)
	}
	slices.Sort(got)
	text := strings.Join(got, "\n") + "\n"
	switch {
	case text == ts.ReadFile(args[0]):
	case *update:
		ts.Check(rewrite(filepath.Join("testdata", ts.Name()+".txtar"), args[0], text))
	default:
		ts.Fatalf("the shape of the JSON is not that of %s:\n%s", args[0], text)
	}
}

// json VARIABLE MEMBER FILE: a member of a JSON object, such as .leases.0.id, as a variable.
func scriptJSON(ts *testscript.TestScript, _ bool, args []string) {
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &v))
	for _, k := range strings.Split(strings.Trim(args[1], "."), ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[k]
		case []any:
			i, err := strconv.Atoi(k)
			ts.Check(err)
			v = x[i]
		default:
			ts.Fatalf("there is no %s", args[1])
		}
	}
	ts.Setenv(args[0], fmt.Sprint(v))
}

var update = flag.Bool("update", false, "write the shapes that JSON has now into the scripts")

// rewrite changes one file of a script.
func rewrite(script, file, text string) error {
	ar, err := txtar.ParseFile(script)
	if err != nil {
		return err
	}
	for i := range ar.Files {
		if ar.Files[i].Name == file {
			ar.Files[i].Data = []byte(text)
		}
	}
	return os.WriteFile(script, txtar.Format(ar), 0o644)
}

func shape(into map[string]bool, at string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			shape(into, at+"."+k, x)
		}
		if len(v) == 0 {
			into[at+" object"] = true
		}
	case []any:
		for _, x := range v {
			shape(into, at+"[]", x)
		}
		if len(v) == 0 {
			into[at+"[]"] = true
		}
	case string:
		kind := "text"
		if _, err := time.Parse(time.RFC3339, v); err == nil {
			kind = "time"
		}
		into[at+" "+kind] = true
	case nil:
		into[at+" null"] = true
	default:
		into[fmt.Sprintf("%s %T", at, v)] = true
	}
}
