package main

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// target finds a machine by its ID, its name, or its group and name.
func target(ctx context.Context, c *client.Client, name string) (client.Target, error) {
	if strings.HasPrefix(name, "/") {
		id, err := ajar.ParseID(name)
		if err == nil && !id.IsMachine() {
			err = usage("%q is not the id of a machine (…/providers/Microsoft.Compute/virtualMachines/NAME)", name)
		}
		if err != nil {
			return client.Target{}, err
		}
		return c.Target(ctx, id)
	}
	group, machine, inGroup := strings.Cut(name, "/")
	if !inGroup {
		group, machine = "", name
	}
	var found []client.Target
	for t, err := range c.Targets(ctx, client.TargetQuery{Name: machine}) {
		if err != nil {
			return t, err
		}
		if strings.EqualFold(t.ID.Name(), machine) && (group == "" || strings.EqualFold(t.ID.ResourceGroup(), group)) {
			found = append(found, t)
		}
	}
	advice := "ajar targets lists the machines that you may see"
	if len(found) == 0 {
		advice = nearMachines(ctx, c, name, advice)
	}
	return single(found, "machine", name, advice, func(t client.Target) string { return string(t.ID) })
}

// policy finds a policy by its ID, its name, its group and name, or a machine that it names.
func policy(ctx context.Context, c *client.Client, name string) (p client.Policy, machine ajar.ID, err error) {
	if id := ajar.ID(name); strings.HasPrefix(name, "/") && !id.IsMachine() {
		p, err = c.Policy(ctx, id)
		return p, "", err
	}
	group, last, inGroup := strings.Cut(name, "/")
	if !inGroup {
		group, last = "", name
	}
	var byName, byMachine []client.Policy
	for p, err := range c.Policies(ctx, ajar.Root) {
		if err != nil {
			return p, "", err
		}
		if strings.EqualFold(p.ID.Name(), last) && (group == "" || strings.EqualFold(p.ID.ResourceGroup(), group)) {
			byName = append(byName, p)
		}
		for _, m := range p.Properties.Machines {
			if ajar.ID(name).Equal(m.ID) || (strings.EqualFold(m.ID.Name(), last) && (group == "" || strings.EqualFold(m.ID.ResourceGroup(), group))) {
				byMachine, machine = append(byMachine, p), m.ID
			}
		}
	}
	p, err = single(append(byName, byMachine...), "policy", name, "ajar policy list shows the policies that you may see", func(p client.Policy) string { return string(p.ID) })
	if err != nil || len(byName) > 0 {
		machine = ""
	}
	if err != nil {
		return p, "", err
	}
	p, err = c.Policy(ctx, p.ID) // with its ETag
	return p, machine, err
}

// request finds a request by its ID or an end of it.
func request(ctx context.Context, c *client.Client, id string) (client.Request, error) {
	if len(id) == 36 {
		return c.Request(ctx, ajar.RequestID(strings.ToLower(id)))
	}
	return byPart(c.Requests(ctx, client.RequestQuery{}), "request", id, func(r client.Request) string { return string(r.ID) })
}

// lease finds a lease that is not closed by its ID or an end of it.
func lease(ctx context.Context, c *client.Client, id string) (client.Lease, error) {
	return byPart(c.Leases(ctx, client.LeaseQuery{Live: true}), "lease", id, func(l client.Lease) string { return string(l.ID) })
}

// lookedThrough is how many entries, the newest first, are searched for a part of an ID.
const lookedThrough = 5000

// byPart finds the one whose ID begins or ends with part.
func byPart[T any](seq iter.Seq2[T, error], what, part string, id func(T) string) (T, error) {
	var found []T
	n := 0
	for v, err := range seq {
		if err != nil {
			return v, err
		}
		if s := strings.ToLower(id(v)); len(part) >= 4 && (strings.HasPrefix(s, strings.ToLower(part)) || strings.HasSuffix(s, strings.ToLower(part))) {
			found = append(found, v)
		}
		if n++; n == lookedThrough {
			break
		}
	}
	return single(found, what, part, "four or more characters of the id's end are enough, if only one ends so", id)
}

// single is the one thing found, or says which there are.
func single[T any](found []T, what, name, advice string, id func(T) string) (T, error) {
	var zero T
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return zero, hint(ajar.Errorf(ajar.NotFound, "there is no %s %q that you may see", what, name), "%s", advice)
	}
	var ids []string
	for _, v := range found {
		ids = append(ids, id(v))
	}
	slices.Sort(ids)
	return zero, exits(exitUsage, hint(fmt.Errorf("%q may be any of:\n  %s", name, strings.Join(slices.Compact(ids), "\n  ")), "name it by its group and name (group/name) or its whole id"))
}

func sameName(s, t string) bool { return strings.EqualFold(s, t) }

// scopeOf reads a scope: an ID, "/" for everything, or the name of a machine, a group, or a policy as group/policy.
func scopeOf(ctx context.Context, c *client.Client, s string) (ajar.ID, error) {
	switch {
	case s == "":
		return "", nil
	case strings.HasPrefix(s, "/"):
		return ajar.ParseID(s)
	}
	t, err := target(ctx, c, s)
	if ajar.KindOf(err) != ajar.NotFound {
		return t.ID, err
	}
	places, lookErr := placesNamed(ctx, c, s)
	if lookErr != nil {
		return "", err // what it most likely was meant to be is a machine
	}
	if len(places) == 0 {
		return "", hint(ajar.Errorf(ajar.NotFound, "there is no machine, group or policy (GROUP/POLICY) %q that you may see", s),
			"%s", nearMachines(ctx, c, s, "ajar targets lists machines and their groups; / is everything"))
	}
	return single(places, "place", s, "", func(id ajar.ID) string { return string(id) })
}

// placesNamed finds groups of that name, with anything in them that the caller may see, and policies named group/policy.
func placesNamed(ctx context.Context, c *client.Client, s string) (found []ajar.ID, _ error) {
	add := func(id ajar.ID) {
		if id != "" && !slices.ContainsFunc(found, id.Equal) {
			found = append(found, id)
		}
	}
	group, name, ofPolicy := strings.Cut(s, "/")
	for p, err := range c.Policies(ctx, ajar.Root) {
		switch {
		case err != nil:
			return nil, err
		case !sameName(p.ID.ResourceGroup(), group):
		case !ofPolicy:
			add(p.ID.Group())
		case sameName(p.ID.Name(), name):
			add(p.ID)
		}
	}
	if ofPolicy {
		return found, nil
	}
	for t, err := range c.Targets(ctx, client.TargetQuery{}) {
		if err != nil {
			return nil, err
		}
		if sameName(t.ID.ResourceGroup(), group) {
			add(t.ID.Group())
		}
	}
	return found, nil
}
