package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func logVerifyCmd(a *app) *cobra.Command {
	var file, key string
	c := command("verify", "find any event that was cut out, added or changed", `  ajar log verify
  ajar log verify --key log.key                     # a key that you were given, not the plane's word
  ajar log verify --file log.jsonl --key log.key    # offline`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		if file != "" {
			return a.verifyFile(file, key)
		}
		return a.verifyPlane(ctx, key)
	})
	c.Long = `Reads the whole log as it is stored and checks, here and not on the plane, that each event is in its place, that each
commit's hash follows from the one before, and that the plane's key signed it.

The head and the key are remembered in the configuration directory. The next time, a log that is shorter than
remembered, that has another past, or another key, is not the same log. Whoever holds the database and the key can
write another past from the beginning: only a head or a key kept elsewhere, such as here, shows that.`
	c.Flags().StringVar(&file, "file", "", "an export (ajar log export) instead of the plane; - reads standard input")
	c.Flags().StringVar(&key, "key", "", "file with the public key of the log, in base64, hexadecimal or PEM")
	return c
}

// seenHead is what is remembered of one plane's log.
type seenHead struct {
	Key  []byte     `json:"key"`
	Last int64      `json:"last"`
	Head client.Hex `json:"head"`
	At   time.Time  `json:"at"`
}

func altered(format string, args ...any) error {
	return hint(&ajar.Error{Kind: ajar.Conflict, Code: client.Altered, Msg: fmt.Sprintf(format, args...)},
		"the log is not what it was; keep it and the login directory as they are and find out who could write to the plane's database")
}

// verifyPlane checks the plane's log against its chain, its key and what is remembered.
func (a *app) verifyPlane(ctx context.Context, keyFile string) error {
	c, cfg, err := a.client()
	if err != nil {
		return err
	}
	seen, err := a.seenHeads()
	if err != nil {
		return err
	}
	known, before := seen[cfg.Server]
	k, err := c.LogKey(ctx)
	if err != nil {
		return err
	}
	key := ed25519.PublicKey(k.PublicKey)
	switch {
	case keyFile != "":
		if key, err = readKey(keyFile); err != nil {
			return err
		}
	case before:
		key = known.Key
	}
	if !bytes.Equal(key, k.PublicKey) {
		return altered("the plane signs its log with another key than before (%s, not %s)", keyHash(k.PublicKey), keyHash(key))
	}
	r, err := c.Export(ctx, 1)
	if err != nil {
		return err
	}
	defer r.Close()
	chain, err := a.verify(r, key, known)
	if err != nil {
		return err
	}
	if chain.Last < known.Last {
		return altered("the log ends at event %d, but %d were there when it was last looked at (%s)", chain.Last, known.Last, known.At.Format(time.RFC3339))
	}
	if chain.Last < k.Newest.Last {
		return altered("the log ends at event %d, but the plane says that it ends at %d", chain.Last, k.Newest.Last)
	}
	seen[cfg.Server] = seenHead{Key: key, Last: chain.Last, Head: chain.Head, At: a.now().UTC()}
	if err := a.rememberHeads(seen); err != nil {
		return err
	}
	if !before {
		a.say("this is the first look at this log from here; its key and head are remembered from now on")
	}
	return a.verified(chain, key, before)
}

func (a *app) verifyFile(file, keyFile string) error {
	in := a.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return named("the export", err)
		}
		defer f.Close()
		in = f
	}
	known, key := a.seenHere(), ed25519.PublicKey(nil)
	if keyFile != "" {
		var err error
		if key, err = readKey(keyFile); err != nil {
			return err
		}
	}
	if key == nil {
		key = known.Key
	} else if !key.Equal(ed25519.PublicKey(known.Key)) {
		known = seenHead{} // of another log
	}
	chain, err := a.verify(in, key, known)
	switch {
	case err != nil:
		return err
	case key == nil:
		a.say("warning: no key is known, so the signatures were not checked; --key FILE")
	case chain.Last < known.Last:
		a.say("this export ends at event %d; %d were there when the log was last looked at (%s)", chain.Last, known.Last, known.At.Format(time.RFC3339))
	}
	return a.verified(chain, key, known.Last > 0)
}

