package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/store"
)

// codeAltered marks an error that says that the log is not what was written.
const codeAltered = "LogAltered"

// logCommand is ajard log verify, export and key.
func logCommand(ctx context.Context, e env, args []string) error {
	subs := map[string]func(context.Context, env, []string) error{"verify": logVerify, "export": logExport, "key": logKey}
	if len(args) == 0 || subs[args[0]] == nil {
		fmt.Fprintln(e.stderr, "usage: ajard log verify | export | key [-c FILE]")
		return fmt.Errorf("%w: log takes verify, export or key", errUsage)
	}
	return subs[args[0]](ctx, e, args[1:])
}

// openLog opens the store for reading and the log's public key.
func openLog(ctx context.Context, e env, path string) (*store.Store, ed25519.PublicKey, error) {
	c, err := loadConfig(path, e.getenv)
	if err != nil {
		return nil, nil, err
	}
	s, err := openExisting(ctx, c, e, newLog(c, e), nil)
	if err != nil {
		return nil, nil, err
	}
	key, err := authn.LogPublicKey(ctx, s)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read the log's key: %w", err), s.Close())
	}
	return s, key, nil
}

func logVerify(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "log verify", "[-file EXPORT -key KEY] [-known POSITION:HEAD]")
	file := fs.String("file", "", "verify this `export` instead of the database")
	keyText := fs.String("key", "", "the log's public `key` (ajard log key), for -file; without it signatures are not checked")
	knownText := fs.String("known", "", "a `position:head` that an earlier check printed, to find a log that was cut short")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	known, err := parseKnown(*knownText)
	if err != nil {
		return err
	}
	var seen store.Verified
	if *file != "" {
		seen, err = verifyFile(*file, *keyText, known)
	} else {
		var s *store.Store
		var key ed25519.PublicKey
		if s, key, err = openLog(ctx, e, *path); err != nil {
			return err
		}
		defer s.Close()
		seen, err = store.VerifyLog(ctx, s, key, 0, known...)
	}
	var broken *store.Broken
	if errors.As(err, &broken) {
		return &ajar.Error{Kind: ajar.Conflict, Code: codeAltered, Msg: broken.Error(), Err: err}
	} else if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "the log is whole: events %d to %d in %d batches, %d of them signed\nkeep this to find a truncation later: -known %d:%x\n",
		seen.First, seen.Last, seen.Batches, seen.Signed, seen.Last, seen.Head)
	return nil
}

func verifyFile(path, keyText string, known []ajar.Batch) (store.Verified, error) {
	var key ed25519.PublicKey
	if keyText != "" {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keyText))
		if err != nil || len(b) != ed25519.PublicKeySize {
			return store.Verified{}, fmt.Errorf("%w: -key is not an Ed25519 public key in base64", errUsage)
		}
		key = b
	}
	f, err := os.Open(path)
	if err != nil {
		return store.Verified{}, err
	}
	defer f.Close()
	return store.VerifyStream(f, key, known...)
}

func parseKnown(text string) ([]ajar.Batch, error) {
	if text == "" {
		return nil, nil
	}
	pos, head, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(pos, 10, 64)
	h, herr := hex.DecodeString(head)
	if err != nil || herr != nil || n < 1 || len(h) != 32 {
		return nil, fmt.Errorf("%w: -known is not of the form POSITION:HEAD as an earlier check printed it", errUsage)
	}
	return []ajar.Batch{{Last: n, Head: h}}, nil
}

func logKey(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "log key", "")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	s, key, err := openLog(ctx, e, *path)
	if err != nil {
		return err
	}
	defer s.Close()
	fmt.Fprintln(e.stdout, base64.StdEncoding.EncodeToString(key))
	return nil
}

func logExport(ctx context.Context, e env, args []string) error {
	fs, path := flags(e, "log export", "[-from POSITION]")
	from := fs.Int64("from", 1, "the first `position`")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	s, _, err := openLog(ctx, e, *path)
	if err != nil {
		return err
	}
	defer s.Close()
	w := bufio.NewWriter(e.stdout)
	return errors.Join(store.ExportLog(ctx, s, *from, w), w.Flush())
}

// exportLog writes the log for the REST surface: one line for each link of the chain, with the stored bytes of its
// events as text, so that a client checks link by link.
func exportLog(ctx context.Context, s ajar.Store, from int64, w io.Writer) error {
	l := &linker{w: bufio.NewWriterSize(w, 64<<10)}
	if err := store.ExportLog(ctx, s, from, l); err != nil {
		return err
	}
	return l.w.Flush()
}

// linker turns the store's export, events and then their link, into lines that hold both.
type linker struct {
	w      *bufio.Writer
	part   []byte // of a line that has not ended
	events []string
}

// exported is one link with its events.
type exported struct {
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	Head      string   `json:"head"`
	Signature []byte   `json:"signature,omitempty"`
	Events    []string `json:"events"`
}

// Write implements io.Writer.
func (l *linker) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		line, more, ended := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line...)
		if !ended {
			break
		}
		rest = more
		if err := l.line(l.part); err != nil {
			return 0, err
		}
		l.part = l.part[:0]
	}
	return len(b), nil
}

func (l *linker) line(b []byte) error {
	var link struct {
		First, Last int64
		Head        []byte
		Signature   []byte
	}
	if err := json.Unmarshal(b, &link); err != nil {
		return fmt.Errorf("read the export: %w", err)
	}
	if link.First == 0 { // an event: it has a position and no first
		l.events = append(l.events, string(b))
		return nil
	}
	events := l.events
	l.events = nil
	if len(events) == 0 {
		return nil // the link before the first that was asked for
	}
	enc := json.NewEncoder(l.w)
	enc.SetEscapeHTML(false)
	return enc.Encode(exported{link.First, link.Last, hex.EncodeToString(link.Head), link.Signature, events})
}
