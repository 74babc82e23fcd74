package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func (s *suite) log(events ...ajar.Event) {
	s.Helper()
	s.update(func(tx ajar.Tx) error {
		for _, e := range events {
			if err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *suite) events(f ajar.EventFilter) (events []*ajar.Event) {
	s.Helper()
	s.view(func(tx ajar.Tx) (err error) {
		events, err = tx.Events(f)
		return err
	})
	return events
}

// all reads the whole log, oldest first.
func (s *suite) all() (events []*ajar.Event) {
	s.Helper()
	for after := int64(0); ; {
		page := s.events(ajar.EventFilter{After: after, Ascending: true, Limit: 1000})
		if len(page) == 0 {
			return events
		}
		events = append(events, page...)
		after = page[len(page)-1].Pos
	}
}

func testPositions(_ *testing.T, s *suite) {
	const writers, rounds = 16, 20
	s.together(writers, func(ctx context.Context, i int) error {
		for j := range rounds {
			err := s.s.Update(ctx, func(tx ajar.Tx) error {
				for k := range 1 + j%3 {
					if err := tx.Append(ajar.Event{Time: noon, Action: "a", Corr: fmt.Sprint(i), Message: fmt.Sprint(j, ".", k)}); err != nil {
						return err
					}
				}
				if (i+j)%5 == 0 {
					return errNo
				}
				return nil
			})
			if err != nil && (i+j)%5 != 0 {
				return err
			}
		}
		return nil
	})
	last := map[string]string{}
	for i, e := range s.all() {
		if e.Pos != int64(i)+1 {
			s.Fatalf("event %d has position %d", i+1, e.Pos)
		}
		var was, is int
		fmt.Sscan(last[e.Corr], &was)
		fmt.Sscan(e.Message, &is)
		if is < was {
			s.Errorf("position %d: writer %s logged %q after %q", e.Pos, e.Corr, e.Message, last[e.Corr])
		}
		last[e.Corr] = e.Message
	}
}

func testEventFilters(_ *testing.T, s *suite) {
	at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	s.log(ajar.Event{Time: at(0), Action: ajar.PolicyWrite, Outcome: ajar.Accepted, Scope: "/a/b", Caller: "alice", Corr: "c1"})
	s.log(ajar.Event{Time: at(1), Action: ajar.PolicyInitiate, Outcome: ajar.Accepted, Scope: "/a/b/c", Caller: "bob", Corr: "c2", Request: "r1"})
	s.log(ajar.Event{Time: at(3), Action: ajar.LeaseOpened, Outcome: ajar.Happened, Scope: "/A/B/C", Corr: "c2", Request: "r1"},
		ajar.Event{Time: at(2), Action: ajar.PolicyInitiate, Outcome: ajar.Refused, Scope: "/a/bb", Caller: "bob", Corr: "c3"})
	for _, c := range []struct {
		what string
		f    ajar.EventFilter
		want string
	}{
		{"all, newest first", ajar.EventFilter{}, "4321"},
		{"oldest first", ajar.EventFilter{Ascending: true}, "1234"},
		{"limit", ajar.EventFilter{Limit: 2}, "43"},
		{"scope", ajar.EventFilter{Scope: "/a/b"}, "321"},
		{"scope of any case", ajar.EventFilter{Scope: "/a/B/c"}, "32"},
		{"root", ajar.EventFilter{Scope: "/"}, "4321"},
		{"caller", ajar.EventFilter{Caller: "bob"}, "42"},
		{"action of any case", ajar.EventFilter{Action: ajar.Action(strings.ToUpper(string(ajar.PolicyInitiate)))}, "42"},
		{"outcome", ajar.EventFilter{Outcome: ajar.Refused}, "4"},
		{"correlation", ajar.EventFilter{Corr: "c2"}, "32"},
		{"request", ajar.EventFilter{Request: "r1"}, "32"},
		{"since", ajar.EventFilter{Since: at(2)}, "43"},
		{"before", ajar.EventFilter{Before: at(2)}, "21"},
		{"after a position", ajar.EventFilter{After: 2}, "43"},
		{"until a position", ajar.EventFilter{Until: 3}, "21"},
		{"several", ajar.EventFilter{Scope: "/a", Caller: "bob", Outcome: ajar.Accepted, Since: at(1)}, "2"},
		{"none", ajar.EventFilter{Caller: "carol"}, ""},
		{"hostile", ajar.EventFilter{Corr: "\x00' OR ''='", Caller: "\xff"}, ""},
	} {
		var got strings.Builder
		for _, e := range s.events(c.f) {
			fmt.Fprint(&got, e.Pos)
		}
		same(s, c.what, got.String(), c.want)
	}
}

func testEventRoundTrip(_ *testing.T, s *suite) {
	e := ajar.Event{
		Time: time.Date(2026, 11, 20, 13, 0, 0, 123456789, time.FixedZone("east", 3600)), Action: ajar.PolicyInitiate, Outcome: ajar.Refused,
		Scope: machine("G", "VM"), Caller: "alice", Name: "Alice <a&b>", From: netip.MustParseAddr("2001:db8::1"), Via: "arm", Corr: "c", By: "r",
		Kind: ajar.Invalid, Message: "no: \"quoted\" ü 🙂", Request: "r", Lease: "l", Endpoint: "e", Details: map[string]string{"b": "2", "a": "1"}, Principal: "p",
	}
	s.log(e)
	e.Pos, e.Time = 1, time.Date(2026, 11, 20, 12, 0, 0, 123000000, time.UTC)
	if diff := cmp.Diff(&e, s.all()[0], cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		s.Errorf("what was logged and what is read differ (-logged +read):\n%s", diff)
	}
	s.refused(ajar.Invalid, func(tx ajar.Tx) error { return tx.Append(ajar.Event{Message: strings.Repeat("x", 2<<20)}) })
}

// A refusal is recorded whatever nonsense the caller sent.
func testHostileEvents(_ *testing.T, s *suite) {
	s.log(ajar.Event{Time: noon, Action: "a\x00\xff", Scope: ajar.ID("/" + strings.Repeat("x\x00", 5000)), Caller: "\x00", Corr: strings.Repeat("ü", 5000),
		Request: "\xff", Name: "a\x00b\xffc", Message: "line\nbreak"})
	same(s, "events with that correlation", len(s.events(ajar.EventFilter{Corr: strings.Repeat("ü", 5000)})), 1)
	same(s, "events", len(s.all()), 1)
}

// The chain is what event.go says it is, computed here once more.
func testChain(_ *testing.T, s *suite) {
	s.together(8, func(ctx context.Context, i int) error {
		for range 10 {
			err := s.s.Update(ctx, func(tx ajar.Tx) error {
				if err := tx.Append(ajar.Event{Time: noon, Action: "a", Message: fmt.Sprint(i)}); err != nil {
					return err
				}
				return tx.Append(ajar.Event{Time: noon, Action: "b"})
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	events := s.all()
	var batches []ajar.Batch
	s.view(func(tx ajar.Tx) (err error) {
		batches, err = tx.Batches(1, 1000)
		return err
	})
	next, head := int64(1), []byte{}
	for _, b := range batches {
		if b.First != next || b.Last < b.First {
			s.Fatalf("a batch from %d to %d follows position %d", b.First, b.Last, next-1)
		}
		chain := sha256.New()
		chain.Write(head)
		for _, e := range events[b.First-1 : b.Last] {
			body, err := json.Marshal(e)
			if err != nil {
				s.Fatal(err)
			}
			sum := sha256.Sum256(body)
			chain.Write(sum[:])
		}
		head, next = chain.Sum(nil), b.Last+1
		if !bytes.Equal(head, b.Head) {
			s.Fatalf("the head of the batch from %d to %d is not that of its events", b.First, b.Last)
		}
	}
	same(s, "positions in batches", next-1, int64(len(events)))
	s.view(func(tx ajar.Tx) error {
		middle, err := tx.Batches(batches[len(batches)/2].Last, 1)
		if err == nil {
			same(s, "the batch that holds a position", middle[0].Last, batches[len(batches)/2].Last)
		}
		none, err := tx.Batches(next, 1)
		same(s, "batches behind the end", len(none), 0)
		return err
	})
}
