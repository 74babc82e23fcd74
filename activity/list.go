package activity

import (
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/odata"
)

// Query is one page of the activity log.
type Query struct {
	Scope    ajar.ID // this scope and below; Root = everything, also what has no scope
	Filter   Filter
	CallerID ajar.PrincipalID // of Filter.Caller, where it is known
	Select   Select
	Cursor   string // from the page before
	Limit    int    // records
}

// How many events one page looks at, and how many it reads at a time. A page that found little then says where to go on.
const (
	mostLooked = 5000
	mostRead   = 1000
)

// At is the scope that the query is about: the filter may name a narrower one than the path. Who may read there may have
// the answer.
func (q *Query) At() (ajar.ID, error) {
	at, f := q.Scope, &q.Filter
	if f.Group != "" && at != ajar.Root {
		group, err := ajar.ParseID(string(at) + "/resourceGroups/" + f.Group)
		if err != nil || strings.Contains(f.Group, "/") {
			return "", odata.Bad("'" + odata.Short(f.Group) + "' is not the name of a resource group")
		}
		at = group
	}
	switch {
	case f.Resource == "":
	case at.Covers(f.Resource):
		at = f.Resource
	case f.Resource.Covers(at):
	default:
		return "", odata.Bad("the resource '" + odata.Short(string(f.Resource)) + "' does not lie in " + string(at) + ", which is asked for")
	}
	return at, nil
}

// List gives a page of records, the newest first, and the cursor of the next one; "" at the end. A page may be empty and
// not the last: it looks at so many events and no more. read lists events, the newest first.
func (p Plane) List(q Query, read func(ajar.EventFilter) ([]*ajar.Event, error)) (page []*Record, next string, err error) {
	at, err := q.At()
	if err != nil {
		return nil, "", err
	}
	below := int64(0) // records of lower numbers; 0 = all
	if q.Cursor != "" {
		if below, err = strconv.ParseInt(q.Cursor, 10, 64); err != nil || below < 1 || below > 1<<62 {
			return nil, "", &ajar.Error{Kind: ajar.Invalid, Code: "InvalidSkipToken", Msg: "The $skiptoken is not one of this list."}
		}
	}
	f := q.events(at)
	if f.Corr != "" {
		if f, err = byRequest(f, read); err != nil {
			return nil, "", err
		}
	}
	for looked := 0; ; {
		f.Until = (below + 1) / 2
		f.Limit = mostRead
		if !q.Filter.looks() {
			f.Limit = min(mostRead, q.Limit)
		}
		events, err := read(f)
		if err != nil {
			return nil, "", err
		}
		for _, e := range events {
			if !q.Filter.may(e) {
				below = 2 * e.Pos
				continue
			}
			for _, r := range p.Records(e) {
				if below != 0 && r.number >= below {
					continue
				}
				if len(page) == q.Limit {
					return page, strconv.FormatInt(below, 10), nil
				}
				below = r.number
				if q.Filter.keeps(r) {
					page = append(page, q.Select.of(r))
				}
			}
			below = 2 * e.Pos
		}
		if looked += len(events); len(events) < f.Limit {
			return page, "", nil
		}
		if looked >= mostLooked {
			return page, strconv.FormatInt(below, 10), nil
		}
	}
}

// events is as much of the query as finds events.
func (q *Query) events(at ajar.ID) ajar.EventFilter {
	f := ajar.EventFilter{Corr: q.Filter.Corr, Caller: q.CallerID, Since: q.Filter.Since, Before: q.Filter.Before}
	if at != ajar.Root {
		f.Scope = at
	}
	if len(q.Filter.Operations) == 1 && strings.Contains(q.Filter.Operations[0], "/") { // and not as people read it
		f.Action = ajar.Action(q.Filter.Operations[0])
	}
	refused := func(list []string, word string) bool {
		return len(list) > 0 && !slices.ContainsFunc(list, func(s string) bool { return !strings.EqualFold(s, word) })
	}
	if refused(q.Filter.Statuses, Failed) || refused(q.Filter.Levels, "Error") {
		f.Outcome = ajar.Refused
	}
	return f
}

// byRequest finds by the request what nobody called for: events that came of a request have its id where others have
// their caller's correlation id.
func byRequest(f ajar.EventFilter, read func(ajar.EventFilter) ([]*ajar.Event, error)) (ajar.EventFilter, error) {
	f.Limit = 1
	if found, err := read(f); err != nil || len(found) > 0 {
		return f, err
	}
	f.Corr, f.Request = "", ajar.RequestID(f.Corr)
	return f, nil
}

// looks reports whether f must look at records, beyond what finds events.
func (f *Filter) looks() bool {
	return f.Corr != "" || f.Caller != "" || f.Group != "" || len(f.Providers)+len(f.Types)+len(f.Operations)+len(f.Statuses)+len(f.SubStatuses)+
		len(f.Levels)+len(f.Categories)+len(f.Names)+len(f.IDs) > 0
}

// may reports whether f can select records of e, so that they are not made for nothing.
func (f *Filter) may(e *ajar.Event) bool {
	fold := strings.EqualFold
	switch {
	case f.Caller != "" && !fold(f.Caller, e.Name) && !fold(f.Caller, string(e.Caller)) && !(e.Name == "" && fold(f.Caller, ajar.Plane.Name)),
		f.Group != "" && !fold(f.Group, e.Scope.ResourceGroup()):
		return false
	case len(f.Operations) > 0:
		return slices.ContainsFunc(f.Operations, func(a string) bool { return fold(a, string(e.Action)) || fold(a, operation(e.Action)) })
	case len(f.Providers) > 0:
		provider, _, _ := strings.Cut(string(e.Action), "/")
		return slices.ContainsFunc(f.Providers, func(want string) bool { return fold(want, provider) })
	}
	return true
}

// keeps reports whether f selects r. Times and scopes have selected already, but for a group of any subscription.
func (f *Filter) keeps(r *Record) bool {
	same := func(want string, has ...string) bool {
		return want == "" || slices.ContainsFunc(has, func(h string) bool { return strings.EqualFold(h, want) })
	}
	among := func(list []string, has ...string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(want string) bool { return same(want, has...) })
	}
	return same(f.Corr, r.CorrelationID) &&
		same(f.Caller, r.Caller, r.who) &&
		same(f.Group, r.ResourceGroupName) &&
		among(f.Providers, r.ResourceProviderName.Value) &&
		among(f.Types, r.ResourceType.Value) &&
		among(f.Operations, r.OperationName.Value, r.OperationName.Localized) &&
		among(f.Statuses, r.Status.Value) &&
		among(f.SubStatuses, r.SubStatus.Value) &&
		among(f.Levels, r.Level) &&
		among(f.Categories, r.Category.Value) &&
		among(f.Names, r.EventName.Value) &&
		among(f.IDs, r.EventDataID)
}
