package activity

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
)

// logOf is a log of events and how it is read, newest first, as a store reads it.
type logOf struct {
	events []*ajar.Event
	reads  int
	looked int
}

func (l *logOf) read(f ajar.EventFilter) (out []*ajar.Event, err error) {
	l.reads++
	for _, e := range slices.Backward(l.events) {
		if len(out) < f.Limit && (f.Until == 0 || e.Pos < f.Until) && f.Matches(e) && !e.Time.Before(f.Since) && (f.Before.IsZero() || e.Time.Before(f.Before)) {
			out = append(out, e)
		}
	}
	l.looked += len(out)
	return out, nil
}

func made(n int, pick func(i int) ajar.Event) *logOf {
	l := &logOf{}
	for i := range n {
		e := pick(i)
		e.Pos, e.Time = int64(i+1), at("2026-11-20T10:00:00Z").Add(time.Duration(i)*time.Second)
		l.events = append(l.events, &e)
	}
	return l
}

// TestPagesAreTheWholeList: whatever is filtered and however large a page is, pages put together are the list.
func TestPagesAreTheWholeList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := made(rapid.IntRange(0, 60).Draw(t, "events"), func(int) ajar.Event {
			return ajar.Event{
				Action:  rapid.SampledFrom([]ajar.Action{ajar.PolicyWrite, ajar.LeaseOpened, ajar.GuardSet, ajar.SignIn}).Draw(t, "action"),
				Outcome: rapid.SampledFrom([]ajar.Outcome{ajar.Accepted, ajar.Refused, ajar.Happened}).Draw(t, "outcome"),
				Scope:   rapid.SampledFrom([]ajar.ID{"", "/subscriptions/s", "/subscriptions/s/resourceGroups/g"}).Draw(t, "scope"),
			}
		})
		filter, err := Parse(rapid.SampledFrom([]string{"", "status eq 'Failed'", "status eq 'Started'", "resourceGroupName eq 'g'", "eventTimestamp ge 2026-11-20T10:00:20", "operations eq 'Ajar.Access/leases/opened'"}).Draw(t, "filter"))
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Scope: ajar.Root, Filter: filter, Limit: 1 << 20}
		whole, next, err := Plane{}.List(q, l.read)
		if err != nil || next != "" {
			t.Fatal(next, err)
		}
		q.Limit = rapid.IntRange(1, 7).Draw(t, "page")
		var got []*Record
		for pages := 0; ; pages++ {
			page, next, err := Plane{}.List(q, l.read)
			if err != nil || len(page) > q.Limit || pages > 200 {
				t.Fatal(len(page), pages, err)
			}
			got = append(got, page...)
			if q.Cursor = next; next == "" {
				break
			}
		}
		same := func(a, b *Record) bool { return a.ID == b.ID }
		if !slices.EqualFunc(got, whole, same) {
			t.Fatalf("%d records in pages of %d, %d in one", len(got), q.Limit, len(whole))
		}
		for i, r := range whole {
			if i > 0 && r.number >= whole[i-1].number {
				t.Fatal("not the newest first")
			}
		}
	})
}

// TestAPageLooksAtSoManyEventsAndNoMore: a filter that fits nothing gets an empty page and where to go on.
func TestAPageLooksAtSoManyEventsAndNoMore(t *testing.T) {
	l := made(3*mostLooked, func(int) ajar.Event { return ajar.Event{Action: ajar.PolicyWrite, Outcome: ajar.Accepted} })
	filter, err := Parse("resourceProvider eq 'Microsoft.Compute'")
	if err != nil {
		t.Fatal(err)
	}
	q := Query{Scope: ajar.Root, Filter: filter, Limit: 10}
	page, next, err := Plane{}.List(q, l.read)
	if err != nil || len(page) != 0 || next != fmt.Sprint(2*(2*mostLooked+1)) || l.looked != mostLooked {
		t.Fatalf("%d records, next %q, looked at %d: %v", len(page), next, l.looked, err)
	}
}

// TestFiltersUseTheIndex: what the log is indexed by is asked of the index.
func TestFiltersUseTheIndex(t *testing.T) {
	for text, want := range map[string]ajar.EventFilter{
		"status eq 'Failed'":                                     {Scope: "/subscriptions/s", Outcome: ajar.Refused},
		"levels eq 'Error'":                                      {Scope: "/subscriptions/s", Outcome: ajar.Refused},
		"levels eq 'Error,Warning'":                              {Scope: "/subscriptions/s"},
		"resourceGroupName eq 'g'":                               {Scope: "/subscriptions/s/resourceGroups/g"},
		"resourceUri eq '/subscriptions/S/resourceGroups/g/x/y'": {Scope: "/subscriptions/S/resourceGroups/g/x/y"},
		"correlationId eq 'c'":                                   {Scope: "/subscriptions/s", Corr: "c"},
		"operations eq 'x/y'":                                    {Scope: "/subscriptions/s", Action: "x/y"},
		"operations eq 'Initiate JIT Network Access Policy'":     {Scope: "/subscriptions/s"},
		"operations eq 'x,y'":                                    {Scope: "/subscriptions/s"},
		"eventTimestamp ge 2026-11-20":                           {Scope: "/subscriptions/s", Since: at("2026-11-20T00:00:00Z")},
	} {
		filter, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		q := Query{Scope: "/subscriptions/s", Filter: filter}
		scope, err := q.At()
		if got := q.events(scope); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// TestRecordsAreTheSameWheneverRead: their ids do not depend on who reads them.
func TestRecordsAreTheSameWheneverRead(t *testing.T) {
	e := &ajar.Event{Pos: 7, Time: at("2018-01-29T20:42:31.381Z"), Action: ajar.PolicyDelete, Outcome: ajar.Accepted, Corr: "c", Scope: "/subscriptions/s"}
	a, b := Plane{URL: "https://a"}.Records(e), Plane{URL: "https://b", Tenant: "t"}.Records(e)
	if len(a) != 2 || a[0].ID != b[0].ID || a[1].ID != b[1].ID || a[0].ID == a[1].ID {
		t.Errorf("%v and %v", a, b)
	}
	if want := "/ticks/636528553513810000"; a[0].ID[len(a[0].ID)-len(want):] != want {
		t.Error(a[0].ID)
	}
}

func TestAsks(t *testing.T) {
	got := asks("vm 1 22/TCP from 192.0.2.0/24,::1/128 until 2026-11-20T17:00:00Z; vm2 53/UDP from 10.0.0.1/32 for PT1H; and 3 more")
	want := []ask{{"vm 1", "22/TCP", "192.0.2.0/24,::1/128", "2026-11-20T17:00:00Z", ""}, {"vm2", "53/UDP", "10.0.0.1/32", "", "PT1H"}}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if asks("nonsense") != nil || asks("") != nil {
		t.Error("nonsense is read")
	}
}
