package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// writeUntilKilled names the database that a child process writes to until it is killed.
const writeUntilKilled = "AJAR_TEST_WRITE_UNTIL_KILLED"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(writeUntilKilled); dsn != "" {
		fmt.Fprintln(os.Stderr, acknowledge(dsn))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// acknowledge writes leases with eight writers, of which two only look, and prints each one's name once its Update has
// returned, and the one that it saw written last.
func acknowledge(dsn string) error {
	s, err := store.Open(context.Background(), dsn, store.Options{})
	if err != nil {
		return err
	}
	var mu sync.Mutex
	errs := make(chan error)
	for i := range 8 {
		go func() {
			for {
				var saw string
				l := &ajar.Lease{ID: ajar.LeaseID(guid()), Target: target(1), Endpoint: "ep", State: ajar.Open, End: start}
				err := s.Update(context.Background(), func(tx ajar.Tx) error {
					last := &ajar.Sealed{Name: "last"}
					if err := tx.GetDoc(ajar.KindSealed, last.Name, last); err != nil && !errors.Is(err, ajar.NotFound) {
						return err
					}
					if saw = string(last.Wrapped); i%4 == 3 && saw != "" {
						return nil
					}
					last.Wrapped = []byte(l.ID)
					if err := errors.Join(tx.Put(last), tx.Put(l)); err != nil {
						return err
					}
					return tx.Append(ajar.Event{Time: start, Action: ajar.LeaseOpened, Lease: l.ID})
				})
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				if l.Rev > 0 {
					fmt.Println(l.ID)
				}
				if saw != "" {
					fmt.Println(saw)
				}
				mu.Unlock()
			}
		}()
	}
	return <-errs
}

// A process that is killed in the middle of writing has lost nothing that it was told is durable, nor anything that such an
// answer rests on, and its next one finds a log without a gap.
func TestKilledProcessLosesNothing(t *testing.T) {
	dsns := map[string]string{"sqlite": "sqlite:" + filepath.Join(t.TempDir(), "ajar.db"), "postgres": postgresDSN(t)}
	for name, dsn := range dsns {
		var acknowledged []string
		for round := range 4 {
			acknowledged = append(acknowledged, killed(t, dsn, 200+150*round)...)
			s, err := store.Open(t.Context(), dsn, store.Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = s.View(t.Context(), func(tx ajar.Tx) error {
				for _, id := range acknowledged {
					if _, err := ajar.Get[ajar.Lease](tx, id); err != nil {
						return fmt.Errorf("acknowledged, and lost: %w", err)
					}
				}
				n, err := tx.Count(ajar.KindLease, ajar.Filter{})
				if events := int64(strings.Count(exported(t, s, 0), `{"pos"`)); events != n {
					t.Errorf("%s: %d leases and %d events", name, n, events)
				}
				return err
			})
			if err != nil {
				t.Errorf("%s, round %d: %v", name, round, err)
			}
			if _, err := store.VerifyLog(t.Context(), s, nil, 0); err != nil {
				t.Errorf("%s, round %d: %v", name, round, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// killed starts the child, kills it when it has acknowledged n Updates, and gives all that it acknowledged.
func killed(t *testing.T, dsn string, n int) (ids []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), writeUntilKilled+"="+dsn)
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // what was half printed was not acknowledged
		}
		ids = append(ids, strings.TrimSpace(line))
		if len(ids) == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	child.Wait()
	if len(ids) < n {
		t.Fatalf("the child ended by itself after %d", len(ids))
	}
	return ids
}
