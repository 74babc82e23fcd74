package rbac

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/ajar-access/ajar"
)

// model is Azure's access control said as plainly as possible: no index, nothing remembered.
type model struct{ Data }

func (m model) identities(who ajar.Caller) (as []ajar.PrincipalID) {
	off := func(id ajar.PrincipalID) bool {
		return slices.ContainsFunc(m.Principals, func(p *ajar.Principal) bool { return p.ID == id && p.Disabled })
	}
	if off(who.Principal) {
		return nil
	}
	as = append(as, who.Principal)
	for _, g := range who.Groups {
		if !off(g) {
			as = append(as, g)
		}
	}
	for _, p := range m.Principals {
		if p.Kind == ajar.Group && !p.Disabled && slices.Contains(p.Members, who.Principal) {
			as = append(as, p.ID)
		}
	}
	return as
}

// above lists every scope that s inherits from, itself included.
func (m model) above(s ajar.ID) (out []string) {
	for _, g := range m.ManagementGroups {
		inside := g.ID.Equal(s)
		for _, sub := range g.Subscriptions {
			inside = inside || ajar.ID("/subscriptions/"+sub).Covers(s)
		}
		if !inside {
			continue
		}
		for k, n := g, 0; k != nil && n <= len(m.ManagementGroups); n++ {
			out = append(out, k.ID.Key())
			i := slices.IndexFunc(m.ManagementGroups, func(o *ajar.ManagementGroup) bool { return o.ID.Equal(k.Parent) })
			if k = nil; i >= 0 {
				k = m.ManagementGroups[i]
			}
		}
	}
	parts := strings.Split(strings.Trim(s.Key(), "/"), "/")
	for n := range parts {
		out = append(out, "/"+strings.Join(parts[:n+1], "/"))
	}
	return append(out, "/")
}

func (m model) matches(patterns []ajar.Action, a ajar.Action) bool {
	return slices.ContainsFunc(patterns, func(p ajar.Action) bool {
		re := regexp.QuoteMeta(string(p))
		if i := strings.Index(re, `/\*/`); i > 0 && strings.Contains(re[:i], "/") { // below a type, it may be no segment
			re = re[:i] + `/(?:.*/)?` + re[i+len(`/\*/`):]
		}
		re = strings.ReplaceAll(re, `\*`, `.*`)
		return regexp.MustCompile(`(?i)^` + re + `$`).MatchString(string(a))
	})
}

func (m model) grants(perms []ajar.Permission, a ajar.Action, data bool) bool {
	return slices.ContainsFunc(perms, func(p ajar.Permission) bool {
		if data {
			return m.matches(p.DataActions, a) && !m.matches(p.NotDataActions, a)
		}
		return m.matches(p.Actions, a) && !m.matches(p.NotActions, a)
	})
}

func (m model) decide(who ajar.Caller, a ajar.Action, s ajar.ID, data bool) bool {
	as, above := m.identities(who), m.above(s)
	if as == nil {
		return false
	}
	for _, d := range m.Denies {
		hit := slices.Contains(d.Principals, ajar.Everyone)
		for _, p := range as {
			hit = hit || slices.Contains(d.Principals, p)
		}
		for _, p := range as {
			hit = hit && !slices.Contains(d.ExcludePrincipals, p)
		}
		reaches := slices.Contains(above, d.Scope.Key()) && (!d.NotBelow || d.Scope.Equal(s))
		if hit && reaches && m.grants(d.Permissions, a, data) {
			return false
		}
	}
	for _, x := range m.Assignments {
		i := slices.IndexFunc(m.Roles, func(r *ajar.RoleDefinition) bool { return r.ID == x.Role })
		if i >= 0 && modelConditions[x.Condition](a) && slices.Contains(as, x.Principal) && slices.Contains(above, x.Scope.Key()) && m.grants(m.Roles[i].Permissions, a, data) {
			return true
		}
	}
	return false
}

// modelConditions are conditions, and whether they hold of an action of which nothing else is known.
var modelConditions = map[string]func(ajar.Action) bool{
	``:                     func(ajar.Action) bool { return true },
	`ActionMatches{'a/*'}`: func(a ajar.Action) bool { return strings.HasPrefix(strings.ToLower(string(a)), "a/") },
	`!(ActionMatches{'*/READ', 'b/x/action'})`:                                      func(a ajar.Action) bool { return strings.HasSuffix(strings.ToLower(string(a)), "/write") },
	`@Request[Ajar.Access/requests:Port] NumericEquals 22`:                          func(ajar.Action) bool { return false },
	`!(@Request[Ajar.Access/requests:Port] NumericEquals 22)`:                       func(ajar.Action) bool { return false },
	`what nobody can read`:                                                          func(ajar.Action) bool { return false },
	`ActionMatches{'*/read'} OR @Environment[UtcNow] DateTimeLessThan '2100-01-01'`: func(a ajar.Action) bool { return strings.HasSuffix(string(a), "/read") },
}

