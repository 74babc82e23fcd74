package client_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// writeChain makes a log of n commits of two events each, as the plane writes them.
func writeChain(key ed25519.PrivateKey, n int) []client.ExportedBatch {
	var all []client.ExportedBatch
	var head []byte
	for i := range n {
		b := client.ExportedBatch{Link: client.Link{First: int64(2*i + 1), Last: int64(2*i + 2)}}
		h := sha256.New()
		h.Write(head)
		for p := b.First; p <= b.Last; p++ {
			e := fmt.Sprintf(`{"pos":%d,"action":"test"}`, p)
			sum := sha256.Sum256([]byte(e))
			h.Write(sum[:])
			b.Events = append(b.Events, e)
		}
		head = h.Sum(nil)
		b.Head, b.Signature = head, ed25519.Sign(key, head)
		all = append(all, b)
	}
	return all
}

func check(key ed25519.PublicKey, all []client.ExportedBatch) (*client.Chain, error) {
	c := &client.Chain{Key: key}
	for _, b := range all {
		if err := c.Add(b); err != nil {
			return c, err
		}
	}
	return c, nil
}

func TestChainFindsEveryCutAndEdit(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	whole := writeChain(key, 4)
	if c, err := check(pub, whole); err != nil || c.Last != 8 || c.SignedTo != 8 || c.Batches != 4 {
		t.Fatalf("an honest log: %v, %+v", err, c)
	}
	for name, harm := range map[string]func([]client.ExportedBatch) []client.ExportedBatch{
		"an event changed": func(a []client.ExportedBatch) []client.ExportedBatch {
			a[1].Events[0] = strings.Replace(a[1].Events[0], "test", "lied", 1)
			return a
		},
		"an event cut out":  func(a []client.ExportedBatch) []client.ExportedBatch { a[1].Events = a[1].Events[:1]; return a },
		"a commit cut out":  func(a []client.ExportedBatch) []client.ExportedBatch { return slices.Delete(a, 1, 2) },
		"the start cut off": func(a []client.ExportedBatch) []client.ExportedBatch { return a[1:] },
		"commits exchanged": func(a []client.ExportedBatch) []client.ExportedBatch { a[1], a[2] = a[2], a[1]; return a },
		"events exchanged": func(a []client.ExportedBatch) []client.ExportedBatch {
			slices.Reverse(a[1].Events)
			return a
		},
		"another's signature": func(a []client.ExportedBatch) []client.ExportedBatch {
			_, thief, _ := ed25519.GenerateKey(nil)
			return writeChain(thief, 4)
		},
		"no events": func(a []client.ExportedBatch) []client.ExportedBatch { a[1].Events = nil; return a },
	} {
		_, err := check(pub, harm(writeChain(key, 4)))
		var e *ajar.Error
		if !errors.As(err, &e) || e.Code != client.Altered {
			t.Errorf("%s: got %v, want it found", name, err)
		}
	}
}

func TestUnsignedTailIsTold(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(nil)
	all := writeChain(key, 3)
	all[2].Signature = nil
	c, err := check(pub, all)
	if err != nil || c.SignedTo != 4 || c.Last != 6 {
		t.Errorf("got %v, signed to %d of %d", err, c.SignedTo, c.Last)
	}
	all[0].Signature = nil // a later signature vouches for it
	all[2] = writeChain(key, 3)[2]
	if c, err = check(pub, all); err != nil || c.SignedTo != 6 {
		t.Errorf("got %v, signed to %d", err, c.SignedTo)
	}
}

// ajard's own export has an event a line and its batches between them.
func TestBothExportsAreRead(t *testing.T) {
	pub, key, _ := ed25519.GenerateKey(nil)
	var ours, ajards strings.Builder
	for _, b := range writeChain(key, 3) {
		line, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		ours.Write(append(line, '\n'))
		for _, e := range b.Events {
			ajards.WriteString(e + "\n")
		}
		head, sig := base64.StdEncoding.EncodeToString(b.Head), base64.StdEncoding.EncodeToString(b.Signature)
		fmt.Fprintf(&ajards, `{"first":%d,"last":%d,"head":%q,"signature":%q}`+"\n", b.First, b.Last, head, sig)
	}
	for name, text := range map[string]string{"ajar": ours.String(), "ajard": ajards.String()} {
		c := &client.Chain{Key: pub}
		for b, err := range client.ReadExport(strings.NewReader(text)) {
			if err == nil {
				err = c.Add(b)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if c.SignedTo != 6 {
			t.Errorf("%s: read to %d", name, c.SignedTo)
		}
	}
	cut := ajards.String()[:strings.LastIndex(strings.TrimSpace(ajards.String()), "\n")]
	var last error
	for _, err := range client.ReadExport(strings.NewReader(cut)) {
		last = err
	}
	if last == nil {
		t.Error("events without a batch were taken")
	}
}

func FuzzReadExport(f *testing.F) {
	f.Add(`{"first":1,"last":1,"head":"00","signature":"AA==","events":["{\"pos\":1}"]}`)
	f.Add("\n\n{}\n[]")
	f.Fuzz(func(t *testing.T, s string) {
		c := &client.Chain{}
		for b, err := range client.ReadExport(strings.NewReader(s)) {
			if err != nil {
				break
			}
			if c.Add(b) == nil && len(b.Events) == 0 {
				t.Fatal("a commit without events was taken")
			}
		}
	})
}
