package rbac

import (
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Facts are what conditions can ask about, beyond the action and the scope. What is zero is not known; a condition
// that needs it does not hold.
type Facts struct {
	Now time.Time
	// Given is the role assignment that is to be written (@Request) and Taken the one that is to be deleted (@Resource).
	Given, Taken *AssignmentFacts
	// Ask is one port of one machine that is asked for, from one source.
	Ask *AskFacts
	// Tags are those of the machine that is asked for.
	Tags map[string]string
}

// AssignmentFacts are what a role assignment is about.
type AssignmentFacts struct {
	Role      ajar.RoleID
	Principal ajar.PrincipalID
	Kind      ajar.PrincipalKind
}

// AskFacts are what is asked for.
type AskFacts struct {
	Machine       ajar.ID
	Port          ajar.Port
	Source        netip.Prefix
	Own           bool // the source is the address that the caller asks from, and nothing else
	Duration      time.Duration
	Justification string
}

// kind is what an attribute holds.
type kind string

const (
	guids   kind = "GUID"
	texts   kind = "text"
	numbers kind = "whole number"
	bools   kind = "true or false"
	times   kind = "time"
	nets    kind = "address or prefix"
)

// value is what an attribute holds in one question; the field that counts depends on its kind.
type value struct {
	text string // also of a GUID, in lower case
	n    int64  // also of a truth: 0 or 1
	at   time.Time
	net  netip.Prefix
}

// question is one decision, as conditions see it.
type question struct {
	action string // lower case
	scope  ajar.ID
	*Facts
}

// attribute is something that conditions can ask about.
type attribute struct {
	name string // as it is written
	kind kind
	of   func(q *question, key string) (value, bool)
}

const (
	assignmentType = "Microsoft.Authorization/roleAssignments:"
	requestType    = "Ajar.Access/requests:"
	machineType    = "Microsoft.Compute/virtualMachines:"
	tagType        = "Microsoft.Compute/virtualMachines/tags:"
	clockType      = "Ajar.Access/clock:"
	roleOf         = "RoleDefinitionId"
)

// attributes are all there are. Azure's own keep their names; what Azure has no name for is under Ajar.Access.
var attributes = []attribute{
	assigned("@Request", roleOf, guids, func(a *AssignmentFacts) string { return string(a.Role) }),
	assigned("@Request", "PrincipalId", guids, func(a *AssignmentFacts) string { return string(a.Principal) }),
	assigned("@Request", "PrincipalType", texts, func(a *AssignmentFacts) string { return string(a.Kind) }),
	assigned("@Resource", roleOf, guids, func(a *AssignmentFacts) string { return string(a.Role) }),
	assigned("@Resource", "PrincipalId", guids, func(a *AssignmentFacts) string { return string(a.Principal) }),
	assigned("@Resource", "PrincipalType", texts, func(a *AssignmentFacts) string { return string(a.Kind) }),

	asked("Port", numbers, func(a *AskFacts) value { return value{n: int64(a.Port.Number)} }),
	asked("Protocol", texts, func(a *AskFacts) value { return value{text: string(a.Port.Protocol)} }),
	asked("SourcePrefix", nets, func(a *AskFacts) value { return value{net: a.Source} }),
	asked("OwnAddress", bools, func(a *AskFacts) value { return value{n: truth(a.Own)} }),
	asked("DurationMinutes", numbers, func(a *AskFacts) value { return value{n: int64((a.Duration + time.Minute - 1) / time.Minute)} }),
	asked("Justification", texts, func(a *AskFacts) value { return value{text: a.Justification} }),

	{"@Resource[" + machineType + "Name]", texts, func(q *question, _ string) (value, bool) {
		vm := q.machine()
		return value{text: vm.Name()}, vm != ""
	}},
	{"@Resource[" + machineType + "ResourceGroup]", texts, func(q *question, _ string) (value, bool) {
		vm := q.machine()
		return value{text: vm.ResourceGroup()}, vm != ""
	}},
	{"@Resource[" + tagType + "{tag}]", texts, func(q *question, key string) (value, bool) {
		for k, v := range q.Tags {
			if strings.EqualFold(k, key) {
				return value{text: v}, true
			}
		}
		return value{}, false
	}},

	{"@Environment[UtcNow]", times, func(q *question, _ string) (value, bool) { return value{at: q.Now}, !q.Now.IsZero() }},
	{"@Environment[" + clockType + "HourUtc]", numbers, func(q *question, _ string) (value, bool) {
		return value{n: int64(q.Now.UTC().Hour())}, !q.Now.IsZero()
	}},
	{"@Environment[" + clockType + "WeekdayUtc]", texts, func(q *question, _ string) (value, bool) {
		return value{text: q.Now.UTC().Weekday().String()}, !q.Now.IsZero()
	}},
}

func assigned(source, name string, k kind, of func(*AssignmentFacts) string) attribute {
	return attribute{source + "[" + assignmentType + name + "]", k, func(q *question, _ string) (value, bool) {
		a := q.Given
		if source == "@Resource" {
			a = q.Taken
		}
		if a == nil {
			return value{}, false
		}
		text := of(a)
		if k == guids {
			text = strings.ToLower(text)
		}
		return value{text: text}, true
	}}
}

func asked(name string, k kind, of func(*AskFacts) value) attribute {
	return attribute{"@Request[" + requestType + name + "]", k, func(q *question, _ string) (value, bool) {
		if q.Ask == nil {
			return value{}, false
		}
		return of(q.Ask), true
	}}
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// machine is the one that is asked for, or that the scope names; "" if there is none.
func (q *question) machine() ajar.ID {
	switch {
	case q.Ask != nil:
		return q.Ask.Machine
	case q.scope.IsMachine():
		return q.scope
	}
	return ""
}

// named finds an attribute as it is written, such as @Request[Ajar.Access/requests:Port], and the tag that it asks for.
func named(source, name string) (a *attribute, tag string) {
	if strings.EqualFold(source, "@Resource") && len(name) > len(tagType) && strings.EqualFold(name[:len(tagType)], tagType) {
		// Azure marks tags whose case counts; here it never does.
		tag = strings.TrimSuffix(name[len(tagType):], "<$key_case_sensitive$>")
		name = tagType + "{tag}"
		if tag == "" || strings.ContainsAny(tag, "<>{}") {
			return nil, ""
		}
	} else if strings.ContainsAny(name, "{}") {
		return nil, ""
	}
	whole := source + "[" + name + "]"
	for i := range attributes {
		if strings.EqualFold(attributes[i].name, whole) {
			return &attributes[i], tag
		}
	}
	return nil, ""
}

// AttributeNames lists what conditions can ask about, as it is written.
func AttributeNames() []string {
	out := make([]string, len(attributes))
	for i, a := range attributes {
		out[i] = a.name
	}
	return out
}
