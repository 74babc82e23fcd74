package rbac

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC) // a Friday

func askFacts() *Facts {
	return &Facts{Now: noon, Tags: map[string]string{"Env": "prod"}, Ask: &AskFacts{
		Machine: vm1, Port: ajar.Port{Number: 22, Protocol: ajar.TCP}, Source: netip.MustParsePrefix("10.1.2.0/24"),
		Duration: 90 * time.Minute, Justification: "INC0001: disk full",
	}}
}

func giving(role ajar.RoleID, kind ajar.PrincipalKind) *Facts {
	return &Facts{Now: noon, Given: &AssignmentFacts{Role: role, Principal: alice, Kind: kind}}
}

// TestConditions: what Azure's language says, and what it cannot tell.
func TestConditions(t *testing.T) {
	ask := askFacts()
	for _, c := range []struct {
		text   string
		action ajar.Action
		facts  *Facts
		holds  bool
	}{
		{`ActionMatches{'Microsoft.Security/*'}`, ajar.PolicyInitiate, nil, true},
		{`ActionMatches{'microsoft.security/*/READ', 'x'}`, ajar.PolicyInitiate, nil, false},
		{`!(ActionMatches{'*/read'})`, ajar.PolicyRead, nil, false},
		{`NOT ActionMatches{'*/read'}`, ajar.PolicyWrite, nil, true},
		{`@Request[Ajar.Access/requests:Port] NumericEquals 22`, ajar.PolicyInitiate, ask, true},
		{`@request[ajar.access/REQUESTS:port] numericequals 22`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Port] NumericEquals 22`, ajar.PolicyInitiate, nil, false},
		{`!(@Request[Ajar.Access/requests:Port] NumericEquals 22)`, ajar.PolicyInitiate, nil, false}, // not known is not false
		{`Exists @Request[Ajar.Access/requests:Port]`, ajar.PolicyInitiate, ask, true},
		{`NOT Exists @Request[Ajar.Access/requests:Port]`, ajar.PolicyRead, nil, true},
		{`@Request[Ajar.Access/requests:Port] ForAnyOfAnyValues:NumericEquals {22, 3389}`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Port] ForAllOfAllValues:NumericNotEquals {22, 3389}`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:Port] ForAllOfAllValues:NumericNotEquals {80, 3389}`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Port] NumericGreaterThanEquals 22 && @Request[Ajar.Access/requests:Port] NumericLessThan 23`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Protocol] StringEquals 'TCP'`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Protocol] StringEquals 'tcp'`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:Protocol] StringEqualsIgnoreCase 'tcp'`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:DurationMinutes] NumericLessThanEquals 90`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:DurationMinutes] NumericLessThan 90`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:Justification] StringLike 'INC????:*'`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:Justification] StringNotStartsWithIgnoreCase 'inc'`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:Justification] StringLike 'INC\*'`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:OwnAddress] BoolEquals false`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.0.0.0/8'`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:SourcePrefix] ForAnyOfAnyValues:IpMatch {'192.0.2.1', 10.1.2.0/24}`, ajar.PolicyInitiate, ask, true},
		{`@Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.1.2.0/25'`, ajar.PolicyInitiate, ask, false},
		{`NOT (@Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.1.2.0/25')`, ajar.PolicyInitiate, ask, false}, // half inside
		{`@Request[Ajar.Access/requests:SourcePrefix] IpNotMatch '10.1.2.0/25'`, ajar.PolicyInitiate, ask, false},
		{`@Request[Ajar.Access/requests:SourcePrefix] IpNotMatch '2001:db8::/32'`, ajar.PolicyInitiate, ask, true},
		{`@Resource[Microsoft.Compute/virtualMachines:Name] StringLikeIgnoreCase 'VM?'`, ajar.PolicyInitiate, ask, true},
		{`@Resource[Microsoft.Compute/virtualMachines:Name] StringEquals 'vm1'`, ajar.MachineRead, nil, true}, // the scope says it
		{`@Resource[Microsoft.Compute/virtualMachines:ResourceGroup] StringEqualsIgnoreCase 'ops'`, ajar.MachineRead, nil, true},
		{`@Resource[Microsoft.Compute/virtualMachines/tags:env<$key_case_sensitive$>] StringEquals 'prod'`, ajar.PolicyInitiate, ask, true},
		{`Exists @Resource[Microsoft.Compute/virtualMachines/tags:owner]`, ajar.PolicyInitiate, ask, false},
		{`@Environment[UtcNow] DateTimeLessThan '2026-12-01T00:00:00Z'`, ajar.PolicyInitiate, ask, true},
		{`@Environment[UtcNow] DateTimeLessThan '2026-12-01'`, ajar.PolicyInitiate, nil, false},
		{`@Environment[Ajar.Access/clock:HourUtc] NumericGreaterThanEquals 8 AND @Environment[Ajar.Access/clock:HourUtc] NumericLessThan 18`, ajar.PolicyInitiate, ask, true},
		{`@Environment[Ajar.Access/clock:WeekdayUtc] ForAllOfAllValues:StringNotEquals {'Saturday', 'Sunday'}`, ajar.PolicyInitiate, ask, true},
		{`@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {acdd72a7-3385-48ef-bd42-f606fba81ae7, 39BC4728-0917-49c7-9d2c-d95423bc2eb4}`, ajar.RoleAssignmentWrite, giving(Reader, ajar.User), true},
		{`@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] GuidNotEquals 'acdd72a7-3385-48ef-bd42-f606fba81ae7'`, ajar.RoleAssignmentWrite, giving(Reader, ajar.User), false},
		{`@Request[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'user', 'Group'}`, ajar.RoleAssignmentWrite, giving(Owner, ajar.User), true},
		{`@Resource[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals a0000000-0000-0000-0000-000000000001`, ajar.RoleAssignmentDelete, giving(Owner, ajar.User), false},
		{`(ActionMatches{'x'} AND @Request[Ajar.Access/requests:Port] NumericEquals 1) OR (NOT ActionMatches{'x'})`, ajar.PolicyRead, nil, true},
	} {
		cond, err := ParseCondition(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if got := cond.Holds(c.action, vm1, c.facts); got != c.holds {
			t.Errorf("%s holds of %s: %v", c.text, c.action, got)
		}
	}
}

