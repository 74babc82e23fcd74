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

// claim claims for owner at now and lists what it got.
func (s *suite) claim(now time.Time, n int, owner string) (claims []ajar.Claim, names []string) {
	s.Helper()
	s.update(func(tx ajar.Tx) (err error) {
		claims, err = tx.ClaimDue(now, n, time.Minute, owner)
		return err
	})
	for _, c := range claims {
		names = append(names, string(c.Endpoint.ID))
	}
	return claims, names
}

func (s *suite) release(c ajar.Claim, due time.Time, failures int) {
	s.Helper()
	s.update(func(tx ajar.Tx) error { return tx.Release(c, due, failures) })
}

func (s *suite) endpoints(names ...string) {
	s.Helper()
	for _, name := range names {
		s.put(endpoint(name))
	}
}

// settled makes endpoints that are next due at the given time.
func (s *suite) settled(due time.Time, names ...string) {
	s.Helper()
	s.endpoints(names...)
	claims, _ := s.claim(noon.Add(-time.Hour), len(names), "setup")
	for _, c := range claims {
		s.release(c, due, 0)
	}
}

func (s *suite) nextDue(owner string) (at time.Time) {
	s.Helper()
	s.view(func(tx ajar.Tx) (err error) {
		at, err = tx.NextDue(owner)
		return err
	})
	return at
}

func testNewEndpoint(_ *testing.T, s *suite) {
	same(s, "NextDue without endpoints", s.nextDue("me"), time.Time{})
	ep := endpoint("a")
	s.put(ep)
	if at := s.nextDue("me"); at.IsZero() || at.After(noon) {
		s.Errorf("a new endpoint is next due at %v, want at once", at)
	}
	ep.Connected = true
	s.put(ep)
	claims, _ := s.claim(noon, 5, "me")
	if len(claims) != 1 {
		s.Fatalf("%d claims, want 1", len(claims))
	}
	c := claims[0]
	same(s, "the endpoint is as it was put last", c.Endpoint.Connected, true)
	same(s, "its rev", c.Endpoint.Rev, 2)
	same(s, "owner", c.Owner, "me")
	same(s, "until", c.Until.Equal(noon.Add(time.Minute)), true)
}

func testClaims(_ *testing.T, s *suite) {
	const workers, n = 8, 50
	s.endpoints(ids("ep", n)...)
	got := make([][]string, workers)
	s.together(workers, func(ctx context.Context, i int) error {
		for {
			var claims []ajar.Claim
			err := s.s.Update(ctx, func(tx ajar.Tx) (err error) {
				claims, err = tx.ClaimDue(noon, 3, time.Minute, fmt.Sprint("worker-", i))
				return err
			})
			if err != nil || len(claims) == 0 {
				return err
			}
			for _, c := range claims {
				got[i] = append(got[i], string(c.Endpoint.ID))
			}
		}
	})
	all := slices.Concat(got...)
	slices.Sort(all)
	s.want("claims of all workers", all, ids("ep", n))
}

func testClaimOrder(_ *testing.T, s *suite) {
	s.settled(noon.Add(time.Hour), "a", "b", "c")
	s.update(func(tx ajar.Tx) error {
		return errors.Join(tx.MarkDue("c", noon.Add(-3*time.Second)), tx.MarkDue("a", noon.Add(-2*time.Second)), tx.MarkDue("b", noon.Add(-time.Second)))
	})
	_, names := s.claim(noon, 2, "me")
	s.want("the longest due first", names, []string{"c", "a"})
	_, names = s.claim(noon, 2, "me")
	s.want("the rest", names, []string{"b"})
}

func testClaimEnds(_ *testing.T, s *suite) {
	s.endpoints("a")
	mine, _ := s.claim(noon, 1, "me")
	_, names := s.claim(noon.Add(59*time.Second), 1, "you")
	s.want("claims while it is held", names, nil)
	yours, names := s.claim(noon.Add(time.Minute), 1, "you")
	s.want("claims after the hold", names, []string{"a"})
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Release(mine[0], noon.Add(time.Hour), 0) })
	s.release(yours[0], noon.Add(time.Hour), 0)
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Release(yours[0], noon.Add(time.Hour), 0) })

	s.update(func(tx ajar.Tx) error { return tx.MarkDue("a", noon) })
	first, _ := s.claim(noon, 1, "me")
	_, names = s.claim(noon.Add(2*time.Minute), 1, "me")
	s.want("one's own claim after the hold", names, []string{"a"})
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Release(first[0], noon, 0) })
}

