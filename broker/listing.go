package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// How many machines one transaction adds or changes, and how many it removes, each with its leases.
const (
	foundChunk = 200
	goneChunk  = 16
)

// BeginListing gives owner the listing of an origin for the time hold, if it is due and nobody else holds it (MachineWrite
// at its scope). Otherwise it is not ok, and l says when to ask again. It is a claim, and leaves no event.
func (b *Broker) BeginListing(ctx context.Context, who ajar.Caller, o ajar.Origin, owner string, hold time.Duration) (l *ajar.Listing, ok bool, err error) {
	at, err := scope(o.Scope)
	if err == nil {
		err = word("the provider", o.Provider, 64)
	}
	if err == nil && (o.Provider == "" || owner == "" || hold <= 0) {
		err = ajar.Errorf(ajar.Invalid, "a listing has a provider, and somebody who lists for a while")
	}
	if err != nil {
		return nil, false, err
	}
	o.Scope = at
	err = b.listing(ctx, who, o, func(t *txn) (err error) {
		ok = false
		if l, err = ajar.Get[ajar.Listing](t, o.Key()); errors.Is(err, ajar.NotFound) {
			l = &ajar.Listing{Origin: o}
		} else if err != nil {
			return err
		}
		if t.now.Before(l.Due) || (l.Owner != "" && l.Owner != owner && t.now.Before(l.Until)) {
			return nil
		}
		ok = true
		l.Round++
		l.Owner, l.Until = owner, t.now.Add(hold)
		return t.Put(l)
	})
	return l, ok && err == nil, err
}

