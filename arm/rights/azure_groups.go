package rights

import (
	"context"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) armManagementGroupRoutes() []rest.Route {
	const groups = "/providers/microsoft.management/managementgroups"
	return []rest.Route{
		rest.Get(groups, rest.Beside, rest.Op(200, s.armListGroups), "Lists the management groups that the caller may read.", ajar.ManagementGroupRead, "$top"),
		rest.Get(groups+"/{mg}", rest.Beside, rest.Op(200, s.armGetGroup), "Shows a management group.", ajar.ManagementGroupRead, "$expand", "$recurse", "$filter"),
		rest.Get(groups+"/{mg}/descendants", rest.Beside, rest.Op(200, s.armDescendants), "Lists what lies in a management group.", ajar.ManagementGroupRead, "$top"),
		rest.Post("/providers/microsoft.management/getentities", rest.Beside, rest.Op(200, s.getEntities), "Lists the management groups and subscriptions that the caller may know of.", "", "$top"),
	}
}

const managementGroupType = "Microsoft.Management/managementGroups"

// armGroupBody is a management group as ARM writes it.
type armGroupBody struct {
	ID         ajar.ID         `json:"id"`
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Properties groupProperties `json:"properties"`
}

type groupProperties struct {
	TenantID    string        `json:"tenantId"`
	DisplayName string        `json:"displayName"`
	Details     *groupDetails `json:"details,omitempty"`
	Children    []groupChild  `json:"children,omitempty"`
}

type groupDetails struct {
	Version int64       `json:"version"`
	Parent  groupParent `json:"parent,omitzero"`
}

type groupParent struct {
	ID          ajar.ID `json:"id,omitempty"`
	Name        string  `json:"name,omitempty"`
	DisplayName string  `json:"displayName,omitempty"`
}

type groupChild struct {
	Type        string       `json:"type"`
	ID          ajar.ID      `json:"id"`
	Name        string       `json:"name"`
	DisplayName string       `json:"displayName"`
	Children    []groupChild `json:"children,omitempty"`
}

// groupTree is every management group that the caller may read, and what the subscriptions are called that it may know
// of. There are few of both.
type groupTree struct {
	groups []*ajar.ManagementGroup
	subs   map[string]string
	oldest bool // whether types are written with /providers/ before them, as up to 2019
}

func (s room) groupTree(ctx context.Context, c *rest.Call) (*groupTree, error) {
	t := &groupTree{subs: map[string]string{}, oldest: c.Param("api-version") < "2020"}
	for page := (broker.Page{Limit: rest.MostAPage}); ; {
		all, next, err := s.Broker.ManagementGroups(ctx, c.Who, page)
		if err != nil {
			return nil, err
		}
		t.groups = append(t.groups, all...)
		if page.Cursor = next; next == "" {
			break
		}
	}
	for page := (broker.Page{Limit: rest.MostAPage}); ; {
		all, next, err := s.Broker.Subscriptions(ctx, c.Who, page)
		if err != nil {
			return nil, err
		}
		for _, sub := range all {
			t.subs[sub.ID] = sub.Name
		}
		if page.Cursor = next; next == "" {
			return t, nil
		}
	}
}

func (t *groupTree) kind() string {
	if t.oldest {
		return "/providers/" + managementGroupType
	}
	return managementGroupType
}

func (t *groupTree) group(id ajar.ID) *ajar.ManagementGroup {
	for _, g := range t.groups {
		if g.ID.Equal(id) {
			return g
		}
	}
	return nil
}

func groupName(g *ajar.ManagementGroup) string {
	if g.Display != "" {
		return g.Display
	}
	return g.ID.Name()
}

func (t *groupTree) parent(g *ajar.ManagementGroup) groupParent {
	if p := t.group(g.Parent); p != nil {
		return groupParent{p.ID, p.ID.Name(), groupName(p)}
	}
	return groupParent{}
}

// children are what lies in g, down to depth.
func (t *groupTree) children(g *ajar.ManagementGroup, depth int) (out []groupChild) {
	for _, o := range t.groups {
		if !o.Parent.Equal(g.ID) {
			continue
		}
		child := groupChild{Type: t.kind(), ID: o.ID, Name: o.ID.Name(), DisplayName: groupName(o)}
		if depth > 1 {
			child.Children = t.children(o, depth-1)
		}
		out = append(out, child)
	}
	for _, sub := range g.Subscriptions {
		if name, ok := t.subs[strings.ToLower(sub)]; ok {
			out = append(out, groupChild{Type: "/subscriptions", ID: ajar.ID("/subscriptions/" + sub), Name: sub, DisplayName: name})
		}
	}
	return out
}

func (s room) armListGroups(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[armGroupBody], err error) {
	page, err := c.Page(rest.EntriesAPage)
	if err != nil {
		return l, err
	}
	all, next, err := s.Broker.ManagementGroups(ctx, c.Who, page)
	if err != nil {
		return l, err
	}
	t := groupTree{oldest: c.Param("api-version") < "2020"}
	return rest.Each(c, all, next, func(g *ajar.ManagementGroup) armGroupBody {
		return armGroupBody{g.ID, t.kind(), g.ID.Name(), groupProperties{TenantID: s.Tenant.ID, DisplayName: groupName(g)}}
	}), nil
}

// pathGroup is the management group that the path names.
func (s room) pathGroup(ctx context.Context, c *rest.Call) (*groupTree, *ajar.ManagementGroup, error) {
	id, err := groupID(c.Value("mg"))
	if err != nil {
		return nil, nil, err
	}
	g, err := s.Broker.ManagementGroup(ctx, c.Who, id)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.groupTree(ctx, c)
	return t, g, err
}

