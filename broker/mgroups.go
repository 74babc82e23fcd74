package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

const managementGroupType = "Microsoft.Management/managementGroups"

// Limits on management groups. Azure's trees are six deep.
const (
	maxDepth         = 6
	maxSubscriptions = 10_000
)

// PutManagementGroup creates or changes a management group: ManagementGroupWrite at it and at its parents, old and new.
// Since what it covers inherits its rights, moving a subscription in or out needs RoleAssignmentWrite there too, as
// Owner or User Access Administrator, and so does moving the group.
func (b *Broker) PutManagementGroup(ctx context.Context, who ajar.Caller, g ajar.ManagementGroup) (*ajar.ManagementGroup, error) {
	bad := checkManagementGroup(&g)
	var out *ajar.ManagementGroup
	err := b.do(ctx, who, op{action: ajar.ManagementGroupWrite, scope: g.ID, bad: bad}, func(t *txn) error {
		old, err := t.managementGroup(g.ID)
		if err != nil {
			return err
		}
		var before ajar.ManagementGroup
		if old != nil {
			before = *old
		}
		if err := t.mayMove(&before, &g, old == nil); err != nil {
			return err
		}
		if err := t.nests(&g); err != nil {
			return err
		}
		if err := t.onlyIn(&g); err != nil {
			return err
		}
		out = &ajar.ManagementGroup{Stamp: before.Stamp, ID: g.ID, Display: g.Display, Parent: g.Parent, Subscriptions: g.Subscriptions}
		return t.Put(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkManagementGroup(g *ajar.ManagementGroup) (err error) {
	read := func(id ajar.ID) (ajar.ID, error) {
		id, err := ajar.ParseID(string(id))
		if err == nil && (!strings.EqualFold(id.Type(), managementGroupType) || strings.Count(string(id), "/") != 4 || len(id.Name()) > 90) {
			err = ajar.Errorf(ajar.Invalid, "%.200q is not the id of a management group (/providers/Microsoft.Management/managementGroups/{name})", id)
		}
		return id, err
	}
	if g.ID, err = readID(g.ID, read); err != nil {
		return err
	}
	if err := word("the display name", g.Display, 256); err != nil {
		return err
	}
	if g.Parent == "" || g.Parent == ajar.Root {
		g.Parent = ajar.Root
	} else if g.Parent, err = read(g.Parent); err != nil {
		return err
	}
	if len(g.Subscriptions) > maxSubscriptions {
		return ajar.Errorf(ajar.Invalid, "a management group holds at most %d subscriptions", maxSubscriptions)
	}
	subs := make([]string, len(g.Subscriptions))
	for i, s := range g.Subscriptions {
		if subs[i], err = guid("the subscription", s); err != nil {
			return err
		}
	}
	slices.Sort(subs)
	g.Subscriptions = slices.Compact(subs)
	return nil
}

func (t *txn) managementGroup(id ajar.ID) (*ajar.ManagementGroup, error) {
	g, err := ajar.Get[ajar.ManagementGroup](t, id.Key())
	if errors.Is(err, ajar.NotFound) {
		return nil, nil
	}
	return g, err
}

// mayMove authorizes what changes hands between before and after.
func (t *txn) mayMove(before, after *ajar.ManagementGroup, fresh bool) error {
	if fresh || !before.Parent.Equal(after.Parent) {
		if err := t.linked(ajar.ManagementGroupWrite, after.Parent); err != nil {
			return err
		}
		if !fresh {
			if err := t.linked(ajar.ManagementGroupWrite, before.Parent); err != nil {
				return err
			}
			if err := t.mayRegrant(before.ID); err != nil {
				return err
			}
		}
	}
	for _, s := range append(slices.Clone(before.Subscriptions), after.Subscriptions...) {
		if slices.Contains(before.Subscriptions, s) && slices.Contains(after.Subscriptions, s) {
			continue
		}
		if err := t.mayRegrant(ajar.ID("/subscriptions/" + s)); err != nil {
			return err
		}
	}
	return nil
}

// mayRegrant authorizes changing what a scope inherits, which may give anybody anything there.
func (t *txn) mayRegrant(at ajar.ID) error {
	if err := t.linked(ajar.RoleAssignmentWrite, at); err != nil {
		return err
	}
	if err := t.administers(at, "moving it changes who holds what there"); err != nil {
		return err
	}
	return t.denialsOver(at)
}

// denialsOver refuses to take a scope out from under deny assignments of management groups, unless the caller may change
// those: by moving a subscription of theirs somebody could slip from a deny.
func (t *txn) denialsOver(at ajar.ID) error {
	ds, _, err := ajar.List[ajar.DenyAssignment](t, ajar.Filter{})
	if err != nil {
		return err
	}
	for _, d := range ds {
		if !strings.EqualFold(d.Scope.Type(), managementGroupType) || d.Scope.Equal(at) || t.plane || !t.rights.Covers(d.Scope, at) {
			continue
		}
		if err := t.administers(d.Scope, fmt.Sprintf("deny assignment %q covers %s by a management group", d.Name, at)); err != nil {
			return err
		}
	}
	return nil
}

// nests refuses a parent that does not exist, a circle, and a tree that is too deep.
func (t *txn) nests(g *ajar.ManagementGroup) error {
	depth := 1
	for up := g.Parent; up != ajar.Root; depth++ {
		if up.Equal(g.ID) {
			return ajar.Errorf(ajar.Invalid, "management group %s would lie within itself", g.ID.Name())
		}
		if depth >= maxDepth {
			return ajar.Errorf(ajar.Invalid, "management groups nest at most %d deep", maxDepth)
		}
		p, err := t.managementGroup(up)
		if err != nil {
			return err
		}
		if p == nil {
			return ajar.Errorf(ajar.NotFound, "there is no management group %s", up)
		}
		up = p.Parent
	}
	return nil
}

// onlyIn refuses a subscription that lies in another management group.
func (t *txn) onlyIn(g *ajar.ManagementGroup) error {
	all, _, err := ajar.List[ajar.ManagementGroup](t, ajar.Filter{})
	for _, o := range all {
		if o.ID.Equal(g.ID) {
			continue
		}
		for _, s := range o.Subscriptions {
			if _, there := slices.BinarySearch(g.Subscriptions, s); there {
				return ajar.Errorf(ajar.Conflict, "subscription %s lies in management group %s; take it out of there first", s, o.ID.Name())
			}
		}
	}
	return err
}

// DeleteManagementGroup removes a management group that covers nothing any longer (ManagementGroupDelete), and at which
// nothing is assigned.
func (b *Broker) DeleteManagementGroup(ctx context.Context, who ajar.Caller, id ajar.ID) (existed bool, err error) {
	id, bad := readID(id, ajarID)
	err = b.do(ctx, who, op{action: ajar.ManagementGroupDelete, scope: id, bad: bad}, func(t *txn) error {
		g, err := t.managementGroup(id)
		if existed = g != nil; !existed || err != nil {
			return err
		}
		all, _, err := ajar.List[ajar.ManagementGroup](t, ajar.Filter{})
		if err != nil {
			return err
		}
		if len(g.Subscriptions) > 0 || slices.ContainsFunc(all, func(o *ajar.ManagementGroup) bool { return o.Parent.Equal(id) }) {
			return ajar.Errorf(ajar.Conflict, "management group %s is not empty", id.Name())
		}
		for _, kind := range []ajar.DocKind{ajar.KindRoleAssignment, ajar.KindDenyAssignment} {
			n, err := t.Count(kind, ajar.Filter{Scope: id})
			if err != nil {
				return err
			}
			if n > 0 {
				return ajar.Errorf(ajar.Conflict, "there are assignments at management group %s; delete those first", id.Name())
			}
		}
		return t.Delete(ajar.KindManagementGroup, id.Key())
	})
	return existed && err == nil, err
}

func ajarID(id ajar.ID) (ajar.ID, error) { return ajar.ParseID(string(id)) }

// ManagementGroups lists those that the caller may read.
func (b *Broker) ManagementGroups(ctx context.Context, who ajar.Caller, page Page) (out []*ajar.ManagementGroup, next string, err error) {
	err = b.view(ctx, who, func(t *txn) (err error) {
		out, next, err = list(t, ajar.Filter{}, everywhere, page, func(g *ajar.ManagementGroup) (bool, error) {
			return t.can(ajar.ManagementGroupRead, g.ID), nil
		})
		return err
	})
	return out, next, err
}

// ManagementGroup reads one management group (ManagementGroupRead).
func (b *Broker) ManagementGroup(ctx context.Context, who ajar.Caller, id ajar.ID) (out *ajar.ManagementGroup, err error) {
	if id, err = ajarID(id); err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.need(ajar.ManagementGroupRead, id); err != nil {
			return err
		}
		if out, err = t.managementGroup(id); err == nil && out == nil {
			err = &ajar.Error{Kind: ajar.NotFound, Code: "NotFound", Msg: "there is no management group " + id.Name()}
		}
		return err
	})
	return out, err
}
