package client

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/ajar-access/ajar"
)

// Hex is bytes that are written in hexadecimal.
type Hex []byte

// MarshalText writes them.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

// UnmarshalText reads them, also in base64, as ajard's own exports have them.
func (h *Hex) UnmarshalText(b []byte) (err error) {
	if len(b) == base64.StdEncoding.EncodedLen(sha256.Size) {
		*h, err = base64.StdEncoding.DecodeString(string(b))
		return err
	}
	*h, err = hex.DecodeString(string(b))
	return err
}

// Altered is the Code of an error that says the log is not what it was.
const Altered = "LogAltered"

// Chain checks the log's chain link by link. Head is SHA-256(previous head ‖ SHA-256 of each event's stored bytes, in
// order), signed with Ed25519, so nobody without the key changes, removes or adds an event unseen; a cut tail is seen
// by whoever remembers a later head.
type Chain struct {
	Key  ed25519.PublicKey // nil = signatures are not checked
	Last int64             // position of the last event that was added
	Head []byte            // after it

	SignedTo int64 // the last event that a good signature vouches for, itself or through a later head

	Events, Batches int64
}

// Add checks the next link and takes it in.
func (c *Chain) Add(b ExportedBatch) error {
	bad := func(format string, a ...any) error {
		return &ajar.Error{Kind: ajar.Conflict, Code: Altered, Msg: fmt.Sprintf(format, a...)}
	}
	switch {
	case b.First != c.Last+1:
		return bad("events %d to %d are missing", c.Last+1, b.First-1)
	case b.Last-b.First+1 != int64(len(b.Events)) || len(b.Events) == 0:
		return bad("events %d to %d should be %d, but %d are there", b.First, b.Last, b.Last-b.First+1, len(b.Events))
	}
	h := sha256.New()
	h.Write(c.Head)
	for i, e := range b.Events {
		var at struct {
			Pos int64 `json:"pos"`
		}
		if err := json.Unmarshal([]byte(e), &at); err != nil || at.Pos != b.First+int64(i) {
			return bad("event %d is not in its place", b.First+int64(i))
		}
		sum := sha256.Sum256([]byte(e))
		h.Write(sum[:])
	}
	head := h.Sum(nil)
	if !bytes.Equal(head, b.Head) {
		return bad("events %d to %d are not as they were written: their hash is another one", b.First, b.Last)
	}
	if c.Key != nil && len(b.Signature) > 0 {
		if !ed25519.Verify(c.Key, b.Head, b.Signature) {
			return bad("the signature of events %d to %d is not the plane's", b.First, b.Last)
		}
		c.SignedTo = b.Last
	}
	c.Last, c.Head = b.Last, head
	c.Events += int64(len(b.Events))
	c.Batches++
	return nil
}
