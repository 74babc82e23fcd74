package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// BenchmarkOpen is ajar open --wait as a whole process, from its start to its end, against a plane on the same machine.
func BenchmarkOpen(b *testing.B) {
	program := ajarProgram(b)
	r := lab(b)
	conf := filepath.Join(b.TempDir(), "config.json")
	r.config(b, conf, "anna")
	r.Loop.Hooks.Opened = func(time.Duration) { go r.tell() }
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		cmd := exec.Command(program, "open", "web1", "22", "--from", fmt.Sprintf("203.0.%d.%d", i/250%250, i%250), "--wait")
		cmd.Env = append(os.Environ(), "AJAR_CONFIG="+conf)
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// BenchmarkStart is the shortest that any command takes.
func BenchmarkStart(b *testing.B) {
	program := ajarProgram(b)
	for b.Loop() {
		if err := exec.Command(program, "version").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func ajarProgram(b *testing.B) string {
	path, err := program()
	if err != nil {
		b.Fatal(err)
	}
	return path
}

// tell wakes who waits for one of the newest requests, as the plane's program does from its store.
func (r *rig) tell() {
	var ids []ajar.RequestID
	_ = r.Store.View(context.Background(), func(tx ajar.Tx) error { // nobody is woken if it fails, and they look again
		rs, _, err := ajar.List[ajar.Request](tx, ajar.Filter{Limit: 3})
		for _, q := range rs {
			ids = append(ids, q.ID)
		}
		return err
	})
	r.surface.Changed(ids...)
}
