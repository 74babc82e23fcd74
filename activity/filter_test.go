package activity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UTC()
}

func TestParse(t *testing.T) {
	for text, want := range map[string]Filter{
		"":   {},
		"  ": {},
		// As Azure's documentation has it, and as Azure CLI 2.45 sends it.
		"eventTimestamp ge '2026-11-19T04:53:01Z' and eventTimestamp le '2026-11-20T04:53:01.5Z'":            {Since: at("2026-11-19T04:53:01Z"), Before: at("2026-11-20T04:53:01.501Z")},
		"eventTimestamp ge 2026-11-19T04:53:01.088136 and eventTimestamp le 2026-11-20T04:53:01.088136":      {Since: at("2026-11-19T04:53:01.089Z"), Before: at("2026-11-20T04:53:01.089Z")},
		"eventTimestamp gt datetime'2026-11-19T04:53:01Z' and eventTimestamp lt '2026-11-20T06:53:01+02:00'": {Since: at("2026-11-19T04:53:01.001Z"), Before: at("2026-11-20T04:53:01Z")},
		"eventTimestamp ge '2026-11-19T04:53:01 00:00'":                                                      {Since: at("2026-11-19T04:53:01Z")}, // a plus sign that was not escaped
		"eventTimestamp eq 2026-11-19":                                           {Since: at("2026-11-19T00:00:00Z"), Before: at("2026-11-19T00:00:00.001Z")},
		"eventTimestamp ge '0001-01-01T00:00:00Z'":                               {Since: time.Unix(0, 0).UTC()},
		"eventTimestamp ge 2026-11-18 and eventTimestamp ge 2026-11-19":          {Since: at("2026-11-19T00:00:00Z")},
		"RESOURCEGROUPNAME EQ 'rg' AND status eq 'Start,failure'":                {Group: "rg", Statuses: []string{Started, Failed}},
		"caller eq 'o''brien' and correlationId eq abc":                          {Caller: "o'brien", Corr: "abc"},
		"resourceUri eq '/subscriptions/s/resourceGroups/g'":                     {Resource: "/subscriptions/s/resourceGroups/g"},
		"eventChannels eq 'Admin, Operation' and levels eq 'Critical, Error'":    {Levels: []string{"Critical", "Error"}},
		"resourceProvider eq 'a' and resourceTypes eq 'b,c' and operations eq d": {Providers: []string{"a"}, Types: []string{"b", "c"}, Operations: []string{"d"}},
		"category eq 'Administrative' and subStatus eq 'Created'":                {Categories: []string{"Administrative"}, SubStatuses: []string{"Created"}},
		"eventName eq 'EndRequest' and eventDataId eq 'x'":                       {Names: []string{"EndRequest"}, IDs: []string{"x"}},
	} {
		got, err := Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	for text, why := range map[string]string{
		"status":                                     "it ends where",
		"status eq 'Failed' and":                     "it ends where",
		"status eq 'Failed' status eq 'Started'":     "'status' stands where 'and' is expected",
		"status eq 'Failed' or caller eq 'x'":        "'and' alone",
		"(status eq 'Failed')":                       "parentheses",
		"startswith(caller, 'x')":                    "parentheses",
		"'status' eq 'Failed'":                       "a property is expected",
		"status gt 'Failed'":                         "eq is expected",
		"status eq ''":                               "is empty",
		"operations eq ','":                          "is empty",
		"status eq and caller eq 'x'":                "a value is missing",
		"status eq 'Failed' and status eq 'Started'": "compared twice",
		"caller eq 'a' and caller eq 'b'":            "compared twice",
		"resourceId eq '/a' and resourceUri eq '/b'": "compared twice",
		"eventTimestamp like 2026-11-19":             "ge, gt, le, lt or eq",
		"eventTimestamp ge '2026-13-19'":             "not a time",
		"eventTimestamp ge now()":                    "parentheses",
		"eventChannels eq 'Secret'":                  "no channel",
		"tenantId eq 'x'":                            "no property to filter by",
		"caller eq 'x":                               "no end",
		strings.Repeat("x", 4001):                    "longer than",
	} {
		_, err := Parse(text)
		var e *ajar.Error
		if !errors.As(err, &e) || e.Kind != ajar.Invalid || e.Code != "InvalidFilterInQueryString" || !strings.Contains(e.Msg, why) {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}

// FuzzParse: whatever the text, it is read or refused in words, and what is read can be asked for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"eventTimestamp ge 2026-11-19T04:53:01.088136 and eventTimestamp le '2026-11-20T04:53:01Z' and caller eq 'a@b.c' and status eq 'Started'",
		"resourceUri eq '/subscriptions/s' and levels eq 'Error'", "datetime'", "a eq 'b''c'", "status eq \x00\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := Parse(s)
		if err != nil {
			if ajar.KindOf(err) != ajar.Invalid || len(ajar.Message(err)) > 1000 {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if !got.Since.IsZero() && !got.Before.IsZero() && !got.Since.Before(got.Before) {
			t.Errorf("%q: from %s to %s", s, got.Since, got.Before)
		}
		q := Query{Scope: "/subscriptions/s", Filter: got, Limit: 10}
		_, _, err = Plane{}.List(q, func(ajar.EventFilter) ([]*ajar.Event, error) { return nil, nil })
		if err != nil && ajar.KindOf(err) != ajar.Invalid {
			t.Errorf("%q: %v", s, err)
		}
	})
}

func TestParseSelect(t *testing.T) {
	for text, want := range map[string]int{"": 0, ",": 0, "status": 1, " Status ,eventTimestamp,STATUS": 2} {
		if got, err := ParseSelect(text); err != nil || len(got) != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"number", "status eventTimestamp", "who", strings.Repeat("x", 4001)} {
		if _, err := ParseSelect(text); ajar.KindOf(err) != ajar.Invalid {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}
