package events

import (
	"context"
	"errors"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/activity"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) insightsRoutes() []rest.Route {
	const (
		ns     = "/providers/microsoft.insights"
		values = ns + "/eventtypes/management/values"
	)
	return []rest.Route{
		rest.Get("/subscriptions/{s}"+values, rest.Beside, rest.Op(200, s.activityLog), "Lists a subscription's activity log in Azure's schema, the newest first.", ajar.EventRead, "$filter", "$select", "$top"),
		rest.Get(values, rest.Beside, rest.Op(200, s.activityLog), "Lists the whole activity log in Azure's schema, the newest first.", ajar.EventRead, "$filter", "$select", "$top"),
		rest.Get(ns+"/eventcategories", rest.Beside, rest.Op(200, s.eventCategories), "Lists the categories that events of the activity log may have.", ""),
	}
}

// recordsAPage is how many records a page of the activity log has unless $top asks for less, or for more.
const recordsAPage = 200

// activityRecord is a record under a name that says what it is where all types of the surface are told of.
type activityRecord struct{ *activity.Record }

func (s room) activityLog(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[activityRecord], err error) {
	q := activity.Query{Scope: ajar.Root}
	if c.Value("s") != "" {
		if q.Scope, err = c.Scope(); err != nil {
			return l, err
		}
	}
	if q.Filter, err = activity.Parse(c.Param("$filter")); err != nil {
		return l, err
	}
	if q.Select, err = activity.ParseSelect(c.Param("$select")); err != nil {
		return l, err
	}
	page, err := c.Page(recordsAPage)
	if err != nil {
		return l, err
	}
	q.Cursor, q.Limit = page.Cursor, page.Limit
	if q.CallerID, err = s.callerNamed(ctx, c.Who, q.Filter.Caller); err != nil {
		return l, err
	}
	plane := activity.Plane{Tenant: s.Tenant.ID, URL: s.Base(c), StatusOf: rest.StatusOf}
	all, next, err := plane.List(q, func(f ajar.EventFilter) ([]*ajar.Event, error) { return s.Broker.Events(ctx, c.Who, f) })
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, func(r *activity.Record) activityRecord { return activityRecord{r} }), nil
}

// guidForm is an object id, also of somebody who is gone.
var guidForm = rest.GUIDForm

// callerNamed is the id of somebody who is there and whom the caller may look up, or of whom name is the id; "" otherwise,
// and then records are looked through for the name.
func (s room) callerNamed(ctx context.Context, who ajar.Caller, name string) (ajar.PrincipalID, error) {
	if name == "" || guidForm.MatchString(name) {
		return ajar.PrincipalID(name), nil
	}
	p, err := s.Broker.Principal(ctx, who, name)
	switch {
	case err == nil:
		return p.ID, nil
	case errors.Is(err, ajar.NotFound), errors.Is(err, ajar.Forbidden), errors.Is(err, ajar.Invalid):
		return "", nil
	}
	return "", err
}

func (s room) eventCategories(_ context.Context, c *rest.Call, _ rest.Nothing) (rest.List[activity.Word], error) {
	return rest.Each(c, activity.Categories(), "", func(w activity.Word) activity.Word { return w }), nil
}
