package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/ajar-access/ajar"
	"pgregory.net/rapid"
)

// model is what a Store keeps of leases, as a map.
type model struct {
	leases map[string]ajar.Lease
	events []string
	seq    int64
}

func (m *model) clone() *model {
	return &model{maps.Clone(m.leases), slices.Clone(m.events), m.seq}
}

// testModel runs random Updates, some of which refuse in the end, against the Store and a map.
func testModel(t *testing.T, s *suite) {
	run := 0
	rapid.Check(t, func(r *rapid.T) {
		run++
		m := &model{leases: map[string]ajar.Lease{}}
		prefix := fmt.Sprintf("run%d-", run)
		r.Repeat(map[string]func(*rapid.T){
			"update": func(r *rapid.T) {
				ops := rapid.SliceOfN(rapid.Custom(drawOp), 1, 5).Draw(r, "ops")
				refuse := rapid.Bool().Draw(r, "refuse")
				next := m.clone()
				err := s.s.Update(context.Background(), func(tx ajar.Tx) error {
					next = m.clone()
					for _, o := range ops {
						if err := o.apply(tx, next, prefix); err != nil {
							return err
						}
					}
					if refuse {
						return errNo
					}
					return nil
				})
				if err == nil {
					m = next
				} else if !errors.Is(err, errNo) {
					r.Fatal(err)
				}
			},
			"": func(r *rapid.T) {
				if err := m.check(s.s, prefix); err != nil {
					r.Fatal(err)
				}
			},
		})
	})
}

// op is one step of an Update.
type op struct {
	What  string
	Key   string
	State ajar.LeaseState
	Owner string
	Stale bool
}

func drawOp(r *rapid.T) op {
	return op{
		What:  rapid.SampledFrom([]string{"put", "put", "put", "delete", "log"}).Draw(r, "what"),
		Key:   rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(r, "key"),
		State: rapid.SampledFrom(ajar.LeaseStates).Draw(r, "state"),
		Owner: rapid.SampledFrom([]string{"alice", "bob"}).Draw(r, "owner"),
		Stale: rapid.IntRange(0, 4).Draw(r, "stale") == 0,
	}
}

// apply does the step in both worlds and compares the answers.
func (o op) apply(tx ajar.Tx, m *model, prefix string) error {
	key := prefix + o.Key
	have, exists := m.leases[key]
	switch o.What {
	case "log":
		m.events = append(m.events, key)
		return tx.Append(ajar.Event{Time: noon, Action: "model", Corr: prefix, Message: key})
	case "delete":
		err := tx.Delete(ajar.KindLease, key)
		if exists != (err == nil) || (!exists && !errors.Is(err, ajar.NotFound)) {
			return fmt.Errorf("delete %s, which exists: %v; got %v", key, exists, err)
		}
		delete(m.leases, key)
		return nil
	}
	l := lease(key)
	l.Endpoint, l.State, l.Requester, l.Rev = ajar.EndpointID(prefix), o.State, ajar.PrincipalID(o.Owner), have.Rev
	if o.Stale {
		l.Rev++
	}
	err := tx.Put(l)
	if o.Stale {
		if !errors.Is(err, ajar.Conflict) {
			return fmt.Errorf("put %s at rev %d instead of %d: got %v, want Conflict", key, l.Rev, have.Rev, err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if l.Rev != have.Rev+1 || l.Seq <= m.seq {
		return fmt.Errorf("put %s: rev %d and seq %d after %d and %d", key, l.Rev, l.Seq, have.Rev, m.seq)
	}
	m.seq = l.Seq
	m.leases[key] = *l
	return nil
}

// check compares what both know.
func (m *model) check(s ajar.Store, prefix string) error {
	return s.View(context.Background(), func(tx ajar.Tx) error {
		for _, f := range []ajar.Filter{{}, {States: []string{"Open", "Closing"}}, {States: []string{"Closed"}}, {Owner: "bob"}} {
			f.Ref = prefix
			ls, _, err := ajar.List[ajar.Lease](tx, f)
			if err != nil {
				return err
			}
			got, want := map[string]string{}, map[string]string{}
			for _, l := range ls {
				got[string(l.ID)] = fmt.Sprint(l.Rev, l.Seq, l.State, l.Requester)
			}
			for k, l := range m.leases {
				if (f.Owner == "" || f.Owner == l.Requester) && (f.States == nil || slices.Contains(f.States, string(l.State))) {
					want[k] = fmt.Sprint(l.Rev, l.Seq, l.State, l.Requester)
				}
			}
			if !maps.Equal(got, want) {
				return fmt.Errorf("%+v: the store has %v, the model %v", f, got, want)
			}
		}
		events, err := tx.Events(ajar.EventFilter{Corr: prefix, Ascending: true, Limit: 1000})
		if err != nil {
			return err
		}
		var got []string
		for _, e := range events {
			got = append(got, e.Message)
		}
		if !slices.Equal(got, m.events) {
			return fmt.Errorf("the store has logged %v, the model %v", got, m.events)
		}
		return nil
	})
}
