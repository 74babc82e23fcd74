package broker

import (
	"context"
	"errors"
	"slices"
	"sort"
	"strings"

	"github.com/ajar-access/ajar"
)

// Subscription is one that something lies in, or that is named.
type Subscription struct {
	ID   string // a GUID
	Name string // as configured, or the ID
}

// ResourceGroup is one that something lies in, or that an assignment names.
type ResourceGroup struct {
	ID       ajar.ID
	Location string // where most of it is; "" = nowhere yet
}

// look is the way of the verbs that tell what there is: whoever may know of something learns it. ask, if it is not nil,
// refuses before anything is looked up.
func (b *Broker) look(ctx context.Context, who ajar.Caller, ask func(t *txn, sees func(ajar.ID) bool) error, tell func(d *directory, sees func(ajar.ID) bool) error) error {
	sees := func(ajar.ID) bool { return true }
	err := b.view(ctx, who, func(t *txn) error {
		if !t.plane {
			sees = t.rights.Sight(t.who).Sees
		}
		if ask == nil {
			return nil
		}
		return ask(t, sees)
	})
	if err != nil {
		return err
	}
	d := b.places
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := b.updateDirectory(ctx); err != nil {
		return err
	}
	return tell(d, sees)
}

// known refuses whoever may not know of at. action is what they would have to be given.
func known(action ajar.Action, at ajar.ID) func(*txn, func(ajar.ID) bool) error {
	return func(t *txn, sees func(ajar.ID) bool) error {
		if sees(at) {
			return nil
		}
		return t.need(action, at)
	}
}

// Subscriptions lists the subscriptions that the caller may know of: where a role assignment of theirs at, above or below
// gives anything to read.
func (b *Broker) Subscriptions(ctx context.Context, who ajar.Caller, page Page) (out []Subscription, next string, err error) {
	err = b.look(ctx, who, nil, func(d *directory, sees func(ajar.ID) bool) error {
		all := make([]*subscription, 0, len(d.subs))
		for _, s := range d.subs {
			all = append(all, s)
		}
		slices.SortFunc(all, func(x, y *subscription) int { return strings.Compare(x.id, y.id) })
		out, next, err = pageOf(all, page, func(s *subscription) string { return s.id }, func(s *subscription) (Subscription, bool) {
			return b.subscription(s), s.there() && sees("/subscriptions/"+ajar.ID(s.id))
		})
		return err
	})
	return out, next, err
}

func (b *Broker) subscription(s *subscription) Subscription {
	out := Subscription{ID: s.id, Name: b.SubscriptionNames[s.id]}
	if out.Name == "" {
		out.Name = s.id
	}
	return out
}

// Subscription is one of Subscriptions, by its GUID.
func (b *Broker) Subscription(ctx context.Context, who ajar.Caller, id string) (out Subscription, err error) {
	if id, err = guid("the subscription", id); err != nil {
		return out, err
	}
	at := "/subscriptions/" + ajar.ID(id)
	err = b.look(ctx, who, known(ajar.SubscriptionRead, at), func(d *directory, _ func(ajar.ID) bool) error {
		s, err := d.at(id)
		if err == nil {
			out = b.subscription(s)
		}
		return err
	})
	return out, err
}

// at is a subscription that is there, or NotFound in Azure's words.
func (d *directory) at(id string) (*subscription, error) {
	s := d.subs[id]
	if s == nil || !s.there() {
		return nil, &ajar.Error{Kind: ajar.NotFound, Code: "SubscriptionNotFound", Msg: "The subscription '" + id + "' could not be found."}
	}
	return s, nil
}

// ResourceGroups lists the resource groups of a subscription that the caller may know of.
func (b *Broker) ResourceGroups(ctx context.Context, who ajar.Caller, sub string, page Page) (out []ResourceGroup, next string, err error) {
	if sub, err = guid("the subscription", sub); err != nil {
		return nil, "", err
	}
	at := "/subscriptions/" + ajar.ID(sub)
	err = b.look(ctx, who, known(ajar.ResourceGroupRead, at), func(d *directory, sees func(ajar.ID) bool) error {
		s, err := d.at(sub)
		if err != nil {
			return err
		}
		out, next, err = pageOf(s.list(), page, func(g *group) string { return g.key }, func(g *group) (ResourceGroup, bool) {
			if g.n == 0 && !g.named || !sees(g.id) {
				return ResourceGroup{}, false
			}
			return ResourceGroup{g.id, g.location()}, true
		})
		return err
	})
	return out, next, err
}