// listing runs fn for who may change machines at the origin's scope, and records what it says happened.
func (b *Broker) listing(ctx context.Context, who ajar.Caller, o ajar.Origin, fn func(t *txn) error) error {
	var t *txn
	err := b.fresh(ctx, func(patient bool) error {
		return b.Store.Update(ctx, func(tx ajar.Tx) error {
			t = b.txn(tx, who)
			t.patient = patient
			t.event = t.newEvent(ajar.MachineWrite, o.Scope)
			if err := t.begin(); err != nil {
				return err
			}
			if err := t.need(ajar.MachineWrite, o.Scope); err != nil {
				return err
			}
			if err := fn(t); err != nil {
				return err
			}
			for _, e := range t.more {
				if err := t.Append(e); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if kind := ajar.KindOf(err); kind == ajar.Forbidden || kind == ajar.Unauthenticated {
		return b.refused(ctx, t, op{}, err)
	}
	return err
}

// held is the stored state of a listing, if whoever began it still holds it.
func (t *txn) held(l *ajar.Listing) (*ajar.Listing, error) {
	now, err := ajar.Get[ajar.Listing](t, l.Origin.Key())
	if err == nil && (now.Round != l.Round || now.Owner != l.Owner) {
		err = ajar.Errorf(ajar.Conflict, "somebody else lists %s of %s now", l.Scope, l.Provider)
	}
	return now, err
}

// Agree makes machines of what a listing found (MachineWrite at its scope): new ones appear, and those that it found
// earlier become as they are listed. What somebody else put or another listing found is left alone, and said to clash.
// Nothing goes for it. What is as it should be already costs no transaction.
func (b *Broker) Agree(ctx context.Context, who ajar.Caller, l *ajar.Listing, found []ajar.Found) (done ajar.Agreed, err error) {
	taken := make([]ajar.Found, 0, len(found))
	for _, f := range found {
		if err := checkFound(l, &f); err != nil {
			if done.Bad++; done.Bad == 1 {
				done.Why = ajar.Message(err)
			}
			continue
		}
		taken = append(taken, f)
	}
	for part := range slices.Chunk(taken, foundChunk) {
		if err := b.agree(ctx, who, l, part, &done); err != nil {
			return done, err
		}
	}
	return done, nil
}

func (b *Broker) agree(ctx context.Context, who ajar.Caller, l *ajar.Listing, part []ajar.Found, done *ajar.Agreed) error {
	var news []ajar.Found
	err := b.view(ctx, who, func(t *txn) error {
		news = nil
		if err := t.need(ajar.MachineWrite, l.Scope); err != nil {
			return err
		}
		for _, f := range part {
			n, err := t.seen(l, f)
			if err != nil {
				return err
			}
			if n.any() {
				news = append(news, f)
			}
		}
		return nil
	})
	if err != nil || len(news) == 0 {
		return err
	}
	var now ajar.Agreed
	err = b.do(ctx, who, op{action: ajar.MachineWrite, scope: l.Scope}, func(t *txn) error {
		now = ajar.Agreed{}
		if _, err := t.held(l); err != nil {
			return err
		}
		for _, f := range news {
			if err := t.takeIn(l, f, &now); err != nil {
				return err
			}
		}
		t.detail("provider", l.Provider)
		t.detail("found", strconv.Itoa(now.Found))
		t.detail("changed", strconv.Itoa(now.Changed))
		return nil
	})
	if err != nil {
		return err
	}
	done.Found, done.Changed, done.Clashes = done.Found+now.Found, done.Changed+now.Changed, done.Clashes+now.Clashes
	return nil
}

// checkFound refuses what cannot be a machine below the listing's scope, and puts the rest into the form it is kept in.
func checkFound(l *ajar.Listing, f *ajar.Found) error {
	m := ajar.Target{ID: f.ID, Location: f.Location, OS: f.OS, Addresses: f.Addresses, Tags: f.Tags}
	if err := checkTarget(&m); err != nil {
		return err
	}
	if !l.Scope.Covers(m.ID) {
		return ajar.Errorf(ajar.Invalid, "machine %s does not lie below %s, which is listed", m.ID, l.Scope)
	}
	slices.SortFunc(m.Addresses, netip.Addr.Compare)
	f.ID, f.Location, f.OS, f.Addresses = m.ID, m.Location, m.OS, slices.Compact(m.Addresses)
	f.Places = slices.Compact(slices.Sorted(slices.Values(f.Places)))
	if len(f.Places) > maxAddresses {
		return ajar.Errorf(ajar.Invalid, "machine %s has more than %d places where rules are enforced", m.ID, maxAddresses)
	}
	for _, p := range f.Places {
		if err := word("the place", p, 1024); err != nil || p == "" {
			return ajar.Errorf(ajar.Invalid, "a place where rules of machine %s are enforced has no name that can be kept", m.ID)
		}
	}
	return nil
}

// sighting is how a found machine compares with what is known.
type sighting struct {
	old     *ajar.Target
	clash   bool // it is somebody else's, which was not said yet
	changed []string
	fresh   []string         // places that have no endpoint yet
	lost    []*ajar.Endpoint // that are no longer listed
	back    []*ajar.Endpoint // that are again
}

func (s *sighting) any() bool {
	return s.old == nil || s.clash || len(s.changed)+len(s.fresh)+len(s.lost)+len(s.back) > 0
}

func (t *txn) seen(l *ajar.Listing, f ajar.Found) (s sighting, err error) {
	if s.old, err = t.oldTarget(f.ID); err != nil {
		return s, err
	}
	if s.old == nil {
		s.fresh = f.Places
		return s, nil
	}
	m := s.old
	if m.Finding.Origin.Key() != l.Origin.Key() {
		s.clash = m.Finding.Clash.Key() != l.Origin.Key()
		return s, nil
	}
	for _, x := range []struct {
		name string
		is   bool
	}{
		{"name", m.ID == f.ID}, {"location", m.Location == f.Location}, {"os", m.OS == f.OS},
		{"addresses", slices.Equal(m.Addresses, f.Addresses)}, {"tags", f.Tags == nil || maps.Equal(m.Tags, f.Tags)}, {"back", m.Finding.Missing.IsZero()},
	} {
		if !x.is {
			s.changed = append(s.changed, x.name)
		}
	}
	have := map[string]bool{}
	for _, id := range m.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if errors.Is(err, ajar.NotFound) {
			continue
		} else if err != nil {
			return s, err
		}
		if ep.Provider != l.Provider {
			continue
		}
		have[ep.Address] = true
		switch listed := slices.Contains(f.Places, ep.Address); {
		case !listed && (ep.Lost == 0 || ep.Lost < l.Round):
			s.lost = append(s.lost, ep)
		case listed && ep.Lost != 0:
			s.back = append(s.back, ep)
		}
	}
	for _, p := range f.Places {
		if !have[p] {
			s.fresh = append(s.fresh, p)
		}
	}
	return s, nil
}

// takeIn makes one machine as it was found.
func (t *txn) takeIn(l *ajar.Listing, f ajar.Found, done *ajar.Agreed) error {
	s, err := t.seen(l, f)
	if err != nil || !s.any() {
		return err
	}
	m := s.old
	switch {
	case s.clash:
		done.Clashes++
		m.Finding.Clash = l.Origin
		t.also(ajar.TargetClash, m.ID, func(e *ajar.Event) {
			e.Outcome, e.Message = ajar.Happened, fmt.Sprintf("provider %s lists a machine that is known from %s; it stays as it is", l.Provider, m.Source)
			e.Details = map[string]string{"provider": l.Provider, "scope": string(l.Scope), "source": m.Source}
		})
		return t.Put(m)
	case m == nil:
		done.Found++
		m = &ajar.Target{Source: l.Provider, Finding: ajar.Finding{Origin: l.Origin}, Created: t.now}
	default:
		done.Changed++
	}
	m.ID, m.Location, m.OS, m.Addresses = f.ID, f.Location, f.OS, f.Addresses
	if f.Tags != nil {
		m.Tags = f.Tags
	}
	m.Finding.Missing, m.Finding.Round, m.Finding.Kept = time.Time{}, 0, ""
	if err := t.placesOf(l, m, s); err != nil {
		return err
	}
	action := ajar.TargetChanged
	if s.old == nil {
		action = ajar.TargetFound
	}
	t.also(action, m.ID, func(e *ajar.Event) {
		e.Outcome, e.Details = ajar.Happened, map[string]string{"provider": l.Provider}
		for _, c := range s.changed {
			e.Details[c] = "changed"
		}
		if n := len(s.fresh) + len(s.lost) + len(s.back); n > 0 {
			e.Details["places"] = fmt.Sprintf("%d new, %d missing, %d again", len(s.fresh), len(s.lost), len(s.back))
		}
	})
	return t.Put(m)
}

// placesOf makes the endpoints of m those that were listed. One that two listings in a row lack goes, its leases closed
// unseen.
func (t *txn) placesOf(l *ajar.Listing, m *ajar.Target, s sighting) error {
	for _, ep := range s.back {
		ep.Lost = 0
		if err := t.Put(ep); err != nil {
			return err
		}
	}
	for _, ep := range s.lost {
		if ep.Lost != 0 {
			if err := t.dropHost(m, ep.ID, false); err != nil {
				return err
			}
			continue
		}
		ep.Lost = l.Round
		if err := t.Put(ep); err != nil {
			return err
		}
	}
	for _, place := range s.fresh {
		ep := &ajar.Endpoint{ID: ajar.EndpointID(strings.ToLower(t.b.NewID())), Provider: l.Provider, Target: m.ID, Address: place}
		for _, p := range m.Policies {
			if err := t.guardFor(ep, p); err != nil {
				return err
			}
		}
		if err := t.Put(ep); err != nil {
			return err
		}
		if err := t.due(ep.ID); err != nil {
			return err
		}
		m.Endpoints = append(m.Endpoints, ep.ID)
	}
	return nil
}

// keepFound refuses a person's change of what a listing says of a machine; what they leave out stays.
func keepFound(m, old *ajar.Target) error {
	if old.Finding.Provider == "" {
		return nil
	}
	addresses := slices.Clone(m.Addresses)
	slices.SortFunc(addresses, netip.Addr.Compare)
	if (m.Location != "" && m.Location != old.Location) || (m.OS == "Windows" && old.OS != m.OS) || (len(addresses) > 0 && !slices.Equal(addresses, old.Addresses)) {
		return ajar.Errorf(ajar.Conflict, "machine %s is from the listing of provider %s, which says where it is and what its addresses are; change it there", old.ID.Name(), old.Finding.Provider)
	}
	m.ID, m.Location, m.OS, m.Addresses = old.ID, old.Location, old.OS, old.Addresses
	return nil
}
