package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/store"
)

// backup saves everything in the store to one file, while the plane runs or not.
func backup(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "backup", "OUT")
	if err := parse(fs, args, 1); err != nil {
		return err
	}
	c, err := loadConfig(*path, e.getenv)
	if err != nil {
		return err
	}
	s, err := openExisting(ctx, c, e, newLog(c, e), time.Now)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Backup(ctx, fs.Arg(0)); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "saved to %s. The key-encryption key is not in it: keep that too, elsewhere.\n", fs.Arg(0))
	return nil
}

// keepers are the leases that stay after a restore.
type keepers []ajar.LeaseID

// String implements flag.Value.
func (k *keepers) String() string { return fmt.Sprint(*k) }

// Set implements flag.Value.
func (k *keepers) Set(s string) error {
	for id := range strings.SplitSeq(s, ",") {
		*k = append(*k, ajar.LeaseID(strings.TrimSpace(id)))
	}
	return nil
}

// restore puts a backup back. What happened after it was made is unknown, so every lease that is not final is closed
// unless kept by name, and every bearer token ends: one of them may have been revoked since.
func restore(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "restore", "[-keep LEASE]… IN")
	var keep keepers
	fs.Var(&keep, "keep", "a `lease` that stays open; all others are closed")
	if err := parse(fs, args, 1); err != nil {
		return err
	}
	c, err := loadConfig(*path, e.getenv)
	if err != nil {
		return err
	}
	dsn, folder, err := c.database(e.getenv)
	if err != nil {
		return err
	}
	// A file is restored beside its place and moved there when all is done: a restore that broke off leaves no database
	// that is in the way of the next.
	file, isFile := strings.CutPrefix(dsn, "sqlite:")
	if isFile {
		file = strings.TrimPrefix(file, "//")
		if _, err := os.Stat(file); err == nil {
			return fmt.Errorf("%s exists; move it away first, a restore replaces nothing", file)
		}
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		dsn = "sqlite:" + file + ".restoring"
		if err := removeDatabase(file + ".restoring"); err != nil {
			return err
		}
	}
	n, err := restoreInto(ctx, c, e, fs.Arg(0), dsn, keep)
	if err != nil {
		if isFile {
			err = errors.Join(err, removeDatabase(file+".restoring"))
		}
		return err
	}
	if isFile {
		if err := os.Rename(file+".restoring", file); err != nil {
			return err
		}
	}
	fmt.Fprintf(e.stdout, "restored from %s. %d leases are being closed, %d were kept by name; everybody logs in anew.\n", fs.Arg(0), n, len(keep))
	return nil
}

// restoreInto does all of it in one transaction: a database has what was restored with everything closed, or nothing.
func restoreInto(ctx context.Context, c *Config, e env, from, dsn string, keep keepers) (n int, err error) {
	log := newLog(c, e)
	err = store.Restore(ctx, from, dsn, store.Options{Log: log, Clock: time.Now}, func(ctx context.Context, s *store.Store) error {
		n, err = closeRestored(ctx, c, e, s, keep, log)
		return err
	})
	return n, err
}

func closeRestored(ctx context.Context, c *Config, e env, s *store.Store, keep keepers, log *slog.Logger) (n int, err error) {
	_, folder, err := c.database(e.getenv)
	if err != nil {
		return 0, err
	}
	v, err := openVault(ctx, c, e, s, folder, time.Now)
	if err != nil {
		return 0, err
	}
	key, err := v.LogKey(ctx)
	if err != nil {
		return 0, err
	}
	s.SetSigner(signer(key))
	b := broker.New(broker.Config{Store: s, Clock: time.Now, NewID: uuid.NewString, Bounds: c.bounds(), Log: log})
	n, missing, err := b.AfterRestore(ctx, keep)
	if err != nil {
		return 0, fmt.Errorf("close what was open: %w", err)
	}
	if len(missing) > 0 { // everything else would be closed, and what is closed stays so: better not to begin with this
		return 0, fmt.Errorf("no such lease is open in the backup, by its whole id: %v", missing)
	}
	return n, authn.RevokeAll(ctx, s, time.Now())
}

func removeDatabase(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}
