package rights

import (
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/odata"
)

// Microsoft.Authorization lies below every scope there is: the root, a management group, a subscription, a resource group,
// any resource. So its patterns have the scope in one place, {scope}, whatever its depth: locate makes it one segment
// before the mux sees it. At the root there is none.

func (s room) authorizationRoutes() (routes []rest.Route) {
	const authorization = "/providers/microsoft.authorization"
	for _, at := range []string{"", "/{scope}"} {
		var (
			defs   = at + authorization + "/roledefinitions"
			assign = at + authorization + "/roleassignments"
			denies = at + authorization + "/denyassignments"
			rights = at + authorization + "/permissions"
		)
		routes = append(routes,
			rest.Get(defs, rest.Beside, rest.Op(200, s.armListRoles), "Lists the roles that can be assigned at a scope.", ajar.RoleDefinitionRead, "$filter"),
			rest.Get(defs+"/{id}", rest.Beside, rest.Op(200, s.armGetRole), "Shows a role that can be assigned at a scope or below it.", ajar.RoleDefinitionRead),
			rest.Put(defs+"/{id}", rest.Beside, rest.Op(201, s.armPutRole), "Makes or replaces a custom role.", ajar.RoleDefinitionWrite),
			rest.Delete(defs+"/{id}", rest.Beside, rest.Op(200, s.armDeleteRole), "Removes a custom role that nobody is assigned.", ajar.RoleDefinitionDelete),
			rest.Get(assign, rest.Beside, rest.Op(200, s.armListAssignments), "Lists the role assignments at, above and below a scope.", ajar.RoleAssignmentRead, "$filter", "$top"),
			rest.Get(assign+"/{id}", rest.Beside, rest.Op(200, s.armGetAssignment), "Shows a role assignment.", ajar.RoleAssignmentRead),
			rest.Put(assign+"/{id}", rest.Beside, rest.Op(201, s.armPutAssignment), "Assigns a role at a scope, under a condition if there is one.", ajar.RoleAssignmentWrite),
			rest.Delete(assign+"/{id}", rest.Beside, rest.Op(200, s.armDeleteAssignment), "Takes a role assignment away.", ajar.RoleAssignmentDelete),
			rest.Get(denies, rest.Beside, rest.Op(200, s.armListDenies), "Lists the deny assignments at, above and below a scope.", ajar.DenyAssignmentRead, "$filter"),
			rest.Get(denies+"/{id}", rest.Beside, rest.Op(200, s.armGetDeny), "Shows a deny assignment.", ajar.DenyAssignmentRead),
			rest.Get(rights, rest.Beside, rest.Op(200, s.armPermissions), "Lists what the caller may do at a scope.", ""),
		)
	}
	return append(routes, rest.Get("/subscriptions/{s}"+authorization+"/classicadministrators", rest.Beside, rest.Op(200, s.classicAdministrators),
		"Lists the classic administrators of a subscription: there are none.", ajar.SubscriptionRead))
}

// scopeAt is the scope that the path asks about.
func scopeAt(c *rest.Call) (ajar.ID, error) {
	scope := c.Value("scope")
	if scope == "" {
		return ajar.Root, nil
	}
	return authorizationScope("/" + scope)
}

