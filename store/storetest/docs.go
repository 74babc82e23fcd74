package storetest

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func testRevisions(_ *testing.T, s *suite) {
	l := lease("a")
	s.put(l)
	same(s, "rev of a new document", l.Rev, 1)
	stale := *l
	l.State = ajar.Closing
	s.put(l)
	same(s, "rev of a changed document", l.Rev, 2)

	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Put(&stale) })
	s.refused(ajar.Conflict, func(tx ajar.Tx) error { return tx.Put(lease("a")) })
	s.refused(ajar.Conflict, func(tx ajar.Tx) error {
		never := lease("never")
		never.Rev = 7
		return tx.Put(never)
	})
	s.view(func(tx ajar.Tx) error {
		got, err := ajar.Get[ajar.Lease](tx, "a")
		if err == nil {
			same(s, "stored state", got.State, ajar.Closing)
			if diff := cmp.Diff(l, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				s.Errorf("what was put and what is read differ (-put +read):\n%s", diff)
			}
		}
		return err
	})
	s.update(func(tx ajar.Tx) error { return tx.Delete(ajar.KindLease, "a") })
	again := lease("a")
	s.put(again)
	same(s, "rev after it was deleted", again.Rev, 1)
}

func testNotFound(_ *testing.T, s *suite) {
	s.refused(ajar.NotFound, func(tx ajar.Tx) error { _, err := ajar.Get[ajar.Lease](tx, "a"); return err })
	s.refused(ajar.NotFound, func(tx ajar.Tx) error { return tx.Delete(ajar.KindLease, "a") })
	s.refused(ajar.NotFound, func(tx ajar.Tx) error { _, err := ajar.Get[ajar.Lease](tx, "a\x00\xff"); return err })
	s.put(lease("a"))
	s.refused(ajar.NotFound, func(tx ajar.Tx) error { _, err := ajar.Get[ajar.Request](tx, "a"); return err })
	s.refused(ajar.NotFound, func(tx ajar.Tx) error { return tx.SetHome("nowhere", "replica", noon) })
	s.update(func(tx ajar.Tx) error { return tx.MarkDue("nowhere", noon) }) // there is nothing to look at
}

func testBadDocuments(_ *testing.T, s *suite) {
	for what, d := range map[string]ajar.Doc{
		"no key":                  lease(""),
		"key too long":            lease(strings.Repeat("k", 5000)),
		"zero byte in a key":      lease("a\x00b"),
		"key not UTF-8":           lease("a\xff"),
		"document too long":       lease("a", func(l *ajar.Lease) { l.Trouble = strings.Repeat("x", 2<<20) }),
		"owner too long":          lease("a", func(l *ajar.Lease) { l.Requester = ajar.PrincipalID(strings.Repeat("x", 5000)) }),
		"a time that has no text": lease("a", func(l *ajar.Lease) { l.Start = time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC) }),
	} {
		err := s.s.Update(s.Context(), func(tx ajar.Tx) error { return tx.Put(d) })
		if ajar.KindOf(err) != ajar.Invalid {
			s.Errorf("%s: got %v, want Invalid", what, err)
		}
	}
	s.put(lease("a", func(l *ajar.Lease) { l.Trouble = "odd: \x00 \xff 🙂 </script>" })) // in the document itself all is well
}