// TestConditionsThatAreNotTaken: the refusal names what is wrong and what would be right.
func TestConditionsThatAreNotTaken(t *testing.T) {
	port := `@Request[Ajar.Access/requests:Port]`
	for text, says := range map[string]string{
		``:                                 "its end stands where ActionMatches",
		`()`:                               "')' stands where",
		`(ActionMatches{'x'}`:              "its end stands where ) is expected",
		`ActionMatches{'x'})`:              "')' is not expected there",
		`ActionMatches{x}`:                 "in single quotes",
		`ActionMatches{}`:                  "a value is expected",
		`ActionMatches 'x'`:                "{ is expected",
		`SubOperationMatches{'Blob.List'}`: "'SubOperationMatches' stands where",
		port:                               "its end is no operator",
		port + ` NumericEquals`:            "its end stands where {",
		port + ` NumericEquals 'x'`:        "compared with a whole number",
		port + ` NumericEquals 22.5`:       "compared with a whole number",
		port + ` NumericEquals {22, 23}`:   "ForAnyOfAnyValues:NumericEquals",
		port + ` StringEquals '22'`:        "is no operator for @Request[Ajar.Access/requests:Port], which holds a whole number; there are NumericEquals",
		port + ` ForSomeValues:NumericEquals {22}`:                                                         "is no operator",
		port + ` NumericEquals @Request[Ajar.Access/requests:Port]`:                                        "stands where {",
		port + ` NumericEquals 22 AND ActionMatches{'x'} OR ActionMatches{'y'}`:                            "put parentheses",
		`22 NumericEquals ` + port:                                                                         "'22' stands where",
		`@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Engineering_Project] StringEquals 'x'`: "there is no attribute @Principal[Microsoft.Directory/CustomSecurityAttributes/Id:E…; there are @Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId], ",
		`@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'x'`:       "there is no attribute",
		`@Resource[Ajar.Access/requests:Port] NumericEquals 22`:                                            "there is no attribute",
		`@Resource[Microsoft.Compute/virtualMachines/tags:] StringEquals 'x'`:                              "there is no attribute",
		`@Resource[Microsoft.Compute/virtualMachines/tags:{tag}] StringEquals 'x'`:                         "there is no attribute",
		`@Request[x StringEquals 'x'`:                                                                      "is no attribute such as",
		`@Environment[UtcNow] DateTimeEquals 'noon'`:                                                       "compared with a time",
		`@Request[Ajar.Access/requests:Protocol] StringEquals TCP`:                                         "compared with a text",
		`@Request[Ajar.Access/requests:Protocol] StringEquals 'TCP`:                                        "has no end",
		`@Request[Ajar.Access/requests:SourcePrefix] IpMatch '10.0.0.0/33'`:                                "address or prefix",
		`@Request[Ajar.Access/requests:SourcePrefix] IpMatch 'fe80::1%eth0'`:                               "address or prefix",
		`@Request[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals x`:                       "compared with a GUID",
		`ActionMatches{'x'} & ActionMatches{'x'}`:                                                          "is not expected there",
		"ActionMatches{'\xff'}":                                                                            "UTF-8",
		strings.Repeat("!", 100) + `ActionMatches{'x'}`:                                                    "nested deeper",
		strings.Repeat("(", 100) + `ActionMatches{'x'}`:                                                    "nested deeper",
		strings.Repeat(" ", 9000):                                                                          "at most 8192",
		`ActionMatches{'x'}` + strings.Repeat(` OR ActionMatches{'x'}`, 300):                               "more than 256 parts",
	} {
		_, err := ParseCondition(text)
		if err == nil || ajar.KindOf(err) != ajar.Invalid || !strings.Contains(err.Error(), says) || len(err.Error()) > 1500 {
			t.Errorf("%.100s: %v says nothing of %q", text, err, says)
		}
	}
}

