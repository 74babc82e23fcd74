package rest

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// fold makes a path that patterns can match: the fixed segments of an ARM path in lower case, what callers named as it
// came. ARM's paths are blind to case and the mux is not. Names stand at odd places, counted from 0, and what follows
// "providers" is a namespace; so it needs no list of words. Doubled and trailing slashes are dropped, as clients that
// were given an endpoint with a slash send them.
func fold(path string) (string, bool) {
	if strings.HasPrefix(path, "/ajar/") && !strings.Contains(path, "//") && !strings.HasSuffix(path, "/") {
		return path, !relative(path)
	}
	var b strings.Builder
	b.Grow(len(path))
	i, ours, fixed := 0, false, false
	for seg := range strings.SplitSeq(path, "/") {
		if seg == "" {
			continue
		}
		if i == 0 {
			ours = strings.EqualFold(seg, "ajar")
		}
		b.WriteByte('/')
		if (i%2 == 0 || fixed) && !ours {
			seg = strings.ToLower(seg)
			fixed = seg == "providers"
		} else {
			fixed = false
		}
		b.WriteString(seg)
		i++
	}
	if i == 0 {
		return "/", true
	}
	return b.String(), !relative(b.String())
}

// spellings are the fixed segments of ARM paths as Azure documents them, by what fold makes of them.
var spellings = func() map[string]string {
	m := map[string]string{}
	for _, s := range []string{"subscriptions", "resourceGroups", "providers", "Microsoft.Security", "locations", "jitNetworkAccessPolicies", "requests",
		"Microsoft.Compute", "virtualMachines", "Microsoft.Network", "networkInterfaces", "networkSecurityGroups", "publicIPAddresses",
		"Microsoft.Authorization", "roleDefinitions", "roleAssignments", "denyAssignments", "Microsoft.Management", "managementGroups", "Microsoft.PolicyInsights", "policyStates", "queryResults"} {
		m[strings.ToLower(s)] = s
	}
	return m
}()

// Spelling is a fixed segment that fold made, as Azure documents it; "" if it is none.
func Spelling(seg string) string { return spellings[seg] }

// Unfold gives the fixed segments of a path that fold made the spelling that Azure documents. Names stay as they are,
// even one that is such a word.
func Unfold(path string) string {
	segs := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if segs[0] == "ajar" {
		return path
	}
	for i, seg := range segs {
		if i%2 == 0 || segs[i-1] == "providers" {
			if s, ok := spellings[seg]; ok {
				segs[i] = s
			}
		}
	}
	return "/" + strings.Join(segs, "/")
}

// relative reports "." and "..", which no name may be and which the mux would answer with a redirect.
func relative(path string) bool {
	return strings.Contains(path+"/", "/./") || strings.Contains(path+"/", "/../")
}

var (
	GUIDForm  = regexp.MustCompile(`^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$`)
	GroupForm = regexp.MustCompile(`^[-\p{L}\p{N}_.()]{1,90}$`)
	NameForm  = regexp.MustCompile(`^[-\p{L}\p{N}_.() ]{1,128}$`)
)

// Scope builds the scope that the path's values name, as far as they are there, and checks their forms as ARM does.
func (c *Call) Scope() (ajar.ID, error) {
	sub, group, loc := c.Value("s"), c.Value("g"), c.Value("l")
	var b strings.Builder
	b.Grow(128 + len(group))
	if !GUIDForm.MatchString(sub) {
		return "", Coded(ajar.Invalid, "InvalidSubscriptionId", "The provided subscription identifier '%.100s' is malformed or invalid.", sub)
	}
	b.WriteString("/subscriptions/" + sub)
	if group != "" {
		if !GroupForm.MatchString(group) || strings.HasSuffix(group, ".") {
			return "", Coded(ajar.Invalid, "InvalidResourceGroup", "The provided resource group name '%.100s' is invalid: 1 to 90 letters, digits and -_.() without a dot at the end.", group)
		}
		b.WriteString("/resourceGroups/" + group)
	}
	if loc != "" && !NameForm.MatchString(loc) {
		return "", Coded(ajar.Invalid, "LocationNotAvailableForResourceType", "The provided location '%.100s' is not a location name.", loc)
	}
	return ajar.ID(b.String()), nil
}

// query finds a parameter without regard to the case of its name, with its dollar sign encoded or not.
func query(values url.Values, name string) string {
	if v, ok := values[name]; ok {
		return v[0]
	}
	for k, v := range values {
		if strings.EqualFold(k, name) {
			return v[0]
		}
	}
	return ""
}

const authorization = "/providers/microsoft.authorization"

// authorizationTypes are the types below a scope that locate finds the scope of.
var authorizationTypes = []string{"roledefinitions", "roleassignments", "denyassignments", "permissions"}

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
