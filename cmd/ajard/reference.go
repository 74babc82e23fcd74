package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// reference says where a secret stands: in a file or an environment variable. Where that is allowed it can be the value
// itself. Its text never appears in messages.
type reference struct {
	File, Env string
	value     string
}

// UnmarshalYAML reads text, {file: …} or {env: …}.
func (r *reference) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		return n.Decode(&r.value)
	}
	if n.Kind != yaml.MappingNode || len(n.Content) != 2 {
		return misread(n, "exactly one of file and env is expected")
	}
	switch key, value := n.Content[0].Value, n.Content[1]; key {
	case "file":
		return value.Decode(&r.File)
	case "env":
		return value.Decode(&r.Env)
	default:
		return misread(n, "%.40q is neither file nor env", key)
	}
}

func (r reference) path(dir string) string {
	if r.File == "" || filepath.IsAbs(r.File) {
		return r.File
	}
	return filepath.Join(dir, r.File)
}

// read gives the secret; nil when nothing is referred to.
func (r reference) read(dir string, getenv func(string) string) ([]byte, error) {
	switch {
	case r.Env != "":
		v := getenv(r.Env)
		if v == "" {
			return nil, fmt.Errorf("environment variable %s is empty", r.Env)
		}
		return []byte(v), nil
	case r.File != "":
		return readPrivate(r.path(dir))
	case r.value != "":
		return []byte(r.value), nil
	}
	return nil, nil
}

// check is read for its error. A file that is missing is not a fault yet: the first start may make it.
func (r reference) check(dir string, getenv func(string) string) error {
	_, err := r.read(dir, getenv)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// readPrivate reads a file that nobody else may read.
func readPrivate(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s can be read by everybody (mode %04o); chmod 600 it", path, st.Mode().Perm())
	}
	return os.ReadFile(path)
}

// writePrivate makes a file that its owner alone can read. It must not exist yet, or replace is set.
func writePrivate(path string, b []byte, replace bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if replace {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// database is the DSN, and the SQLite file's folder if it is one.
func (c *Config) database(getenv func(string) string) (dsn, folder string, err error) {
	b, err := c.Database.read(c.dir, getenv)
	if err != nil {
		return "", "", fmt.Errorf("database: %w", err)
	}
	dsn = strings.TrimSpace(string(b))
	rest, ok := strings.CutPrefix(dsn, "sqlite:")
	if !ok {
		return dsn, "", nil
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	if !filepath.IsAbs(path) {
		path = filepath.Join(c.dir, path)
		dsn = "sqlite:" + path
	}
	return dsn, filepath.Dir(path), nil
}

// knownDatabase reports whether the store could be asked to open dsn.
func knownDatabase(dsn string) bool {
	for _, scheme := range []string{"sqlite:", "postgres://", "postgresql://"} {
		if strings.HasPrefix(dsn, scheme) && dsn != scheme {
			return true
		}
	}
	return false
}

// mustExist tells a slip in the path of the database. To make one there, and to save that, would look like success.
func (c *Config) mustExist(getenv func(string) string) error {
	dsn, _, err := c.database(getenv)
	if err != nil {
		return err
	}
	if file, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		file, _, _ = strings.Cut(strings.TrimPrefix(file, "//"), "?")
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("no plane has been here yet: %w", err)
		}
	}
	return nil
}

// openExisting opens the database of a plane that has been there.
func openExisting(ctx context.Context, c *Config, e env, log *slog.Logger, clock ajar.Clock) (*store.Store, error) {
	if err := c.mustExist(e.getenv); err != nil {
		return nil, err
	}
	s, _, err := openStore(ctx, c, e, log, clock)
	return s, err
}