// groupDepth is as deep as management groups nest.
const groupDepth = 6

func (s room) armGetGroup(ctx context.Context, c *rest.Call, _ rest.Nothing) (*armGroupBody, error) {
	recurse, err := c.Flag("$recurse")
	if err != nil {
		return nil, err
	}
	expand := strings.ToLower(c.Param("$expand"))
	if !slices.Contains([]string{"", "children", "path", "ancestors"}, expand) {
		return nil, rest.Coded(ajar.Invalid, "InvalidParameter", "query parameter $expand is %.30q; it can be children, path or ancestors", expand)
	}
	t, g, err := s.pathGroup(ctx, c)
	if err != nil {
		return nil, err
	}
	b := &armGroupBody{g.ID, t.kind(), g.ID.Name(), groupProperties{TenantID: s.Tenant.ID, DisplayName: groupName(g), Details: &groupDetails{g.Rev, t.parent(g)}}}
	if expand == "children" || recurse {
		depth := 1
		if recurse {
			depth = groupDepth
		}
		b.Properties.Children = t.children(g, depth)
	}
	return b, nil
}

type descendantBody struct {
	ID         ajar.ID              `json:"id"`
	Type       string               `json:"type"`
	Name       string               `json:"name"`
	Properties descendantProperties `json:"properties"`
}

type descendantProperties struct {
	DisplayName string      `json:"displayName"`
	Parent      groupParent `json:"parent,omitzero"`
}

func (s room) armDescendants(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[descendantBody], err error) {
	l.Value = []descendantBody{}
	t, g, err := s.pathGroup(ctx, c)
	if err != nil {
		return l, err
	}
	var add func(g *ajar.ManagementGroup, depth int)
	add = func(g *ajar.ManagementGroup, depth int) {
		for _, child := range t.children(g, 1) {
			l.Value = append(l.Value, descendantBody{child.ID, child.Type, child.Name, descendantProperties{child.DisplayName, groupParent{ID: g.ID}}})
			if o := t.group(child.ID); o != nil && depth > 1 {
				add(o, depth-1)
			}
		}
	}
	add(g, groupDepth)
	return l, nil
}

type entityBody struct {
	ID         ajar.ID          `json:"id"`
	Type       string           `json:"type"`
	Name       string           `json:"name"`
	Properties entityProperties `json:"properties"`
}

type entityProperties struct {
	TenantID               string      `json:"tenantId"`
	DisplayName            string      `json:"displayName"`
	Parent                 groupParent `json:"parent,omitzero"`
	Permissions            string      `json:"permissions"`
	InheritedPermissions   string      `json:"inheritedPermissions"`
	NumberOfDescendants    int         `json:"numberOfDescendants"`
	NumberOfChildren       int         `json:"numberOfChildren"`
	NumberOfChildGroups    int         `json:"numberOfChildGroups"`
	ParentDisplayNameChain []string    `json:"parentDisplayNameChain"`
	ParentNameChain        []string    `json:"parentNameChain"`
}

type entityList struct {
	Value []entityBody `json:"value"`
	Count int          `json:"count"`
}

// getEntities lists the tree from its roots down, each management group before what lies in it, and last the
// subscriptions that lie in none that the caller may read.
func (s room) getEntities(ctx context.Context, c *rest.Call, _ rest.Nothing) (*entityList, error) {
	t, err := s.groupTree(ctx, c)
	if err != nil {
		return nil, err
	}
	l := &entityList{Value: []entityBody{}}
	loose := map[string]bool{}
	for id := range t.subs {
		loose[id] = true
	}
	var add func(child groupChild, parent groupParent, names, shown []string) (descendants int)
	add = func(child groupChild, parent groupParent, names, shown []string) (descendants int) {
		n := len(l.Value)
		l.Value = append(l.Value, entityBody{child.ID, child.Type, child.Name, entityProperties{
			TenantID: s.Tenant.ID, DisplayName: child.DisplayName, Parent: groupParent{ID: parent.ID}, Permissions: "view", InheritedPermissions: "view",
			ParentNameChain: names, ParentDisplayNameChain: shown,
		}})
		g := t.group(child.ID)
		if g == nil {
			delete(loose, strings.ToLower(child.Name))
			return 0
		}
		self := groupParent{g.ID, g.ID.Name(), groupName(g)}
		p := entityProperties{}
		if len(names) < groupDepth {
			for _, below := range t.children(g, 1) {
				p.NumberOfChildren++
				if t.group(below.ID) != nil {
					p.NumberOfChildGroups++
				}
				p.NumberOfDescendants += 1 + add(below, self, append(slices.Clone(names), self.Name), append(slices.Clone(shown), self.DisplayName))
			}
		}
		e := &l.Value[n].Properties
		e.NumberOfChildren, e.NumberOfChildGroups, e.NumberOfDescendants = p.NumberOfChildren, p.NumberOfChildGroups, p.NumberOfDescendants
		return p.NumberOfDescendants
	}
	for _, g := range t.groups {
		if t.group(g.Parent) == nil {
			add(groupChild{Type: t.kind(), ID: g.ID, Name: g.ID.Name(), DisplayName: groupName(g)}, groupParent{}, []string{}, []string{})
		}
	}
	rest := make([]string, 0, len(loose))
	for id := range loose {
		rest = append(rest, id)
	}
	slices.Sort(rest)
	for _, id := range rest {
		add(groupChild{Type: "/subscriptions", ID: ajar.ID("/subscriptions/" + id), Name: id, DisplayName: t.subs[id]}, groupParent{}, []string{}, []string{})
	}
	l.Count = len(l.Value)
	return l, nil
}
