package activity

import (
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
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

const maxFilter = 4000

func bad(why string) error {
	return &ajar.Error{Kind: ajar.Invalid, Code: "InvalidFilterInQueryString", Msg: "Invalid $filter in the query string: " + why + "."}
}

// Parse reads a $filter: comparisons joined by "and", each of a property, eq (of eventTimestamp also ge, gt, le, lt), and a
// text in single quotes or without them. A time may lack its zone, which is UTC then.
func Parse(text string) (f Filter, err error) {
	if len(text) > maxFilter {
		return f, bad("it is longer than 4000 bytes")
	}
	words, err := split(text)
	if err != nil || len(words) == 0 {
		return f, err
	}
	for {
		if len(words) < 3 {
			return f, bad("it ends where a comparison such as status eq 'Failed' is expected")
		}
		if err := f.compare(words[0], strings.ToLower(words[1].text), words[2]); err != nil {
			return f, err
		}
		if words = words[3:]; len(words) == 0 {
			break
		}
		if join := strings.ToLower(words[0].text); join != "and" || words[0].quoted {
			if join == "or" {
				return f, bad("comparisons can be joined by 'and' alone")
			}
			return f, bad("'" + short(words[0].text) + "' stands where 'and' is expected")
		}
		words = words[1:]
	}
	if !f.Since.IsZero() && !f.Before.IsZero() && !f.Since.Before(f.Before) {
		return f, bad("the first eventTimestamp is not before the last one")
	}
	return f, nil
}

// word is a name, an operator or a value.
type word struct {
	text   string
	quoted bool
}

// split takes a filter apart. Clients write a time as '…', as datetime'…', and bare.
func split(text string) (words []word, err error) {
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		if rest, ok := cutFold(text, "datetime'"); ok {
			text = "'" + rest
		}
		if text[0] == '\'' {
			w, rest, err := quoted(text)
			if err != nil {
				return nil, err
			}
			words, text = append(words, word{w, true}), rest
			continue
		}
		n := strings.IndexAny(text, " \t\r\n'()")
		switch {
		case n < 0:
			n = len(text)
		case n == 0:
			return nil, bad("parentheses and functions are not taken; join comparisons by 'and'")
		}
		words, text = append(words, word{text: text[:n]}), text[n:]
	}
	return words, nil
}

func cutFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

func quoted(text string) (w, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] != '\'':
			b.WriteByte(text[i])
		case i+1 < len(text) && text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			return b.String(), text[i+1:], nil
		}
	}
	return "", "", bad("a text in quotes has no end")
}

func short(s string) string {
	if r := []rune(strings.ToValidUTF8(s, "\uFFFD")); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// compare enters one comparison.
func (f *Filter) compare(field word, op string, value word) error {
	name := strings.ToLower(field.text)
	if field.quoted {
		return bad("'" + short(field.text) + "' stands where a property is expected")
	}
	if name == "eventtimestamp" {
		return f.time(op, value.text)
	}
	if op != "eq" {
		return bad("'" + short(op) + "' stands where eq is expected; ge, gt, le and lt are for eventTimestamp alone")
	}
	if !value.quoted && (strings.EqualFold(value.text, "and") || strings.EqualFold(value.text, "or")) {
		return bad("a value is missing after '" + short(field.text) + " eq'")
	}
	if value.text == "" {
		return bad("the value of '" + short(field.text) + "' is empty")
	}
	one := map[string]*string{"resourcegroupname": &f.Group, "resourcegroup": &f.Group, "correlationid": &f.Corr, "caller": &f.Caller}
	if into := one[name]; into != nil {
		if *into != "" && !strings.EqualFold(*into, value.text) {
			return bad("'" + short(field.text) + "' is compared twice")
		}
		*into = value.text
		return nil
	}
	switch name {
	case "resourceuri", "resourceid":
		return f.resource(value.text)
	case "eventchannels", "channels":
		return oneOf(value.text, "channel", channels)
	}
	return f.list(field.text, value.text)
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
		return bad("'" + short(field) + "' is no property to filter by; eventTimestamp, resourceGroupName, resourceUri, resourceProvider, resourceType, " +
			"correlationId, caller, status, subStatus, levels, operations, category, eventName and eventDataId are")
	}
	if *into != nil {
		return bad("'" + short(field) + "' is compared twice; give several values in one, as 'a,b'")
	}
	for part := range strings.SplitSeq(value, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*into = append(*into, part)
		}
	}
	if *into == nil {
		return bad("the value of '" + short(field) + "' is empty")
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
			return bad("there is no status '" + short(s) + "'; Started, Accepted, Succeeded, Failed, Active and Resolved are there")
		}
	}
	return nil
}

func oneOf(value, what string, known []string) error {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimSpace(part)
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, part) }) {
			return bad("there is no " + what + " '" + short(part) + "'; " + strings.Join(known, ", ") + " are there")
		}
	}
	return nil
}

func (f *Filter) resource(text string) error {
	id, err := ajar.ParseID(text)
	if err != nil || id == ajar.Root {
		return bad("'" + short(text) + "' is not the id of a resource")
	}
	if f.Resource != "" && !f.Resource.Equal(id) {
		return bad("the resource is compared twice")
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
	err := error(bad(""))
	for _, form := range timeForms {
		if err != nil && len(text) <= 64 {
			at, err = time.Parse(form, strings.ToUpper(text))
		}
	}
	if err != nil || at.Year() < 1 || at.Year() > 9999 {
		return bad("'" + short(text) + "' is not a time such as '2026-11-20T17:00:00Z'")
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
		return bad("'" + short(op) + "' stands where ge, gt, le, lt or eq is expected")
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