// seenHere is what is remembered of the log of the plane that one is signed in to, if any.
func (a *app) seenHere() seenHead {
	cfg, err := a.loadConfig()
	if err != nil {
		return seenHead{}
	}
	seen, err := a.seenHeads()
	if err != nil {
		return seenHead{}
	}
	return seen[cfg.Server]
}

// verify walks the chain. Everything must be vouched for by a signature, and the remembered head must be in it.
func (a *app) verify(r io.Reader, key ed25519.PublicKey, known seenHead) (*client.Chain, error) {
	chain := &client.Chain{Key: key}
	for b, err := range client.ReadExport(r) {
		if err == nil {
			err = chain.Add(b)
		}
		if err != nil {
			if code := new(ajar.Error); errors.As(err, &code) && code.Code == client.Altered {
				return nil, altered("%s", code.Msg)
			}
			return nil, err
		}
		if chain.Last == known.Last && !bytes.Equal(chain.Head, known.Head) {
			return nil, altered("up to event %d the log has another past than when it was last looked at (%s)", known.Last, known.At.Format(time.RFC3339))
		}
		if b.First <= known.Last && known.Last < b.Last {
			return nil, altered("event %d was the last of its commit when it was last looked at (%s), and is not now", known.Last, known.At.Format(time.RFC3339))
		}
	}
	if chain.Last == 0 {
		return nil, altered("there is no event at all, and a log begins when its plane first starts")
	}
	if key != nil && chain.SignedTo < chain.Last {
		return nil, altered("events %d to %d are not signed", chain.SignedTo+1, chain.Last)
	}
	return chain, nil
}

func (a *app) verified(c *client.Chain, key ed25519.PublicKey, before bool) error {
	out := struct {
		Events  int64      `json:"events"`
		Batches int64      `json:"batches"`
		Last    int64      `json:"last"`
		Head    client.Hex `json:"head"`
		Signed  bool       `json:"signed"`
		Key     string     `json:"key,omitempty"`
		Known   bool       `json:"knownBefore"`
	}{c.Events, c.Batches, c.Last, c.Head, key != nil, keyHash(key), before}
	return a.show(out, func(w io.Writer) {
		fmt.Fprintf(w, "%s in %s: nothing is missing, added or changed\n", count(int(c.Events), "event"), count(int(c.Batches), "commit"))
		fmt.Fprintf(w, "head %x, signed with %s\n", c.Head, or(keyHash(key), "an unknown key (not checked)"))
	})
}

// keyHash is how a key is told to people.
func keyHash(k ed25519.PublicKey) string {
	if len(k) == 0 {
		return ""
	}
	return "ed25519:" + base64.StdEncoding.EncodeToString(k)
}

// readKey reads a public key in any of the forms that people pass around.
func readKey(file string) (ed25519.PublicKey, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, named("the key", err)
	}
	if block, _ := pem.Decode(b); block != nil {
		if k, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			if e, ok := k.(ed25519.PublicKey); ok {
				return e, nil
			}
		}
	}
	s := strings.TrimPrefix(strings.TrimSpace(string(b)), "ed25519:")
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawURLEncoding.DecodeString} {
		if k, err := decode(s); err == nil && len(k) == ed25519.PublicKeySize {
			return k, nil
		}
	}
	return nil, usage("%s holds no Ed25519 public key", file)
}

func (a *app) headsPath() (string, error) {
	p, err := a.configPath()
	return filepath.Join(filepath.Dir(p), "log-heads.json"), err
}

// seenHeads reads what is remembered of each plane's log.
func (a *app) seenHeads() (map[string]seenHead, error) {
	heads := map[string]seenHead{}
	path, err := a.headsPath()
	if err != nil {
		return nil, err
	}
	if err := readPrivate(path, &heads); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return heads, nil
}

func (a *app) rememberHeads(heads map[string]seenHead) error {
	path, err := a.headsPath()
	if err != nil {
		return err
	}
	return writePrivate(path, heads)
}
