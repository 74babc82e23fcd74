package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ajar-access/ajar"
)

// The bytes of events are chained; what lists find them by stands beside them, and is compared.
func TestEventsThatListsDoNotFindAreFound(t *testing.T) {
	drop := map[string]string{
		"sqlite":   "DROP TRIGGER events_update; DROP TRIGGER event_keys_delete; DROP TRIGGER event_keys_update; ",
		"postgres": "DROP TRIGGER events_guard ON events; DROP TRIGGER event_keys_guard ON event_keys; ",
	}
	for what, q := range map[string]string{
		"another caller":   "UPDATE events SET caller = 'mallory' WHERE pos = 4",
		"another time":     "UPDATE events SET time = time + 1 WHERE pos = 4",
		"another action":   "UPDATE events SET action = 'b' WHERE pos = 4",
		"another outcome":  "UPDATE events SET outcome = 'Accepted' WHERE pos = 4",
		"another scope":    "UPDATE events SET scope = '/x/' WHERE pos = 4",
		"another call":     "UPDATE events SET corr = '' WHERE pos = 4",
		"another request":  "UPDATE events SET request = '' WHERE pos = 4",
		"no caller's key":  "DELETE FROM event_keys WHERE pos = 4 AND field = 3",
		"no scope's key":   "DELETE FROM event_keys WHERE pos = 4 AND field = 2",
		"no outcome's key": "DELETE FROM event_keys WHERE pos = 4 AND field = 6",
		"no keys":          "DELETE FROM event_keys WHERE pos = 4",
		"another's keys":   "UPDATE event_keys SET value = 'mallory' WHERE pos = 4 AND field = 3",
		"no span":          "DELETE FROM event_spans",
	} {
		for name, dsn := range dsns(t) {
			s := mustOpen(t, dsn)
			for i := range 6 {
				err := s.Update(t.Context(), func(tx ajar.Tx) error {
					return tx.Append(ajar.Event{Action: "a", Outcome: ajar.Refused, Caller: "alice", Scope: "/subscriptions/1", Corr: fmt.Sprint(i), Request: "r",
						Message: "not \xff text", Code: string([]byte{0xfe})})
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			eventually(t, name+" is indexed", func() bool {
				n, mark := indexed(t, s), int64(0)
				err := s.View(t.Context(), func(at ajar.Tx) (err error) {
					mark, err = refusedMark(t.Context(), at.(*tx).c)
					return err
				})
				return err == nil && n.indexed == n.pos && mark == n.pos
			})
			if v, err := VerifyLog(t.Context(), s, nil, 0); err != nil || v.Last != 6 {
				t.Fatalf("%s: as it was written: %+v, %v", name, v, err)
			}
			want := int64(4)
			if what == "no span" {
				want = 1
			}
			if err := raw(t, dsn, drop[name]+q); err != nil {
				t.Fatalf("%s, %s: %v", name, what, err)
			}
			_, err := VerifyLog(t.Context(), s, nil, 0)
			var b *Broken
			if !errors.As(err, &b) || b.Pos != want {
				t.Errorf("%s, %s: got %v, want it broken at %d", name, what, err, want)
			}
		}
	}
}

// What was not text, and what is longer than a column, is filed as it can be, and is no fault.
func TestWhatCannotBeFiledAsItIsIsNoFault(t *testing.T) {
	for name, dsn := range dsns(t) {
		s := mustOpen(t, dsn)
		long := "/subscriptions/" + string(make([]byte, 3)) + "ä\xff\xfe"
		for range 400 {
			long += "äö"
		}
		err := s.Update(t.Context(), func(tx ajar.Tx) error {
			return tx.Append(ajar.Event{Action: ajar.Action(long), Outcome: ajar.Refused, Caller: ajar.PrincipalID(long), Scope: ajar.ID(long), Corr: long, Request: "x\x00y"})
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyLog(t.Context(), s, nil, 0); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