const onlyReaders = `((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {acdd72a7-3385-48ef-bd42-f606fba81ae7} AND @Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEqualsIgnoreCase 'User'))`

// TestDecisionsUnderConditions: what is held under a condition counts where it holds, and the refusal says where it does
// not.
func TestDecisionsUnderConditions(t *testing.T) {
	w := newWorld(t)
	id := w.assign(alice, UserAccessAdministrator, sub1)
	w.Assignments[0].Condition = onlyReaders
	who := ajar.Caller{Principal: alice}
	w.allow(alice, ajar.RoleAssignmentRead, ops)
	d := w.deny(alice, ajar.RoleAssignmentWrite, ops) // nothing is known of what is to be written
	if d.By != id || !strings.Contains(d.Unmet[0], "cannot be told here") {
		t.Errorf("%+v", d)
	}
	ix := w.index()
	if d := ix.DecideWith(who, ajar.RoleAssignmentWrite, ops, giving(Reader, ajar.User)); !d.Allow || d.By != id {
		t.Errorf("%+v", d)
	}
	d = ix.DecideWith(who, ajar.RoleAssignmentWrite, ops, giving(Reader, ajar.Group))
	if want := "role assignment " + id + " of 'User Access Administrator' would allow it, but its condition does not hold: @Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEqualsIgnoreCase 'User' is not so"; d.Allow || d.Unmet[0] != want {
		t.Errorf("%+v", d)
	}
	if d, depends := ix.Might(who, ajar.RoleAssignmentWrite, ops, nil); !d.Allow || !depends {
		t.Errorf("%+v %v", d, depends)
	}
	if d, _ := ix.Might(who, ajar.RoleAssignmentWrite, sub2, nil); d.Allow {
		t.Error("elsewhere")
	}
	if ix.Administers(who, ops) || ix.Lacks(who, []ajar.Permission{{Actions: []ajar.Action{"*/read"}}}, ops) == "" {
		t.Error("what is held under a condition is given away")
	}
	if !ix.Delegates(who, ajar.RoleAssignmentWrite, ops, giving(Reader, ajar.User)) || ix.Delegates(who, ajar.RoleAssignmentWrite, ops, giving(Owner, ajar.User)) {
		t.Error("delegation")
	}
	if s := ix.Scopes(who, ajar.RoleAssignmentRead, ajar.Root); len(s) != 1 || !ix.Sight(who).Sees(ops) {
		t.Errorf("%v", s)
	}

	w.assign(alice, RBACAdministrator, ops) // without a condition: what may be done needs none
	if d, depends := w.index().Might(who, ajar.RoleAssignmentWrite, ops, nil); !d.Allow || depends {
		t.Errorf("%+v %v", d, depends)
	}
	w.denied(ajar.DenyAssignment{Scope: sub1, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*/write"}}}, Principals: []ajar.PrincipalID{ajar.Everyone}})
	if d, _ := w.index().Might(who, ajar.RoleAssignmentWrite, ops, nil); d.Allow {
		t.Error("over a deny")
	}
	if d := w.index().DecideWith(who, ajar.RoleAssignmentWrite, ops, giving(Reader, ajar.User)); d.Allow {
		t.Error("over a deny")
	}
}

// TestMightSaysWhatMayYetBeRefused: what a condition allows as long as little is known is asked again.
func TestMightSaysWhatMayYetBeRefused(t *testing.T) {
	w, who := newWorld(t), ajar.Caller{Principal: alice}
	w.assign(alice, JITRequester, sub1)
	w.Assignments[0].Condition = `!(Exists @Resource[Microsoft.Compute/virtualMachines/tags:closed])`
	if d, depends := w.index().Might(who, ajar.PolicyInitiate, pol, &Facts{}); !d.Allow || !depends {
		t.Errorf("before the machine is known: %+v, depends: %v", d, depends)
	}
	f := askFacts()
	f.Tags = map[string]string{"Closed": "yes"}
	if d := w.index().DecideWith(who, ajar.PolicyInitiate, pol, f); d.Allow {
		t.Errorf("a machine with that tag: %+v", d)
	}
	w.assign(alice, Owner, ops)
	if d, depends := w.index().Might(who, ajar.PolicyInitiate, pol, &Facts{}); !d.Allow || depends {
		t.Errorf("by another role, without a condition: %+v, depends: %v", d, depends)
	}
}

// TestABrokenConditionNeverHolds: what was kept and cannot be read any longer gives nothing.
func TestABrokenConditionNeverHolds(t *testing.T) {
	w := newWorld(t)
	w.assign(alice, Owner, sub1)
	w.Assignments[0].Condition = `@Resource[Of.Another/version:Name] StringEquals 'x'`
	if d := w.deny(alice, ajar.PolicyRead, pol); !strings.Contains(d.Unmet[0], "cannot be read") {
		t.Errorf("%+v", d)
	}
}

// TestRBACAdministratorsDelegateOnlyWhatIsNamed: the role alone gives away what its holder has; under a condition that
// names roles, those.
func TestRBACAdministratorsDelegateOnlyWhatIsNamed(t *testing.T) {
	who := ajar.Caller{Principal: alice}
	for condition, may := range map[string]bool{
		"":          false,
		onlyReaders: true,
		`@Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'User'`:                                                                               false,
		`@Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'User' OR Exists @Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId]`: false,
	} {
		w := newWorld(t)
		w.assign(alice, RBACAdministrator, sub1)
		w.Assignments[0].Condition = condition
		if got := w.index().Delegates(who, ajar.RoleAssignmentWrite, ops, giving(Reader, ajar.User)); got != may {
			t.Errorf("%s: %v", condition, got)
		}
	}
}

func ExampleParseCondition() {
	_, err := ParseCondition(`@Request[Ajar.Access/requests:Port] StringEquals '22'`)
	fmt.Println(strings.Split(err.Error(), ",")[0])
	// Output: The condition is not taken: 'StringEquals' is no operator for @Request[Ajar.Access/requests:Port]
}

func FuzzParseCondition(f *testing.F) {
	f.Add(onlyReaders)
	f.Add(`@Request[Ajar.Access/requests:Port] ForAnyOfAnyValues:NumericEquals {22, 3389} && !(Exists @Resource[Microsoft.Compute/virtualMachines/tags:a])`)
	f.Add(`@Request[Ajar.Access/requests:SourcePrefix] IpMatch 10.0.0.0/8 || @Environment[UtcNow] DateTimeLessThan '2026-01-01'`)
	f.Add(`@Request[Ajar.Access/requests:Justification] StringLike 'a*\?\'b'`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseCondition(text)
		if err != nil {
			if ajar.KindOf(err) != ajar.Invalid || len(err.Error()) > 3000 {
				t.Fatal(err)
			}
			return
		}
		for _, facts := range []*Facts{nil, askFacts(), giving(Owner, ajar.User)} {
			q := &question{strings.ToLower(string(ajar.PolicyInitiate)), vm1, known(facts)}
			if !c.holds(q) && c.unmet(q) == "" {
				t.Fatal("no reason")
			}
			n, err := ParseCondition("NOT (" + text + ")")
			if err == nil && n.holds(q) && c.holds(q) {
				t.Fatal("both it and its negation hold")
			}
		}
	})
}
