package places

import (
	"context"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) resourceRoutes() []rest.Route {
	const sub = "/subscriptions/{s}"
	return []rest.Route{
		rest.Get(sub+"/resources", rest.Beside, rest.Op(200, s.listResources), "Lists the machines and policies of a subscription that the caller may read.", "", "$filter", "$top", "$expand"),
		rest.Get(sub+"/resourcegroups/{g}/resources", rest.Beside, rest.Op(200, s.listResources), "Lists the machines and policies of a resource group that the caller may read.", "", "$filter", "$top", "$expand"),
	}
}

// resourceBody is any resource, as far as all of them are alike.
type resourceBody struct {
	ID          ajar.ID           `json:"id"`
	Name        string            `json:"name"`
	Type        string            `json:"type"`
	Kind        string            `json:"kind,omitempty"`
	Location    string            `json:"location,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	CreatedTime *rest.Stamp       `json:"createdTime,omitempty"`
	ChangedTime *rest.Stamp       `json:"changedTime,omitempty"`
	State       string            `json:"provisioningState,omitempty"`
}

// expanded are the members that a list of resources has only where $expand asks for them.
type expanded struct{ created, changed, state bool }

func readExpand(c *rest.Call) expanded {
	has := func(word string) bool {
		for _, w := range strings.Split(c.Param("$expand"), ",") {
			if strings.EqualFold(strings.TrimSpace(w), word) {
				return true
			}
		}
		return false
	}
	return expanded{has("createdTime"), has("changedTime"), has("provisioningState")}
}

func (e expanded) add(b *resourceBody, created, changed time.Time) {
	if at := rest.Stamp(created); e.created && !created.IsZero() {
		b.CreatedTime = &at
	}
	if at := rest.Stamp(changed); e.changed && !changed.IsZero() {
		b.ChangedTime = &at
	}
	if e.state {
		b.State = "Succeeded"
	}
}

// A list of resources is one of machines and then one of policies; its continuation says which, before where.
const (
	listMachines = "m"
	listPolicies = "p"
)

func (s room) listResources(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[resourceBody], err error) {
	l.Value = []resourceBody{}
	scope, err := c.Scope()
	if err != nil {
		return l, err
	}
	f, err := c.Filter()
	if err != nil {
		return l, err
	}
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	part := listMachines
	if page.Cursor != "" {
		part, page.Cursor = page.Cursor[:1], page.Cursor[1:]
		if part != listMachines && part != listPolicies {
			return l, rest.Coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken is not one that this server gave out; follow nextLink as it is.")
		}
	}
	if at := f.Must("resourcegroup"); at != "" && rest.GroupForm.MatchString(at) && scope.ResourceGroup() == "" {
		scope += "/resourceGroups/" + ajar.ID(at)
	}
	kind, name, size := f.Must("resourcetype"), f.Must("name"), page.Limit
	if part == listMachines {
		next := ""
		if kind == "" || strings.EqualFold(kind, ajar.MachineType) {
			if next, err = s.addMachines(ctx, c, &l, f, scope, name, page); err != nil {
				return l, err
			}
		}
		if next != "" {
			l.NextLink = c.Next(listMachines + next)
			return l, nil
		}
		page.Cursor = ""
	}
	if kind != "" && !strings.EqualFold(kind, ajar.PolicyType) {
		return l, nil
	}
	if page.Limit = size - len(l.Value); page.Limit == 0 {
		l.NextLink = c.Next(listPolicies)
		return l, nil
	}
	next, err := s.addPolicies(ctx, c, &l, f, scope, page)
	if next != "" {
		next = listPolicies + next
	}
	l.NextLink = c.Next(next)
	return l, err
}

// lookedAt is how many things are looked at for one page of a list that is filtered: so that what is rare is found in few
// calls, and no call takes long.
const lookedAt = 4000

// sift reads on until page is full, or enough was looked at, or there is no more. read gives how many it looked at.
func sift[T any](l *rest.List[T], page broker.Page, read func(broker.Page) (looked int, next string, err error)) (string, error) {
	limit, have := page.Limit, len(l.Value)
	for seen := 0; ; {
		page.Limit = limit - (len(l.Value) - have)
		n, next, err := read(page)
		if seen += n; err != nil || next == "" || n == 0 || len(l.Value)-have >= limit || seen >= lookedAt {
			return next, err
		}
		page.Cursor = next
	}
}

func (s room) addMachines(ctx context.Context, c *rest.Call, l *rest.List[resourceBody], f *rest.Filter, scope ajar.ID, name string, page broker.Page) (string, error) {
	more := readExpand(c)
	return sift(l, page, func(page broker.Page) (int, string, error) {
		all, next, err := s.Broker.Targets(ctx, c.Who, scope, name, page)
		for _, t := range all {
			b := resourceBody{ID: t.ID, Name: t.ID.Name(), Type: ajar.MachineType, Location: broker.PlainLocation(t.Location), Tags: t.Tags}
			if f.Keeps(rest.Thing{Name: b.Name, Group: t.ID.ResourceGroup(), Kind: b.Type, Location: t.Location, Tags: t.Tags}) {
				more.add(&b, t.Created, time.Time{})
				l.Value = append(l.Value, b)
			}
		}
		return len(all), next, err
	})
}

func (s room) addPolicies(ctx context.Context, c *rest.Call, l *rest.List[resourceBody], f *rest.Filter, scope ajar.ID, page broker.Page) (string, error) {
	more := readExpand(c)
	return sift(l, page, func(page broker.Page) (int, string, error) {
		all, next, err := s.Broker.Policies(ctx, c.Who, scope, page)
		for _, p := range all {
			b := resourceBody{ID: p.ID, Name: p.ID.Name(), Type: ajar.PolicyType, Kind: p.Kind, Location: p.ID.Location()}
			if f.Keeps(rest.Thing{Name: b.Name, Group: p.ID.ResourceGroup(), Kind: b.Type, Location: b.Location}) {
				more.add(&b, p.Created, p.Updated)
				l.Value = append(l.Value, b)
			}
		}
		return len(all), next, err
	})
}
