//go:build linux

package azuretest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ajar-access/ajar/lab"
)

// az is somebody's Azure CLI at the requester's machine: what it remembers is in a folder of its own.
type az struct {
	w   *world
	dir string
	env []string
}

// newAZ makes a CLI that knows the plane's certificate authority and nothing else. There is no network but the lab's.
func newAZ(t *testing.T, w *world) *az {
	t.Helper()
	if _, err := exec.LookPath("az"); err != nil {
		t.Fatal("apt-get install azure-cli: ", err)
	}
	return w.azIn(t.TempDir())
}

func (w *world) azIn(dir string) *az {
	return &az{w: w, dir: dir, env: []string{
		"AZURE_CONFIG_DIR=" + dir, "REQUESTS_CA_BUNDLE=" + w.ca, "AZURE_CORE_COLLECT_TELEMETRY=0", "AZURE_CORE_NO_COLOR=1", "AZURE_CORE_ONLY_SHOW_ERRORS=0",
		"HTTPS_PROXY=", "https_proxy=", "NO_PROXY=*",
	}}
}

// copy is another CLI that remembers the same.
func (a *az) copy(t *testing.T) *az {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "azure")
	if err := os.CopyFS(dir, os.DirFS(a.dir)); err != nil {
		t.Fatal(err)
	}
	return a.w.azIn(dir)
}

// try runs a command line of az to its end.
func (a *az) try(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	began := time.Now()
	out, err := a.w.lab.Requester.Output(ctx, a.env, append([]string{"az"}, args...)...)
	took := time.Since(began)
	timings.add(took)
	result := "ok"
	if err != nil {
		result = "refused"
	}
	t.Logf("%6.2f s  %-7s  az %.160s", took.Seconds(), result, strings.Join(args, " "))
	return out, err
}

// run runs a command line that must go well, and reads what it prints as JSON into v; nil = it is not read.
func (a *az) run(t *testing.T, v any, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := a.try(ctx, t, args...)
	if err != nil {
		t.Fatalf("az %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if v == nil {
		return
	}
	if err := json.Unmarshal([]byte(out), v); err != nil {
		t.Fatalf("az %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// refuse runs a command line that must be refused with words that contain all of those wanted.
func (a *az) refuse(t *testing.T, wanted []string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := a.try(ctx, t, args...)
	var said *lab.Failed
	if !errors.As(err, &said) {
		t.Fatalf("az %s went well, or said nothing: %v\n%s", strings.Join(args, " "), err, out)
	}
	for _, word := range wanted {
		if !strings.Contains(said.Stderr, word) {
			t.Errorf("az %s says %q, without %q", strings.Join(args, " "), said.Stderr, word)
		}
	}
}

// timings adds up what all command lines took.
var timings timing

type timing struct {
	mu    sync.Mutex
	calls int
	sum   time.Duration
}

func (x *timing) add(d time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.calls++
	x.sum += d
}

// register lets a knows the plane as a cloud, and uses it.
func (a *az) register(t *testing.T) {
	t.Helper()
	a.run(t, nil, "cloud", "register", "-n", "Ajar", "--endpoint-resource-manager", a.w.url)
	a.run(t, nil, "cloud", "set", "-n", "Ajar")
}

// account is what az remembers of a subscription.
type account struct {
	ID, Name, State, TenantID, CloudName string
	IsDefault                            bool
	User                                 struct{ Name, Type string }
}

// policyOut is a policy as az shows it.
type policyOut struct {
	ID, Name, Kind, Location, ResourceGroup, Type, ProvisioningState string
	VirtualMachines                                                  []struct {
		ID    string
		Ports []struct {
			Number                                                         int
			Protocol, MaxRequestAccessDuration, AllowedSourceAddressPrefix string
		}
	}
	Requests []struct {
		Requestor       string
		StartTimeUTC    time.Time
		VirtualMachines []struct {
			ID    string
			Ports []struct {
				Number                                           int
				EndTimeUTC                                       time.Time
				AllowedSourceAddressPrefix, Status, StatusReason string
			}
		}
	}
}
