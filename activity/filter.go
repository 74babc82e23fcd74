package activity

import (
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/odata"
)

// Filter is a $filter on the activity log. Zero fields do not filter; of a list one entry must fit. Texts are compared
// without regard to case.
type Filter struct {
	Since, Before time.Time // whole milliseconds, as events have them
	Group         string    // a resource group's name
	Resource      ajar.ID   // this resource and what lies below it
	Corr          string
	Caller        string // name or object id
	Providers     []string
	Types         []string
	Operations    []string
	Statuses      []string
	SubStatuses   []string
	Levels        []string
	Categories    []string
	Names         []string // of the event: BeginRequest, EndRequest
	IDs           []string // eventDataId
}

// maxFilter is how long a filter may be.
const maxFilter = 4000

// Parse reads a $filter: comparisons joined by "and", each of a property, eq (of eventTimestamp also ge, gt, le, lt), and a
// text in single quotes or without them. A time may lack its zone, which is UTC then.
func Parse(text string) (f Filter, err error) {
	e, err := odata.Parse(text, maxFilter)
	if err != nil {
		return f, err
	}
	for _, t := range e.Terms() {
		if err := f.compare(t); err != nil {
			return f, err
		}
	}
	if !f.Since.IsZero() && !f.Before.IsZero() && !f.Since.Before(f.Before) {
		return f, odata.Bad("the first eventTimestamp is not before the last one")
	}
	return f, nil
}

// compare enters one comparison.
func (f *Filter) compare(t *odata.Expr) error {
	switch name := strings.ToLower(t.Name); {
	case t.Op == odata.Or && !t.Grouped:
		return odata.Bad("comparisons can be joined by 'and' alone")
	case t.Grouped, t.Op == odata.Call, t.Op == odata.Not:
		return odata.Bad("parentheses, functions and not are not taken; join comparisons by 'and'")
	case name == "eventtimestamp":
		return f.time(t.Op, t.Value.Text)
	case t.Op != "eq":
		return odata.Bad("'" + odata.Short(t.Op) + "' stands where eq is expected; ge, gt, le and lt are for eventTimestamp alone")
	case t.Value.Text == "":
		return odata.Bad("the value of '" + odata.Short(t.Name) + "' is empty")
	}
	return f.equal(t.Name, t.Value.Text)
}

// equal enters what a property must be.
func (f *Filter) equal(field, value string) error {
	name := strings.ToLower(field)
	one := map[string]*string{"resourcegroupname": &f.Group, "resourcegroup": &f.Group, "correlationid": &f.Corr, "caller": &f.Caller}
	if into := one[name]; into != nil {
		if *into != "" && !strings.EqualFold(*into, value) {
			return odata.Bad("'" + odata.Short(field) + "' is compared twice")
		}
		*into = value
		return nil
	}
	switch name {
	case "resourceuri", "resourceid":
		return f.resource(value)
	case "eventchannels", "channels":
		return oneOf(value, "channel", channels)
	}
	return f.list(field, value)
}

// channels are those of all records: administrators' operations.
var channels = []string{"Admin", "Operation", "Debug", "Analytics"}

func (f *Filter) list(field, value string) error {
	into := map[string]*[]string{
		"resourceprovider": &f.Providers, "resourceprovidername": &f.Providers, "resourcetype": &f.Types, "resourcetypes": &f.Types,
		"operations": &f.Operations, "operation": &f.Operations, "operationname": &f.Operations,
		"status": &f.Statuses, "substatus": &f.SubStatuses, "level": &f.Levels, "levels": &f.Levels,
		"category": &f.Categories, "categories": &f.Categories, "eventcategory": &f.Categories,
		"eventname": &f.Names, "eventdataid": &f.IDs,
	}[strings.ToLower(field)]
	if into == nil {
		return odata.Bad("'" + odata.Short(field) + "' is no property to filter by; eventTimestamp, resourceGroupName, resourceUri, resourceProvider, resourceType, " +
			"correlationId, caller, status, subStatus, levels, operations, category, eventName and eventDataId are")
	}
	if *into != nil {
		return odata.Bad("'" + odata.Short(field) + "' is compared twice; give several values in one, as 'a,b'")
	}
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*into = append(*into, part)
		}
	}
	if *into == nil {
		return odata.Bad("the value of '" + odata.Short(field) + "' is empty")
	}
	switch into {
	case &f.Statuses:
		return f.statuses()
	case &f.Levels:
		return oneOf(value, "level", []string{"Critical", "Error", "Warning", "Informational", "Verbose"})
	}
	return nil
}

// statuses gives statuses their one spelling: queries on exported logs know a shorter one.
func (f *Filter) statuses() error {
	for i, s := range f.Statuses {
		switch strings.ToLower(s) {
		case "start", "started":
			f.Statuses[i] = Started
		case "success", "succeeded":
			f.Statuses[i] = Succeeded
		case "accept", "accepted":
			f.Statuses[i] = Accepted
		case "failure", "failed":
			f.Statuses[i] = Failed
		case "active":
			f.Statuses[i] = Active
		case "resolved":
			f.Statuses[i] = Resolved
		case "in progress", "inprogress", "updated":
		default:
			return odata.Bad("there is no status '" + odata.Short(s) + "'; Started, Accepted, Succeeded, Failed, Active and Resolved are there")
		}
	}
	return nil
}

func oneOf(value, what string, known []string) error {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, part) }) {
			return odata.Bad("there is no " + what + " '" + odata.Short(part) + "'; " + strings.Join(known, ", ") + " are there")
		}
	}
	return nil
}

func (f *Filter) resource(text string) error {
	id, err := ajar.ParseID(text)
	if err != nil || id == ajar.Root {
		return odata.Bad("'" + odata.Short(text) + "' is not the id of a resource")
	}
	if f.Resource != "" && !f.Resource.Equal(id) {
		return odata.Bad("the resource is compared twice")
	}
	f.Resource = id
	return nil
}

// timeForms are how clients write times.
var timeForms = []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02", "2006-01-02 15:04:05"}

func (f *Filter) time(op, text string) error {
	if i := len(text) - len(" 01:00"); i > 0 && text[i] == ' ' && strings.ContainsAny(text[:i], "Tt") {
		text = text[:i] + "+" + text[i+1:] // what a plus sign in a query reads as
	}
	var at time.Time
	err := error(odata.Bad(""))
	for _, form := range timeForms {
		if err != nil && len(text) <= 64 {
			at, err = time.Parse(form, strings.ToUpper(text))
		}
	}
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		return odata.Bad("'" + odata.Short(text) + "' is not a time such as '2026-11-20T17:00:00Z'")
	}
	if epoch := time.Unix(0, 0); at.Before(epoch) {
		at = epoch // nothing was logged before; .NET's least time is sent as well
	}
	floor := at.UTC().Truncate(time.Millisecond)
	ceil := floor
	if floor.Before(at) {
		ceil = floor.Add(time.Millisecond)
	}
	after := floor.Add(time.Millisecond)
	switch op {
	case "ge":
		f.since(ceil)
	case "gt":
		f.since(after)
	case "lt":
		f.before(ceil)
	case "le":
		f.before(after)
	case "eq":
		f.since(ceil)
		f.before(after)
	default:
		return odata.Bad("'" + odata.Short(op) + "' stands where ge, gt, le, lt or eq is expected")
	}
	return nil
}

func (f *Filter) since(t time.Time) {
	if f.Since.IsZero() || t.After(f.Since) {
		f.Since = t
	}
}

func (f *Filter) before(t time.Time) {
	if f.Before.IsZero() || t.Before(f.Before) {
		f.Before = t
	}
}