var (
	genCondition = rapid.SampledFrom(append(make([]string, 7), slices.Sorted(maps.Keys(modelConditions))...))
	genWho       = rapid.SampledFrom([]ajar.PrincipalID{alice, bob, team, night})
	genScope     = rapid.SampledFrom([]ajar.ID{ajar.Root, corp, prod, sub1, sub2, ops, web, vm1, pol, "/subscriptions/11111111-1111-1111-1111-111111111111/RESOURCEGROUPS/ops"})
	genAction    = rapid.SampledFrom([]ajar.Action{"a/read", "a/write", "a/b/read", "A/B/WRITE", "b/read", "b/x/action"})
	genWild      = rapid.SampledFrom([]ajar.Action{"*", "*/read", "a/*", "a/*/read", "a/b/*/read", "A/B/*/write", "A/B/write", "b/read", "*/X/*", "b/*/action", "*b*"})
	genWilds     = rapid.SliceOfN(genWild, 0, 3)
	genPerms     = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) ajar.Permission {
		return ajar.Permission{Actions: genWilds.Draw(t, "actions"), NotActions: genWilds.Draw(t, "not"), DataActions: genWilds.Draw(t, "data"), NotDataActions: genWilds.Draw(t, "notData")}
	}), 1, 2)
)

func genData(t *rapid.T) (d Data) {
	roles := []ajar.RoleID{"r1", "r2", "r3"}
	for _, r := range roles {
		d.Roles = append(d.Roles, &ajar.RoleDefinition{ID: r, Name: string(r), Permissions: genPerms.Draw(t, "role")})
	}
	for i := range rapid.IntRange(0, 6).Draw(t, "assignments") {
		d.Assignments = append(d.Assignments, &ajar.RoleAssignment{ID: string(rune('a' + i)), Principal: genWho.Draw(t, "to"),
			Role: rapid.SampledFrom(append(roles, "gone")).Draw(t, "role"), Scope: genScope.Draw(t, "at"), Condition: genCondition.Draw(t, "if")})
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "denies") {
		d.Denies = append(d.Denies, &ajar.DenyAssignment{ID: string(rune('x' + i)), Scope: genScope.Draw(t, "denied at"), Permissions: genPerms.Draw(t, "denied"),
			Principals:        rapid.SliceOfN(rapid.SampledFrom([]ajar.PrincipalID{alice, team, ajar.Everyone}), 1, 2).Draw(t, "denied to"),
			ExcludePrincipals: rapid.SliceOfN(genWho, 0, 2).Draw(t, "excluded"), NotBelow: rapid.Bool().Draw(t, "not below")})
	}
	for _, g := range []ajar.PrincipalID{team, night} {
		d.Principals = append(d.Principals, &ajar.Principal{ID: g, Kind: ajar.Group, Disabled: rapid.IntRange(0, 5).Draw(t, "off") == 0,
			Members: rapid.SliceOfN(rapid.SampledFrom([]ajar.PrincipalID{alice, bob}), 0, 2).Draw(t, "members")})
	}
	if rapid.IntRange(0, 9).Draw(t, "alice off") == 0 {
		d.Principals = append(d.Principals, &ajar.Principal{ID: alice, Kind: ajar.User, Disabled: true})
	}
	d.ManagementGroups = []*ajar.ManagementGroup{
		{ID: corp, Parent: rapid.SampledFrom([]ajar.ID{ajar.Root, prod}).Draw(t, "corp in"), Subscriptions: []string{"22222222-2222-2222-2222-222222222222"}},
		{ID: prod, Parent: rapid.SampledFrom([]ajar.ID{ajar.Root, corp}).Draw(t, "prod in"), Subscriptions: []string{"11111111-1111-1111-1111-111111111111"}},
	}
	return d
}

