package arm

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// Microsoft.Authorization lies below every scope there is: the root, a management group, a subscription, a resource group,
// any resource. So its patterns have the scope in one place, {scope}, whatever its depth: locate makes it one segment
// before the mux sees it. At the root there is none.

const authorization = "/providers/microsoft.authorization"

// authorizationTypes are the types below a scope that locate finds the scope of.
var authorizationTypes = []string{"roledefinitions", "roleassignments", "denyassignments", "permissions"}

func (s *Server) authorizationRoutes() (routes []route) {
	for _, at := range []string{"", "/{scope}"} {
		var (
			defs   = at + authorization + "/roledefinitions"
			assign = at + authorization + "/roleassignments"
			denies = at + authorization + "/denyassignments"
			rights = at + authorization + "/permissions"
		)
		routes = append(routes,
			route{http.MethodGet, defs, beside, op(200, s.armListRoles), says("Lists the roles that can be assigned at a scope.", ajar.RoleDefinitionRead, "$filter")},
			route{http.MethodGet, defs + "/{id}", beside, op(200, s.armGetRole), says("Shows a role that can be assigned at a scope or below it.", ajar.RoleDefinitionRead)},
			route{http.MethodPut, defs + "/{id}", beside, op(201, s.armPutRole), says("Makes or replaces a custom role.", ajar.RoleDefinitionWrite)},
			route{http.MethodDelete, defs + "/{id}", beside, op(200, s.armDeleteRole), says("Removes a custom role that nobody is assigned.", ajar.RoleDefinitionDelete)},
			route{http.MethodGet, assign, beside, op(200, s.armListAssignments), says("Lists the role assignments at, above and below a scope.", ajar.RoleAssignmentRead, "$filter", "$top")},
			route{http.MethodGet, assign + "/{id}", beside, op(200, s.armGetAssignment), says("Shows a role assignment.", ajar.RoleAssignmentRead)},
			route{http.MethodPut, assign + "/{id}", beside, op(201, s.armPutAssignment), says("Assigns a role at a scope, under a condition if there is one.", ajar.RoleAssignmentWrite)},
			route{http.MethodDelete, assign + "/{id}", beside, op(200, s.armDeleteAssignment), says("Takes a role assignment away.", ajar.RoleAssignmentDelete)},
			route{http.MethodGet, denies, beside, op(200, s.armListDenies), says("Lists the deny assignments at, above and below a scope.", ajar.DenyAssignmentRead, "$filter")},
			route{http.MethodGet, denies + "/{id}", beside, op(200, s.armGetDeny), says("Shows a deny assignment.", ajar.DenyAssignmentRead)},
			route{http.MethodGet, rights, beside, op(200, s.armPermissions), says("Lists what the caller may do at a scope.", "")},
		)
	}
	return append(routes, route{http.MethodGet, "/subscriptions/{s}" + authorization + "/classicadministrators", beside, op(200, s.classicAdministrators),
		says("Lists the classic administrators of a subscription: there are none.", ajar.SubscriptionRead)})
}

// locate finds the scope of a path that asks for Microsoft.Authorization, and gives the path as the mux takes it: the
// scope as one escaped segment, in the caller's own spelling. folded is path as fold made it.
func locate(path, folded string) (u url.URL, ok bool) {
	i := strings.LastIndex(folded, authorization+"/")
	if i <= 0 {
		return u, false
	}
	rest := folded[i:]
	kind, _, _ := strings.Cut(rest[len(authorization)+1:], "/")
	n := strings.Count(folded[:i], "/")
	if n%2 != 0 || !slices.Contains(authorizationTypes, kind) {
		return u, false
	}
	segs := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	scope, tail := strings.Join(segs[:n], "/"), url.URL{Path: rest}
	return url.URL{Path: "/" + scope + rest, RawPath: "/" + url.PathEscape(scope) + tail.EscapedPath()}, true
}

// at is the scope that the path asks about.
func (c *call) at() (ajar.ID, error) {
	scope := c.value("scope")
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
	bad := coded(ajar.Invalid, "InvalidScope", "'%.300s' is no scope: the root, a management group, a subscription, a resource group or a resource is.", id)
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
	case !subscriptionForm.MatchString(segs[1]):
		return "", coded(ajar.Invalid, "InvalidSubscriptionId", "The provided subscription identifier '%.100s' is malformed or invalid.", segs[1])
	}
	if segs = segs[2:]; len(segs) > 0 && segs[0] == "resourcegroups" {
		if !groupForm.MatchString(segs[1]) || strings.HasSuffix(segs[1], ".") {
			return "", coded(ajar.Invalid, "InvalidResourceGroup", "The provided resource group name '%.100s' is invalid: 1 to 90 letters, digits and -_.() without a dot at the end.", segs[1])
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
func (c *call) since(day string) bool { return c.param("api-version") >= day }

// authorizationFilter is a $filter of Microsoft.Authorization: functions and comparisons, joined by "and".
type authorizationFilter map[string]string // in lower case; a function without arguments has the value "true"

// authorizationFilter reads the call's $filter. words are what may be asked: "atScope()", "assignedTo(”)", "roleName eq".
func (c *call) authorizationFilter(words ...string) (authorizationFilter, error) {
	text := c.param("$filter")
	if len(text) > maxFilter {
		return nil, badFilter("it is longer than 2000 bytes")
	}
	all, err := filterWords(text)
	if err != nil {
		return nil, err
	}
	f := authorizationFilter{}
	for p := (&filterParser{words: all}); len(p.words) > 0; {
		name := p.peek()
		i := slices.IndexFunc(words, func(w string) bool { return strings.EqualFold(w[:strings.IndexAny(w, "( ")], name) })
		if i < 0 {
			return nil, badFilter("'" + short(p.words[0]) + "' is not among what can be asked: " + strings.Join(words, ", "))
		}
		p.next()
		if f[name], err = p.argument(words[i]); err != nil {
			return nil, err
		}
		if len(p.words) > 0 {
			if _, err := p.want("and"); err != nil {
				return nil, err
			}
			if len(p.words) == 0 {
				return nil, badFilter("it ends after and")
			}
		}
	}
	return f, nil
}

// argument reads what follows the name of a function or property of that form.
func (p *filterParser) argument(form string) (text string, err error) {
	if strings.HasSuffix(form, " eq") {
		if _, err := p.want("eq"); err != nil {
			return "", err
		}
		return p.value()
	}
	if _, err := p.want("("); err != nil {
		return "", err
	}
	text = "true"
	if strings.Contains(form, "'") {
		if text, err = p.value(); err != nil {
			return "", err
		}
	}
	_, err = p.want(")")
	return text, err
}

// value reads a text in quotes, or a bare one, as clients send ids.
func (p *filterParser) value() (string, error) {
	switch w := p.peek(); {
	case w == "" || strings.ContainsAny(w, "(),"):
		return "", badFilter("a text in single quotes is expected")
	case w[0] == '\'':
		return p.text()
	}
	return strings.Trim(p.next(), "{}"), nil
}

// guidOf is an id in a filter, in lower case.
func (f authorizationFilter) guidOf(name string) (ajar.PrincipalID, error) {
	v := f[name]
	if v != "" && !subscriptionForm.MatchString(v) {
		return "", badFilter("'" + short(v) + "' is not an id")
	}
	return ajar.PrincipalID(strings.ToLower(v)), nil
}