func testClaimOne(_ *testing.T, s *suite) {
	one := func(ep ajar.EndpointID, now time.Time, owner string) (c ajar.Claim, ok bool) {
		s.Helper()
		s.update(func(tx ajar.Tx) (err error) {
			c, ok, err = tx.Claim(ep, now, time.Minute, owner)
			return err
		})
		return c, ok
	}
	s.settled(noon.Add(time.Hour), "a", "b")
	_, ok := one("nobody", noon, "me")
	same(s, "an endpoint that is not there", ok, false)
	var c ajar.Claim
	s.update(func(tx ajar.Tx) (err error) { // due, claimed and written in one Update
		if err := tx.MarkDue("a", noon); err != nil {
			return err
		}
		c, ok, err = tx.Claim("a", noon, time.Minute, "me")
		return err
	})
	if !ok {
		s.Fatal("a free endpoint is not given")
	}
	same(s, "endpoint", c.Endpoint.ID, "a")
	same(s, "owner", c.Owner, "me")
	same(s, "until", c.Until.Equal(noon.Add(time.Minute)), true)
	_, ok = one("a", noon.Add(59*time.Second), "you")
	same(s, "while it is held", ok, false)
	_, names := s.claim(noon.Add(59*time.Second), 5, "you")
	s.want("claims of what is due while it is held", names, nil)
	s.release(c, noon.Add(2*time.Hour), 2)
	same(s, "NextDue: it was not marked since", s.nextDue("me").Equal(noon.Add(time.Hour)), true)
	s.update(func(tx ajar.Tx) error { return tx.SetHome("a", "you", noon.Add(time.Minute)) })
	_, ok = one("a", noon, "me")
	same(s, "from elsewhere than its home", ok, false)
	c, ok = one("a", noon, "you")
	same(s, "from its home", ok, true)
	same(s, "failures", c.Failures, 2)
	s.refused(ajar.Invalid, func(tx ajar.Tx) error { _, _, err := tx.Claim("b", noon, time.Minute, ""); return err })
}

func testRelease(_ *testing.T, s *suite) {
	s.endpoints("a")
	c, _ := s.claim(noon, 1, "me")
	s.release(c[0], noon.Add(10*time.Second), 3)
	_, names := s.claim(noon.Add(9*time.Second), 1, "me")
	s.want("before it is due", names, nil)
	same(s, "NextDue", s.nextDue("me").Equal(noon.Add(10*time.Second)), true)
	c, _ = s.claim(noon.Add(10*time.Second), 1, "me")
	if len(c) != 1 {
		s.Fatal("it is not due again")
	}
	same(s, "failures", c[0].Failures, 3)
	due := noon.Add(20*time.Second + 300*time.Microsecond)
	s.release(c[0], due, 0)
	_, names = s.claim(due.Add(-time.Nanosecond), 1, "me")
	s.want("within the millisecond before it is due", names, nil)
	_, names = s.claim(due.Add(time.Millisecond), 1, "me")
	s.want("a millisecond after", names, []string{"a"})
}

func testMarkDuringClaim(_ *testing.T, s *suite) {
	s.endpoints("a")
	c, _ := s.claim(noon, 1, "me")
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("a", noon) })
	_, names := s.claim(noon, 1, "you")
	s.want("marking does not end a claim", names, nil)
	s.release(c[0], noon.Add(time.Hour), 0)
	again, names := s.claim(noon, 1, "you")
	s.want("it stayed due", names, []string{"a"})
	same(s, "its mark moved", again[0].Mark != c[0].Mark, true)
	s.release(again[0], noon.Add(time.Hour), 0)
	_, names = s.claim(noon, 1, "you")
	s.want("nothing marked it since", names, nil)
}