// TestIndexAgreesWithTheModel asks index and model the same questions of the same random worlds.
func TestIndexAgreesWithTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genData(t)
		ix, m := New(d), model{d}
		for range 12 {
			who := ajar.Caller{Principal: rapid.SampledFrom([]ajar.PrincipalID{alice, bob}).Draw(t, "who")}
			if rapid.Bool().Draw(t, "claims") {
				who.Groups = []ajar.PrincipalID{genWho.Draw(t, "claim")}
			}
			a, s := genAction.Draw(t, "action"), genScope.Draw(t, "scope")
			got := ix.Decide(who, a, s)
			if want := m.decide(who, a, s, false); got.Allow != want {
				t.Fatalf("%v %s at %s: index %+v, model %v", who, a, s, got, want)
			}
			if got.Allow == (len(got.Unmet) > 0) || (got.Allow && got.By == "") {
				t.Fatalf("no reason: %+v", got)
			}
		}
	})
}

// TestScopesMissNothing: whatever the model allows lies in the scopes that lists are made at.
func TestScopesMissNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genData(t)
		ix, m := New(d), model{d}
		who := ajar.Caller{Principal: genWho.Draw(t, "who")}
		a, under := genAction.Draw(t, "action"), genScope.Draw(t, "under")
		scopes := ix.Scopes(who, a, under)
		for i, s := range scopes {
			for j, o := range scopes {
				if i != j && s.Covers(o) {
					t.Fatalf("%s covers %s", s, o)
				}
			}
		}
		for _, thing := range []ajar.ID{vm1, pol, sub2 + "/resourceGroups/x", corp, prod} {
			if !ix.Covers(under, thing) || !m.decide(who, a, thing, false) {
				continue
			}
			if !slices.ContainsFunc(scopes, func(s ajar.ID) bool { return s.Covers(thing) }) && !slices.Contains(m.above(thing), under.Key()) {
				t.Fatalf("%s is visible and not in %v", thing, scopes)
			}
			if thing == vm1 || thing == pol {
				if !slices.ContainsFunc(scopes, func(s ajar.ID) bool { return s.Covers(thing) }) {
					t.Fatalf("%s is visible under %s and not in %v", thing, under, scopes)
				}
			}
		}
	})
}

// TestHoldingIsSound: who lacks nothing of a permission may do everything that it grants.
func TestHoldingIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := genData(t)
		ix, m := New(d), model{d}
		who := ajar.Caller{Principal: genWho.Draw(t, "who")}
		perms, at := genPerms.Draw(t, "perms"), genScope.Draw(t, "at")
		if ix.Lacks(who, perms, at) != "" {
			return
		}
		a := genAction.Draw(t, "action")
		for _, s := range []ajar.ID{at, vm1, pol, sub1, sub2} {
			if !slices.Contains(m.above(s), at.Key()) {
				continue
			}
			for _, data := range []bool{false, true} {
				if m.grants(perms, a, data) && !m.decide(who, a, s, data) {
					t.Fatalf("%v would give %s at %s (data %v), which they do not have", perms, a, s, data)
				}
			}
		}
	})
}

// TestMeetFindsCommonActions compares meet with trying.
func TestMeetFindsCommonActions(t *testing.T) {
	text := rapid.StringMatching(`[ab*]{0,5}`)
	rapid.Check(t, func(t *rapid.T) {
		x, y, s := text.Draw(t, "x"), text.Draw(t, "y"), rapid.StringMatching(`[ab]{0,6}`).Draw(t, "s")
		if match(x, s) && match(y, s) && !meet(x, y) {
			t.Fatalf("%q and %q both stand for %q", x, y, s)
		}
		if meet(x, y) != meet(y, x) {
			t.Fatalf("%q and %q", x, y)
		}
	})
	for _, c := range [][2]string{{"a*", "b*"}, {"*a", "*b"}, {"aa", "a"}, {"", "a"}, {"a*a", "a"}} {
		if meet(c[0], c[1]) {
			t.Errorf("%q and %q have nothing in common", c[0], c[1])
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("*/read", "Microsoft.Compute/virtualMachines/read")
	f.Add("a*b*c*", "aXbYc")
	f.Fuzz(func(t *testing.T, pattern, action string) {
		if strings.Contains(action, "*") || len(pattern) > 100 || strings.ToLower(pattern) != pattern || strings.ToLower(action) != action {
			return
		}
		re := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `(?s:.*)`)
		want, err := regexp.Compile(`^` + re + `$`)
		if err != nil {
			return
		}
		if w := len(want.FindString(action)) == len(action) && want.MatchString(action); match(pattern, action) != w {
			t.Fatalf("%q, %q: %v", pattern, action, !w)
		}
	})
}