// ResourceGroup is one of ResourceGroups.
func (b *Broker) ResourceGroup(ctx context.Context, who ajar.Caller, id ajar.ID) (out ResourceGroup, err error) {
	id, err = ajar.ParseID(string(id))
	if err == nil && !id.Group().Equal(id) {
		err = ajar.Errorf(ajar.Invalid, "%.200q is not the id of a resource group (/subscriptions/{s}/resourceGroups/{g})", id)
	}
	if err != nil {
		return out, err
	}
	err = b.look(ctx, who, known(ajar.ResourceGroupRead, id), func(d *directory, _ func(ajar.ID) bool) error {
		s, err := d.at(strings.ToLower(id.Subscription()))
		if err != nil {
			return err
		}
		g := s.groups[id.Key()]
		if g == nil || g.n == 0 && !g.named {
			return &ajar.Error{Kind: ajar.NotFound, Code: "ResourceGroupNotFound", Msg: "Resource group '" + id.Name() + "' could not be found."}
		}
		out = ResourceGroup{g.id, g.location()}
		return nil
	})
	return out, err
}

// Locations lists where the machines and policies are that lie in a subscription, or anywhere ("/"), in resource groups
// that the caller may know of.
func (b *Broker) Locations(ctx context.Context, who ajar.Caller, under ajar.ID) (out []string, err error) {
	var ask func(*txn, func(ajar.ID) bool) error
	if under != ajar.Root {
		sub, err := guid("the subscription", under.Subscription())
		if err != nil {
			return nil, err
		}
		under = "/subscriptions/" + ajar.ID(sub)
		ask = known(ajar.LocationRead, under)
	}
	err = b.look(ctx, who, ask, func(d *directory, sees func(ajar.ID) bool) error {
		if under != ajar.Root {
			if _, err := d.at(under.Subscription()); err != nil {
				return err
			}
		}
		found := map[string]string{}
		for _, s := range d.subs {
			if under != ajar.Root && s.id != under.Subscription() {
				continue
			}
			for _, g := range s.groups {
				g.addLocations(found, sees)
			}
		}
		for _, name := range found {
			out = append(out, name)
		}
		slices.SortFunc(out, func(x, y string) int { return strings.Compare(PlainLocation(x), PlainLocation(y)) })
		return nil
	})
	return out, err
}

// addLocations enters those that are not there yet; of several ways to write one, the one with most capitals and spaces
// is shown.
func (g *group) addLocations(found map[string]string, sees func(ajar.ID) bool) {
	asked := false
	for _, l := range g.at {
		key := PlainLocation(l.name)
		if old, ok := found[key]; l.n == 0 || key == "" || ok && (len(old) > len(l.name) || len(old) == len(l.name) && old <= l.name) {
			continue
		}
		if !asked && !sees(g.id) {
			return
		}
		asked = true
		found[key] = l.name
	}
}

// pageOf gives a page of what stands in order of its key.
func pageOf[A, B any](all []A, page Page, key func(A) string, show func(A) (B, bool)) (out []B, next string, err error) {
	limit, err := page.limit()
	if err != nil {
		return nil, "", err
	}
	_, after, err := parseCursor(page.Cursor)
	if err != nil {
		return nil, "", err
	}
	n := 0
	if page.Cursor != "" {
		n = sort.Search(len(all), func(i int) bool { return key(all[i]) > after })
	}
	for ; n < len(all); n++ {
		b, ok := show(all[n])
		if !ok {
			continue
		}
		if len(out) == limit {
			return out, formatCursor("", key(all[n-1])), nil
		}
		out = append(out, b)
	}
	return out, "", nil
}

// AgreeToResourceGroup gives the resource group that scripts make before they put anything into it
// (ResourceGroupWrite). Nothing is kept: a group is there when something lies in it, so one that is not there is
// refused with where it would come from.
func (b *Broker) AgreeToResourceGroup(ctx context.Context, who ajar.Caller, id ajar.ID) (out ResourceGroup, err error) {
	err = b.view(ctx, who, func(t *txn) error { return t.need(ajar.ResourceGroupWrite, id) })
	if err != nil {
		return out, err
	}
	out, err = b.ResourceGroup(ctx, who, id)
	if errors.Is(err, ajar.NotFound) {
		err = &ajar.Error{Kind: ajar.Conflict, Code: "ResourceGroupIsDerived",
			Msg: "Resource group '" + id.Name() + "' is not there. Groups are not made: one is there as soon as a machine, a policy or a role assignment lies in it."}
	}
	return out, err
}
