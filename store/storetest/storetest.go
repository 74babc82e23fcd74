// Package storetest is what every ajar.Store must pass: the promises of the comments in store.go of package ajar, one
// test each. It knows no database, except that it can start a PostgreSQL server for those who need one.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// Run tests the Stores that open gives. Each must be empty; open has them closed at the test's end.
func Run(t *testing.T, open func(t *testing.T) ajar.Store) {
	for name, test := range map[string]func(*testing.T, *suite){
		"PutGivesRevisions":           testRevisions,
		"WhatIsNotThereIsNotFound":    testNotFound,
		"BadDocumentsAreInvalid":      testBadDocuments,
		"ListsFilter":                 testFilters,
		"ScopesAreSegments":           testScopes,
		"ListsPage":                   testPaging,
		"PagesAreStable":              testStablePages,
		"CursorsAreChecked":           testCursors,
		"SeqTellsWhatChanged":         testSeq,
		"ListsMayWrite":               testListWrites,
		"TimesAreMilliseconds":        testTimes,
		"RightsGenMoves":              testRightsGen,
		"ViewsSeeCommits":             testViewsSeeCommits,
		"ViewsAreSnapshots":           testSnapshots,
		"ViewsCannotWrite":            testViewsCannotWrite,
		"RefusalUndoesItsOwn":         testRefusal,
		"RefusalsSpareNeighbours":     testNeighbours,
		"PanicIsInternal":             testPanic,
		"UpdatesAreSerial":            testSerial,
		"CancelledUpdatesDoNotRun":    testCancelled,
		"TransactionsEnd":             testEnded,
		"OneOfTwoMakesIt":             testCompareAndSet,
		"ClosedStoreIsUnavailable":    testClosed,
		"NewEndpointsAreDue":          testNewEndpoint,
		"ClaimedExactlyOnce":          testClaims,
		"LongestDueFirst":             testClaimOrder,
		"ClaimsEnd":                   testClaimEnds,
		"OneEndpointIsClaimed":        testClaimOne,
		"ReleaseSetsTheNextLook":      testRelease,
		"MarkedDuringAClaimStaysDue":  testMarkDuringClaim,
		"MarkDueNeverDelays":          testMarkEarlier,
		"OnlyTheHomeClaims":           testHome,
		"NextDue":                     testNextDue,
		"DropClaims":                  testDropClaims,
		"DeletedEndpointsAreNotDue":   testDeletedEndpoint,
		"PositionsHaveNoGaps":         testPositions,
		"EventsFilter":                testEventFilters,
		"EventsAreAsWritten":          testEventRoundTrip,
		"HostileEventsAreLogged":      testHostileEvents,
		"BatchesAreChained":           testChain,
		"AgreesWithAModel":            testModel,
		"HistoriesAreSerial":          func(_ *testing.T, s *suite) { History(s, s.s) },
		"ManyEndpointsPageInNextDue":  testNextDueMany,
		"ListOfManyPagesGivesAllOnce": testLongList,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, &suite{T: t, s: open(t)})
		})
	}
}

// suite is one test's Store and its shorthands.
type suite struct {
	*testing.T
	s ajar.Store
}

func (s *suite) update(fn func(tx ajar.Tx) error) {
	s.Helper()
	if err := s.s.Update(s.Context(), fn); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) view(fn func(tx ajar.Tx) error) {
	s.Helper()
	if err := s.s.View(s.Context(), fn); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) put(docs ...ajar.Doc) {
	s.Helper()
	s.update(func(tx ajar.Tx) error {
		for _, d := range docs {
			if err := tx.Put(d); err != nil {
				return err
			}
		}
		return nil
	})
}

// refused runs fn, which must end with an error of that kind.
func (s *suite) refused(want ajar.Kind, fn func(tx ajar.Tx) error) {
	s.Helper()
	if err := s.s.Update(s.Context(), fn); !errors.Is(err, want) {
		s.Fatalf("got %v (%s), want %s", err, ajar.KindOf(err), want)
	}
}

// keys lists the keys of the leases that f selects.
func (s *suite) keys(f ajar.Filter) (keys []string) {
	s.Helper()
	s.view(func(tx ajar.Tx) error {
		keys = nil
		ls, _, err := ajar.List[ajar.Lease](tx, f)
		for _, l := range ls {
			keys = append(keys, string(l.ID))
		}
		return err
	})
	return keys
}

func (s *suite) want(what string, got, want []string) {
	s.Helper()
	if !slices.Equal(got, want) {
		s.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func same[T comparable](s *suite, what string, got, want T) {
	s.Helper()
	if got != want {
		s.Errorf("%s: got %v, want %v", what, got, want)
	}
}

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

func machine(group, name string) ajar.ID {
	return ajar.ID("/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/" + group + "/providers/Microsoft.Compute/virtualMachines/" + name)
}

func lease(id string, change ...func(*ajar.Lease)) *ajar.Lease {
	l := &ajar.Lease{ID: ajar.LeaseID(id), Target: machine("g", "vm"), Endpoint: "ep", Requester: "alice", State: ajar.Open, Start: noon, End: noon.Add(time.Hour)}
	for _, c := range change {
		c(l)
	}
	return l
}

func endpoint(id string) *ajar.Endpoint {
	return &ajar.Endpoint{ID: ajar.EndpointID(id), Provider: "fake", Target: machine("g", id)}
}

func ids(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s-%03d", prefix, i))
	}
	return names
}

// eventually runs fn in n goroutines and waits for all of them.
func (s *suite) together(n int, fn func(ctx context.Context, i int) error) {
	s.Helper()
	errs := make(chan error, n)
	for i := range n {
		go func() { errs <- fn(s.Context(), i) }()
	}
	for range n {
		if err := <-errs; err != nil {
			s.Error(err)
		}
	}
}

// Until waits until ok, and fails the test if that takes half a minute.
func Until(t testing.TB, ok func() bool) {
	t.Helper()
	tick, limit := time.NewTicker(2*time.Millisecond), time.NewTimer(30*time.Second)
	defer tick.Stop()
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("this did not come about within half a minute")
		}
	}
}