func testMarkEarlier(_ *testing.T, s *suite) {
	s.settled(noon, "a")
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("a", noon.Add(time.Hour)) })
	same(s, "a later mark changes nothing", s.nextDue("me").Equal(noon), true)
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("a", noon.Add(-time.Minute)) })
	same(s, "an earlier one does", s.nextDue("me").Equal(noon.Add(-time.Minute)), true)
}

func testHome(_ *testing.T, s *suite) {
	s.endpoints("a")
	s.update(func(tx ajar.Tx) error { return tx.SetHome("a", "home", noon.Add(30*time.Second)) })
	_, names := s.claim(noon, 1, "other")
	s.want("claims from elsewhere", names, nil)
	same(s, "NextDue elsewhere", s.nextDue("other").Equal(noon.Add(30*time.Second)), true)
	c, names := s.claim(noon, 1, "home")
	s.want("claims from home", names, []string{"a"})
	s.release(c[0], noon, 0)
	c, names = s.claim(noon.Add(30*time.Second), 1, "other")
	s.want("claims after the home was lost", names, []string{"a"})
	s.release(c[0], noon, 0)
	s.update(func(tx ajar.Tx) error { return tx.SetHome("a", "home", noon.Add(time.Hour)) })
	s.update(func(tx ajar.Tx) error { return tx.SetHome("a", "", noon.Add(time.Hour)) })
	_, names = s.claim(noon, 1, "other")
	s.want("claims after the home was given up", names, []string{"a"})
}

func testNextDue(_ *testing.T, s *suite) {
	s.settled(noon.Add(time.Hour), "a", "b")
	same(s, "the earliest", s.nextDue("me").Equal(noon.Add(time.Hour)), true)
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("a", noon) })
	same(s, "an earlier mark", s.nextDue("me").Equal(noon), true)
	s.claim(noon, 1, "me")
	same(s, "a held one counts from the end of its claim", s.nextDue("me").Equal(noon.Add(time.Minute)), true)
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("b", noon.Add(30*time.Second)) })
	same(s, "another comes first", s.nextDue("me").Equal(noon.Add(30*time.Second)), true)
}

// With many endpoints due that somebody else must look at, the first that we can is still found.
func testNextDueMany(_ *testing.T, s *suite) {
	names := ids("ep", 150)
	s.endpoints(names...)
	s.update(func(tx ajar.Tx) error {
		for _, name := range names {
			if err := tx.SetHome(ajar.EndpointID(name), "home", noon.Add(time.Hour)); err != nil {
				return err
			}
		}
		return nil
	})
	same(s, "when the homes end", s.nextDue("other").Equal(noon.Add(time.Hour)), true)
	s.put(endpoint("zz"))
	claims, got := s.claim(noon, 10, "other")
	s.want("claims", got, []string{"zz"})
	s.release(claims[0], noon.Add(time.Minute), 0)
	same(s, "when the last one is", s.nextDue("other").Equal(noon.Add(time.Minute)), true)
}

func testDropClaims(_ *testing.T, s *suite) {
	s.endpoints("a", "b")
	mine, _ := s.claim(noon, 1, "me")
	s.claim(noon, 1, "you")
	s.update(func(tx ajar.Tx) error { return tx.DropClaims("me") })
	_, names := s.claim(noon, 2, "other")
	s.want("claims of what was dropped", names, []string{string(mine[0].Endpoint.ID)})
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Release(mine[0], noon, 0) })
	s.update(func(tx ajar.Tx) error { return tx.DropClaims("nobody") })
}

func testDeletedEndpoint(_ *testing.T, s *suite) {
	s.endpoints("a")
	c, _ := s.claim(noon, 1, "me")
	s.update(func(tx ajar.Tx) error { return tx.Delete(ajar.KindEndpoint, "a") })
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Release(c[0], noon, 0) })
	same(s, "NextDue", s.nextDue("me"), time.Time{})
	s.endpoints("a")
	_, names := s.claim(noon, 1, "you")
	s.want("a new one of that name", names, []string{"a"})
}