func testFilters(_ *testing.T, s *suite) {
	s.put(
		lease("a"),
		lease("b", func(l *ajar.Lease) { l.State, l.Requester = ajar.Opening, "bob" }),
		lease("c", func(l *ajar.Lease) { l.State, l.Endpoint = ajar.Closing, "other" }),
		lease("d", func(l *ajar.Lease) { l.State = ajar.Closed }),
		lease("e", func(l *ajar.Lease) { l.End = noon.Add(10 * time.Minute) }),
		&ajar.Request{ID: "a", Policy: machine("g", "p"), Requester: "alice", State: ajar.Pending, Deadline: noon},
	)
	after := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		what string
		f    ajar.Filter
		want string
	}{
		{"everything", ajar.Filter{}, "abcde"},
		{"owner", ajar.Filter{Owner: "bob"}, "b"},
		{"nobody's", ajar.Filter{Owner: "carol"}, ""},
		{"ref", ajar.Filter{Ref: "ep"}, "abde"},
		{"ref and states", ajar.Filter{Ref: "ep", States: []string{"Opening", "Open", "Closing"}}, "abe"},
		{"ref and what changed", ajar.Filter{Ref: "ep", After: after(2)}, "de"},
		{"state", ajar.Filter{States: []string{"Closed"}}, "d"},
		{"states", ajar.Filter{States: []string{"Closing", "Open"}}, "ace"},
		{"live states", ajar.Filter{States: []string{"Opening", "Open", "Closing"}}, "abce"},
		{"until", ajar.Filter{UntilBefore: noon.Add(10 * time.Minute)}, "e"},
		{"until, in order of time", ajar.Filter{UntilBefore: noon.Add(time.Hour)}, "eabc"},
		{"not until", ajar.Filter{UntilBefore: noon}, ""},
		{"owner and state", ajar.Filter{Owner: "alice", States: []string{"Closed"}}, "d"},
		{"owner and ref", ajar.Filter{Owner: "alice", Ref: "other"}, "c"},
		{"scope and owner", ajar.Filter{Scope: machine("g", "vm"), Owner: "bob"}, "b"},
		{"limit", ajar.Filter{Limit: 2}, "ab"},
		{"hostile", ajar.Filter{Ref: "' OR 1=1 --"}, ""},
	} {
		s.want(c.what, s.keys(c.f), strings.Split(c.want, "")[:len(c.want)])
		s.view(func(tx ajar.Tx) error {
			n, err := tx.Count(ajar.KindLease, c.f)
			if want := int64(len(c.want)); c.f.Limit == 0 && n != want {
				s.Errorf("count of %s: got %d, want %d", c.what, n, want)
			}
			return err
		})
	}
	s.view(func(tx ajar.Tx) error {
		rs, _, err := ajar.List[ajar.Request](tx, ajar.Filter{Ref: machine("g", "p").Key(), States: []string{"Pending"}})
		same(s, "requests of a policy", len(rs), 1)
		_, _, bad := ajar.List[ajar.Lease](tx, ajar.Filter{Ref: "a\x00"})
		same(s, "kind of a filter with a zero byte", ajar.KindOf(bad), ajar.Invalid)
		_, _, bad = ajar.List[ajar.Lease](tx, ajar.Filter{Limit: -1})
		same(s, "kind of a negative limit", ajar.KindOf(bad), ajar.Invalid)
		return err
	})
}

func testScopes(_ *testing.T, s *suite) {
	all := []ajar.ID{
		"/", "/a", "/a/b", "/a-b", "/a0", "/ab", "/A/B/c", "/~s", "/subscriptions", "/subscriptions/x", "/subscriptions/x/leases/~",
		"/a/b/leases/y", "/a/leases", "/a/~leases", "/a/~~o",
	}
	for i, scope := range all {
		s.put(&ajar.RoleAssignment{ID: fmt.Sprintf("%02d", i), Scope: scope})
	}
	for _, scope := range append(all, "/x", "/a/b/", "/a/b/c/d", "/~") {
		var want, got []string
		for _, id := range all {
			if id == "" || (scope != "/" && !ajar.ID(strings.TrimSuffix(string(scope), "/")).Covers(id)) {
				continue
			}
			want = append(want, string(id))
		}
		s.view(func(tx ajar.Tx) error {
			as, _, err := ajar.List[ajar.RoleAssignment](tx, ajar.Filter{Scope: scope})
			for _, a := range as {
				got = append(got, string(a.Scope))
			}
			return err
		})
		slices.Sort(want)
		slices.Sort(got)
		s.want("below "+string(scope), got, want)
	}
}

