package store_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

var (
	logKey   = ed25519.NewKeyFromSeed([]byte("a seed of thirty-two bytes here!"))
	otherKey = ed25519.NewKeyFromSeed([]byte("some other seed of 32 bytes ....")).Public().(ed25519.PublicKey)
	logPub   = logKey.Public().(ed25519.PublicKey)
)

// written is a signed log of n events in batches of two, the first batch without a signature, and its export.
func written(t *testing.T, s *store.Store, n int) string {
	t.Helper()
	for i := range n / 2 {
		if i == 1 {
			s.SetSigner(func(head []byte) []byte { return ed25519.Sign(logKey, head) })
		}
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			return errors.Join(
				tx.Append(ajar.Event{Time: start, Action: ajar.PolicyInitiate, Outcome: ajar.Accepted, Caller: "alice", Message: fmt.Sprint("event ", i, " & <more>")}),
				tx.Append(ajar.Event{Time: start, Action: ajar.LeaseOpened, Outcome: ajar.Happened}))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return exported(t, s, 0)
}

func exported(t *testing.T, s ajar.Store, from int64) string {
	t.Helper()
	var b bytes.Buffer
	if err := store.ExportLog(t.Context(), s, from, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// plain hides everything of a Store but the interface.
type plain struct{ ajar.Store }

func (p plain) View(ctx context.Context, fn func(ajar.Tx) error) error {
	return p.Store.View(ctx, func(tx ajar.Tx) error { return fn(struct{ ajar.Tx }{tx}) })
}

func TestLogVerifies(t *testing.T) {
	for name, s := range map[string]*store.Store{"sqlite": openSQLite(t), "postgres": openPostgres(t)} {
		t.Run(name, func(t *testing.T) {
			text := written(t, s, 300)
			for how, verify := range map[string]func(known ...ajar.Batch) (store.Verified, error){
				"in the store": func(known ...ajar.Batch) (store.Verified, error) {
					return store.VerifyLog(t.Context(), s, logPub, 0, known...)
				},
				"through the interface": func(known ...ajar.Batch) (store.Verified, error) {
					return store.VerifyLog(t.Context(), plain{s}, logPub, 0, known...)
				},
				"exported": func(known ...ajar.Batch) (store.Verified, error) {
					return store.VerifyStream(strings.NewReader(text), logPub, known...)
				},
			} {
				v, err := verify()
				if err != nil || v.First != 1 || v.Last != 300 || v.Batches != 150 || v.Signed != 149 {
					t.Errorf("%s: saw %+v, %v", how, v, err)
				}
				if _, err := verify(ajar.Batch{Last: v.Last, Head: v.Head}); err != nil {
					t.Errorf("%s, with its own head: %v", how, err)
				}
				_, err = verify(ajar.Batch{Last: 302, Head: v.Head})
				wantBroken(t, how+", cut off at its end", err, 301)
				_, err = verify(ajar.Batch{Last: 300, Head: make([]byte, 32)})
				wantBroken(t, how+", written anew", err, 299)
			}
			if v, err := store.VerifyLog(t.Context(), s, logPub, 200); err != nil || v.First != 199 || v.Last != 300 {
				t.Errorf("from 200 on: saw %+v, %v", v, err)
			}
			if v, err := store.VerifyStream(strings.NewReader(exported(t, s, 200)), logPub); err != nil || v.First != 199 || v.Last != 300 {
				t.Errorf("exported from 200 on: saw %+v, %v", v, err)
			}
			_, err := store.VerifyLog(t.Context(), s, otherKey, 0)
			wantBroken(t, "another key", err, 3)
		})
	}
	s := openSQLite(t)
	if v, err := store.VerifyLog(t.Context(), s, logPub, 0); err != nil || v.Last != 0 {
		t.Errorf("an empty log: saw %+v, %v", v, err)
	}
}

func wantBroken(t *testing.T, what string, err error, pos int64) {
	t.Helper()
	var b *store.Broken
	if !errors.As(err, &b) {
		t.Errorf("%s: got %v, want a broken log", what, err)
	} else if b.Pos != pos {
		t.Errorf("%s: found at %d (%v), want %d", what, b.Pos, err, pos)
	}
}

// Three lines make a batch: two events and the batch itself. Positions 5 and 6 and their batch are lines 6, 7 and 8.
func TestTamperedExportIsFound(t *testing.T) {
	text := written(t, openSQLite(t), 20)
	v, err := store.VerifyStream(strings.NewReader(text), logPub)
	if err != nil {
		t.Fatal(err)
	}
	known := ajar.Batch{Last: v.Last, Head: v.Head}
	for what, c := range map[string]struct {
		pos  int64
		edit func(lines []string) []string
	}{
		"an event edited":               {5, func(l []string) []string { l[6] = strings.Replace(l[6], "alice", "mallory", 1); return l }},
		"one byte more":                 {5, func(l []string) []string { l[6] = strings.Replace(l[6], "{", "{ ", 1); return l }},
		"an event cut out":              {5, func(l []string) []string { return slices.Delete(l, 6, 7) }},
		"the last of a batch cut out":   {6, func(l []string) []string { return slices.Delete(l, 7, 8) }},
		"two events swapped":            {5, func(l []string) []string { l[6], l[7] = l[7], l[6]; return l }},
		"an event twice":                {6, func(l []string) []string { return slices.Insert(l, 6, l[6]) }},
		"an event from elsewhere":       {7, func(l []string) []string { return slices.Insert(l, 8, l[0]) }},
		"a batch cut out":               {5, func(l []string) []string { return slices.Delete(l, 6, 9) }},
		"two batches swapped":           {5, func(l []string) []string { return slices.Concat(l[:6], l[9:12], l[6:9], l[12:]) }},
		"a batch twice":                 {5, func(l []string) []string { return slices.Insert(l, 9, slices.Clone(l[6:9])...) }},
		"a batch's line cut out":        {5, func(l []string) []string { return slices.Delete(l, 8, 9) }},
		"a head changed":                {5, func(l []string) []string { l[8] = swapField(l[8], l[11], "head"); return l }},
		"a signature from elsewhere":    {5, func(l []string) []string { l[8] = swapField(l[8], l[11], "signature"); return l }},
		"a signature removed":           {5, func(l []string) []string { l[8] = l[8][:strings.Index(l[8], `,"signature"`)] + "}"; return l }},
		"an event that is no JSON":      {5, func(l []string) []string { l[6] = "rubbish"; return l }},
		"the end cut off":               {19, func(l []string) []string { return l[:len(l)-3] }},
		"the end cut off inside":        {19, func(l []string) []string { return l[:len(l)-1] }},
		"the unsigned beginning edited": {1, func(l []string) []string { l[0] = strings.Replace(l[0], "alice", "mallory", 1); return l }},
		"the beginning cut off":         {1, func(l []string) []string { return l[3:] }},
	} {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		_, err := store.VerifyStream(strings.NewReader(strings.Join(c.edit(lines), "\n")), logPub, known)
		wantBroken(t, what, err, c.pos)
	}
}

// swapField gives line the value that from has in a field.
func swapField(line, from, field string) string {
	value := func(s string) string {
		_, s, _ = strings.Cut(s, `"`+field+`":"`)
		s, _, _ = strings.Cut(s, `"`)
		return s
	}
	return strings.Replace(line, value(line), value(from), 1)
}

// A log that was written anew from some position on, hashes and all, by somebody without the key.
func TestRewrittenLogIsFound(t *testing.T) {
	good, forged := openSQLite(t), openSQLite(t)
	text := written(t, good, 20)
	v, err := store.VerifyStream(strings.NewReader(text), logPub)
	if err != nil {
		t.Fatal(err)
	}
	forged.SetSigner(nil)
	for range 20 {
		if err := forged.Update(t.Context(), func(tx ajar.Tx) error { return tx.Append(ajar.Event{Time: start, Action: "nothing happened"}) }); err != nil {
			t.Fatal(err)
		}
	}
	fake := exported(t, forged, 0)
	if _, err := store.VerifyStream(strings.NewReader(fake), nil); err != nil {
		t.Fatalf("the forgery is not even consistent: %v", err)
	}
	_, err = store.VerifyStream(strings.NewReader(fake), logPub)
	wantBroken(t, "without the key nothing is signed", err, 1)
	_, err = store.VerifyStream(strings.NewReader(fake), nil, ajar.Batch{Last: v.Last, Head: v.Head})
	wantBroken(t, "the head was known", err, 20)
}