// authorizationScope reads a scope that roles can be assigned at, and refuses what could never be one.
func authorizationScope(text string) (ajar.ID, error) {
	id, err := ajar.ParseID(text)
	if err != nil || id == ajar.Root {
		return id, err
	}
	segs := strings.Split(strings.TrimPrefix(id.Key(), "/"), "/")
	bad := rest.Coded(ajar.Invalid, "InvalidScope", "'%.300s' is no scope: the root, a management group, a subscription, a resource group or a resource is.", id)
	switch {
	case len(segs)%2 != 0:
		return "", bad
	case segs[0] == "providers":
		if len(segs) != 4 || segs[1] != "microsoft.management" || segs[2] != "managementgroups" {
			return "", bad
		}
		_, err := groupID(id.Name())
		return id, err
	case segs[0] != "subscriptions":
		return "", bad
	case !rest.GUIDForm.MatchString(segs[1]):
		return "", rest.Coded(ajar.Invalid, "InvalidSubscriptionId", "The provided subscription identifier '%.100s' is malformed or invalid.", segs[1])
	}
	if segs = segs[2:]; len(segs) > 0 && segs[0] == "resourcegroups" {
		if !rest.GroupForm.MatchString(segs[1]) || strings.HasSuffix(segs[1], ".") {
			return "", rest.Coded(ajar.Invalid, "InvalidResourceGroup", "The provided resource group name '%.100s' is invalid: 1 to 90 letters, digits and -_.() without a dot at the end.", segs[1])
		}
		segs = segs[2:]
	}
	if len(segs) > 0 && (segs[0] != "providers" || len(segs) < 4) {
		return "", bad
	}
	return id, nil
}

// below is the id of something of Microsoft.Authorization at a scope.
func below(scope ajar.ID, kind, name string) ajar.ID {
	if scope == ajar.Root {
		scope = ""
	}
	return scope + "/providers/Microsoft.Authorization/" + ajar.ID(kind) + "/" + ajar.ID(name)
}

// roleIDAt is a role's id as it is shown at a scope: that of its subscription, if it lies in one.
func roleIDAt(scope ajar.ID, id ajar.RoleID) ajar.ID {
	if sub := scope.Subscription(); sub != "" {
		return below("/subscriptions/"+ajar.ID(sub), "roleDefinitions", string(id))
	}
	return below(ajar.Root, "roleDefinitions", string(id))
}

// since reports whether the call's api-version is that day's or a later one.
func since(c *rest.Call, day string) bool { return c.Param("api-version") >= day }

// authorizationFilter is a $filter of Microsoft.Authorization: functions and comparisons, joined by "and".
type authorizationFilter map[string]string // by names in lower case; a function without arguments has the value "true"

// readFilter reads the call's $filter. words are what may be asked: "atScope()", "roleName eq" and so on.
func readFilter(c *rest.Call, words ...string) (authorizationFilter, error) {
	e, err := odata.Parse(c.Param("$filter"), rest.MaxFilter)
	if err != nil {
		return nil, err
	}
	f := authorizationFilter{}
	for _, t := range e.Terms() {
		if t.Op == odata.Or || t.Op == odata.Not || t.Grouped {
			return nil, odata.Bad("'" + t.Op + "' or a parenthesis stands where and is expected")
		}
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w[:strings.IndexAny(w, "( ")], t.Name) })
		if i < 0 {
			return nil, odata.Bad("'" + odata.Short(t.Name) + "' is not among what can be asked: " + strings.Join(words, ", "))
		}
		if f[strings.ToLower(t.Name)], err = argument(t, words[i]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// argument is what a function or a property of that form is given. Clients send ids without quotes, too.
func argument(t *odata.Expr, form string) (string, error) {
	v := t.Value
	switch {
	case strings.HasSuffix(form, " eq"):
		if t.Op != "eq" {
			return "", odata.Bad("eq is expected after '" + odata.Short(t.Name) + "'")
		}
	case t.Op != odata.Call:
		return "", odata.Bad("'" + form + "' is a function")
	case !strings.Contains(form, "'"):
		if len(t.Args) > 0 {
			return "", odata.Bad("'" + form + "' takes nothing")
		}
		return "true", nil
	case len(t.Args) != 1:
		return "", odata.Bad("'" + form + "' takes one text in single quotes")
	default:
		v = t.Args[0]
	}
	if !v.Quoted {
		v.Text = strings.Trim(v.Text, "{}")
	}
	return v.Text, nil
}

// guidOf is an id in a filter, in lower case.
func (f authorizationFilter) guidOf(name string) (ajar.PrincipalID, error) {
	v := f[name]
	if v != "" && !rest.GUIDForm.MatchString(v) {
		return "", odata.Bad("'" + odata.Short(v) + "' is not an id")
	}
	return ajar.PrincipalID(strings.ToLower(v)), nil
}