func testPaging(_ *testing.T, s *suite) {
	names := ids("l", 25)
	mixed := slices.Clone(names)
	rand.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	for i, name := range mixed {
		s.put(lease(name, func(l *ajar.Lease) {
			l.End = noon.Add(time.Duration(i%4) * time.Minute)
			l.Target = machine("g", fmt.Sprint("vm", i%3))
		}))
	}
	zero := int64(0)
	for what, f := range map[string]ajar.Filter{
		"by key":   {},
		"by owner": {Owner: "alice"},
		"by ref":   {Ref: "ep"},
		"by state": {States: []string{"Open", "Opening"}},
		"by seq":   {After: &zero},
		"by until": {UntilBefore: noon.Add(time.Hour)},
		"by scope": {Scope: "/subscriptions/11111111-1111-1111-1111-111111111111"},
	} {
		whole := s.keys(f)
		same(s, what+": entries of the whole list", len(whole), 25)
		for _, size := range []int{1, 7, 25, 26} {
			var got []string
			f.Limit, f.Cursor = size, ""
			for pages := 0; pages == 0 || f.Cursor != ""; pages++ {
				s.view(func(tx ajar.Tx) error {
					ls, next, err := ajar.List[ajar.Lease](tx, f)
					for _, l := range ls {
						got = append(got, string(l.ID))
					}
					f.Cursor = next
					return err
				})
				if pages > 30 {
					s.Fatalf("%s: the list in pages of %d has no end", what, size)
				}
			}
			s.want(fmt.Sprintf("%s in pages of %d", what, size), got, whole)
		}
	}
}

// Whoever pages through a list sees everything that was there all the time exactly once, whatever comes and goes.
func testStablePages(_ *testing.T, s *suite) {
	for _, name := range ids("m", 20) {
		s.put(lease(name))
	}
	var got []string
	f := ajar.Filter{Limit: 3}
	for i := 0; i == 0 || f.Cursor != ""; i++ {
		s.view(func(tx ajar.Tx) error {
			ls, next, err := ajar.List[ajar.Lease](tx, f)
			for _, l := range ls {
				if strings.HasPrefix(string(l.ID), "m") {
					got = append(got, string(l.ID))
				}
			}
			f.Cursor = next
			return err
		})
		s.put(lease(fmt.Sprintf("a-%d", i)), lease(fmt.Sprintf("z-%d", i)))
		if i == 2 {
			got = slices.DeleteFunc(got, func(k string) bool { return k == "m-000" })
			s.update(func(tx ajar.Tx) error { return tx.Delete(ajar.KindLease, "m-000") })
		}
		if i > 30 {
			break // what is added behind is listed too; it ends once nothing is added
		}
	}
	s.want("pages", got, ids("m", 20)[1:])
}

func testCursors(_ *testing.T, s *suite) {
	s.put(lease("a"), lease("b"))
	var next string
	s.view(func(tx ajar.Tx) (err error) {
		_, next, err = ajar.List[ajar.Lease](tx, ajar.Filter{Limit: 1})
		return err
	})
	if next == "" {
		s.Fatal("the list does not go on")
	}
	for _, f := range []ajar.Filter{
		{Cursor: "!"}, {Cursor: "AAAA"}, {Cursor: next[:len(next)/2]},
		{Cursor: next, UntilBefore: noon}, {Cursor: base64.RawURLEncoding.EncodeToString([]byte("u\x00x\x00y")), UntilBefore: noon},
		{Cursor: base64.RawURLEncoding.EncodeToString([]byte("k\x00\xff"))},
	} {
		err := s.s.View(s.Context(), func(tx ajar.Tx) error { _, _, err := ajar.List[ajar.Lease](tx, f); return err })
		if len(f.Cursor) < len(next) && f.Cursor == next[:len(f.Cursor)] && err == nil {
			continue // half a cursor can be another place in the same list
		}
		same(s, "kind of error for cursor "+f.Cursor, ajar.KindOf(err), ajar.Invalid)
	}
}

func testSeq(_ *testing.T, s *suite) {
	a, b, c := lease("a"), lease("b"), lease("c")
	s.put(a)
	s.put(b, c)
	if a.Seq <= 0 || b.Seq <= a.Seq || c.Seq <= b.Seq {
		s.Fatalf("seqs %d, %d, %d do not rise", a.Seq, b.Seq, c.Seq)
	}
	s.want("nothing changed", s.keys(ajar.Filter{After: &c.Seq}), nil)
	last := c.Seq
	s.put(a)
	s.put(lease("d"))
	s.want("what changed, in order", s.keys(ajar.Filter{After: &last}), []string{"a", "d"})
	s.refused("refused", func(tx ajar.Tx) error {
		if err := tx.Put(lease("e")); err != nil {
			return err
		}
		return ajar.Kind("refused")
	})
	f := lease("f")
	s.put(f)
	same(s, "documents of that kind with that seq", len(s.keys(ajar.Filter{After: ptr(f.Seq - 1)})), 1)
}

