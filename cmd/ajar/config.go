package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// config is the login file: which plane, whom to trust, and the token. It is a secret.
type config struct {
	Server   string    `json:"server"`
	CA       string    `json:"ca,omitempty"` // PEM
	Token    string    `json:"token,omitempty"`
	Name     string    `json:"name,omitempty"`
	Expires  time.Time `json:"expires,omitzero"`
	Scope    ajar.ID   `json:"scope,omitempty"`    // where new machines and policies go
	Location string    `json:"location,omitempty"` // of new machines
}

// Where new machines and policies go if nobody says: who has no Azure needs no subscriptions.
const (
	defaultGroup    ajar.ID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/default"
	defaultLocation string  = "local"
)

// group is the group that new machines and policies go to.
func (c *config) group() ajar.ID {
	if g := c.Scope.Group(); g != "" {
		return g
	}
	return defaultGroup
}

// configPath is where the login file is.
func (a *app) configPath() (string, error) {
	if p := a.getenv("AJAR_CONFIG"); p != "" {
		return p, nil
	}
	dir := a.getenv("XDG_CONFIG_HOME")
	home := a.getenv("HOME")
	switch {
	case runtime.GOOS == "windows":
		dir = a.getenv("AppData")
	case runtime.GOOS == "darwin" && home != "":
		dir = filepath.Join(home, "Library", "Application Support")
	case dir == "" && home != "":
		dir = filepath.Join(home, ".config")
	}
	if dir == "" {
		return "", hint(fmt.Errorf("there is no home directory for the login file"), "set AJAR_CONFIG to a file of your own")
	}
	return filepath.Join(dir, "ajar", "config.json"), nil
}

// loadConfig reads the login file, empty if there is none, and lets the environment have the last word.
func (a *app) loadConfig() (*config, error) {
	c := &config{}
	server, token, ca := strings.TrimSuffix(a.getenv("AJAR_SERVER"), "/"), a.getenv("AJAR_TOKEN"), a.getenv("AJAR_CA_FILE")
	if server == "" || token == "" {
		path, err := a.configPath()
		if err != nil {
			return nil, err
		}
		if err := readPrivate(path, c); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if server != "" && server != c.Server {
		c = &config{Server: server, Scope: c.Scope, Location: c.Location} // a token goes to the plane that gave it, and nowhere else
	}
	if token != "" {
		c.Token = token
	}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return nil, fmt.Errorf("read the certificate authority: %w", err)
		}
		c.CA = string(b)
	}
	return c, nil
}

// saveConfig writes the login file.
func (a *app) saveConfig(c *config) (path string, err error) {
	if path, err = a.configPath(); err != nil {
		return "", err
	}
	return path, writePrivate(path, c)
}

// readPrivate reads a JSON file that nobody else may read.
func readPrivate(path string, into any) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0 {
		return exits(exitRefused, hint(fmt.Errorf("%s can be read or written by others (%#o)", path, st.Mode().Perm()), "chmod 600 %s", path))
	}
	d := json.NewDecoder(f)
	if err := d.Decode(into); err != nil {
		return hint(fmt.Errorf("read %s: %w", path, err), "sign in again: ajar login")
	}
	return nil
}

// writePrivate writes a JSON file that nobody else may read, as a whole or not at all.
func writePrivate(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, ".ajar-*") // 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