func ptr[T any](v T) *T { return &v }

// A list can be used to change what it lists.
func testListWrites(_ *testing.T, s *suite) {
	for _, name := range ids("l", 30) {
		s.put(lease(name))
	}
	zero := int64(0)
	for _, f := range []ajar.Filter{{}, {After: &zero}, {States: []string{"Open"}}, {UntilBefore: noon.Add(2 * time.Hour)}} {
		n := 0
		s.update(func(tx ajar.Tx) error {
			n = 0
			_, err := tx.ListDocs(ajar.KindLease, f, func(decode func(ajar.Doc) error) error {
				n++
				l := new(ajar.Lease)
				if err := decode(l); err != nil {
					return err
				}
				l.Trouble = "seen"
				return tx.Put(l)
			})
			return err
		})
		same(s, "documents seen", n, 30)
	}
}

func testTimes(_ *testing.T, s *suite) {
	// A lease ends within a millisecond; it must not be listed as ended before.
	end := noon.Add(300 * time.Microsecond)
	s.put(lease("a", func(l *ajar.Lease) { l.End = end }))
	s.want("just before its end", s.keys(ajar.Filter{UntilBefore: end.Add(-time.Nanosecond)}), nil)
	s.want("a millisecond later", s.keys(ajar.Filter{UntilBefore: end.Add(time.Millisecond)}), []string{"a"})
	zone := time.FixedZone("east", 5*3600)
	s.want("in another zone", s.keys(ajar.Filter{UntilBefore: end.Add(time.Second).In(zone)}), []string{"a"})
	s.put(lease("far", func(l *ajar.Lease) { l.End = time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC) }))
	s.want("year 9999", s.keys(ajar.Filter{UntilBefore: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}), []string{"a"})
}

func testRightsGen(_ *testing.T, s *suite) {
	gen := func() (n int64) {
		s.view(func(tx ajar.Tx) (err error) { n, err = tx.RightsGen(); return err })
		return n
	}
	moves := func(what string, want bool, fn func(tx ajar.Tx) error) {
		s.Helper()
		before := gen()
		s.update(fn)
		same(s, what+" moves RightsGen", gen() != before, want)
	}
	putting := func(d ajar.Doc) func(ajar.Tx) error { return func(tx ajar.Tx) error { return tx.Put(d) } }
	group := &ajar.Principal{ID: "g", Kind: ajar.Group, Name: "admins"}
	user := &ajar.Principal{ID: "u", Kind: ajar.User, Name: "alice"}
	moves("a new group", true, putting(group))
	moves("a changed group", true, putting(group))
	moves("a user", false, putting(user))
	moves("a role definition", true, putting(&ajar.RoleDefinition{ID: "r"}))
	moves("an assignment", true, putting(&ajar.RoleAssignment{ID: "a", Scope: "/"}))
	moves("a deny", true, putting(&ajar.DenyAssignment{ID: "d", Scope: "/"}))
	moves("a management group", true, putting(&ajar.ManagementGroup{ID: "/providers/Microsoft.Management/managementGroups/m"}))
	moves("a lease", false, putting(lease("l")))
	moves("a user that goes", false, func(tx ajar.Tx) error { return tx.Delete(ajar.KindPrincipal, "u") })
	moves("a group that goes", true, func(tx ajar.Tx) error { return tx.Delete(ajar.KindPrincipal, "g") })
	moves("an assignment that goes", true, func(tx ajar.Tx) error { return tx.Delete(ajar.KindRoleAssignment, "a") })
	s.update(func(tx ajar.Tx) error {
		before, err := tx.RightsGen()
		if err != nil {
			return err
		}
		if err := tx.Put(&ajar.RoleDefinition{ID: "r2"}); err != nil {
			return err
		}
		after, err := tx.RightsGen()
		same(s, "an Update sees what it did itself", after != before, true)
		return err
	})
}

func testLongList(_ *testing.T, s *suite) {
	const n = 2500
	s.update(func(tx ajar.Tx) error {
		for _, name := range ids("l", n) {
			if err := tx.Put(lease(name)); err != nil {
				return err
			}
		}
		return nil
	})
	got := s.keys(ajar.Filter{})
	want := ids("l", n)
	slices.Sort(want)
	s.want("the whole list", got, want)
}
