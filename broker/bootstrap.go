package broker

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// Boot is what Bootstrap found.
type Boot struct {
	OwnerMissing bool // nobody who can sign in is Owner at /: the first start, or a lock-out
}

// Admin is an administrator to be made on the plane's own machine.
type Admin struct {
	Name string
	Hash string              // of the one-time secret or password
	Kind ajar.CredentialKind // "" = Once
	// Recover makes the administrator although there is an Owner; a user of that name is enabled and gets the
	// credential, and deny assignments that would keep the Owner from removing them are removed.
	Recover bool
}

// Bootstrap brings the built-in roles up to date and records the start. It is called at each start before anything is
// served.
func (b *Broker) Bootstrap(ctx context.Context) (boot Boot, err error) {
	err = b.do(ctx, ajar.Plane, op{action: ajar.PlaneStarted, scope: ajar.Root}, func(t *txn) error {
		t.event.Outcome = ajar.Happened
		changed := 0
		for _, want := range rbac.BuiltIn() {
			have, err := t.oldRole(want.ID)
			if err != nil {
				return err
			}
			if have != nil {
				want.Stamp = have.Stamp
				if sameRole(have, &want) {
					continue
				}
			}
			changed++
			if err := t.Put(&want); err != nil {
				return err
			}
		}
		if changed > 0 {
			t.detail("builtInRoles", strconv.Itoa(changed))
		}
		owners, err := t.owners()
		boot.OwnerMissing = len(owners) == 0
		return err
	})
	return boot, err
}

// sameRole compares what a role says; a list that is empty and one that is missing say the same.
func sameRole(a, b *ajar.RoleDefinition) bool {
	return a.Name == b.Name && a.Description == b.Description && a.BuiltIn == b.BuiltIn && fmt.Sprint(a.AssignableScopes) == fmt.Sprint(b.AssignableScopes) &&
		len(a.Permissions) == len(b.Permissions) && reflect.DeepEqual(flat(a.Permissions), flat(b.Permissions))
}

func flat(perms []ajar.Permission) []string {
	var out []string
	for _, p := range perms {
		out = append(out, fmt.Sprint(p.Actions), fmt.Sprint(p.NotActions), fmt.Sprint(p.DataActions), fmt.Sprint(p.NotDataActions))
	}
	return out
}

// EnsureAdmin makes a user Owner at / if there is no Owner yet, or if recovering. It is for programs on the plane's own
// machine and asks for no rights.
func (b *Broker) EnsureAdmin(ctx context.Context, a Admin) (p *ajar.Principal, made bool, err error) {
	if a.Kind == "" {
		a.Kind = ajar.Once
	}
	c := ajar.Credential{Principal: ajar.Everyone, Kind: a.Kind, Hash: a.Hash}
	bad := checkPrincipal(&ajar.Principal{Kind: ajar.User, Name: a.Name})
	if bad == nil {
		bad = b.checkCredential(&c)
	}
	err = b.do(ctx, ajar.Plane, op{action: ajar.RoleAssignmentWrite, scope: ajar.Root, bad: bad}, func(t *txn) error {
		made = false
		owners, err := t.owners()
		if err != nil {
			return err
		}
		if len(owners) > 0 && !a.Recover {
			p = owners[0]
			t.detail("administrator", "there is one already")
			return nil
		}
		made = true
		if p, err = t.adminUser(a.Name); err != nil {
			return err
		}
		t.event.Principal = p.ID
		t.detail("administrator", p.Name)
		if a.Recover {
			t.detail("recover", "true")
			if err := t.freshStart(p); err != nil {
				return err
			}
		}
		c.Stamp, c.ID, c.Principal, c.Created = ajar.Stamp{}, strings.ToLower(b.NewID()), p.ID, t.now
		if err := t.Put(&c); err != nil {
			return err
		}
		return t.makeOwner(p)
	})
	return p, made, err
}

// adminUser finds or makes an enabled user.
func (t *txn) adminUser(name string) (*ajar.Principal, error) {
	p, err := t.named(name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &ajar.Principal{ID: ajar.PrincipalID(strings.ToLower(t.b.NewID())), Kind: ajar.User, Name: name, Display: "Administrator", Created: t.now}
	} else if p.Kind != ajar.User {
		return nil, ajar.Errorf(ajar.Conflict, "%s is a %s; name a user", p.Name, p.Kind)
	}
	p.Disabled = false
	return p, t.Put(p)
}

// freshStart ends what p signed in with before, second factors included, and removes denies that an Owner could not remove.
func (t *txn) freshStart(p *ajar.Principal) error {
	old, _, err := ajar.List[ajar.Credential](t, ajar.Filter{Owner: p.ID})
	for i := 0; err == nil && i < len(old); i++ {
		err = t.Delete(ajar.KindCredential, old[i].ID)
	}
	if err == nil {
		_, err = t.dropFactors(p.ID)
	}
	if err != nil {
		return err
	}
	if err := t.endTokens(p.ID); err != nil {
		return err
	}
	denies, _, err := ajar.List[ajar.DenyAssignment](t, ajar.Filter{})
	if err != nil {
		return err
	}
	ix := rbac.New(rbac.Data{
		Roles:       []*ajar.RoleDefinition{{ID: rbac.Owner, Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}}},
		Assignments: []*ajar.RoleAssignment{{ID: "recover", Principal: p.ID, Role: rbac.Owner, Scope: ajar.Root}},
		Denies:      denies,
	})
	for _, d := range denies {
		if ix.Decide(ajar.Caller{Principal: p.ID}, ajar.DenyAssignmentDelete, d.Scope).Allow {
			continue
		}
		t.detail("removedDeny "+d.ID, d.Name)
		if err := t.Delete(ajar.KindDenyAssignment, d.Entry().Key); err != nil {
			return err
		}
	}
	return nil
}

func (t *txn) makeOwner(p *ajar.Principal) error {
	held, _, err := ajar.List[ajar.RoleAssignment](t, ajar.Filter{Owner: p.ID})
	if err != nil {
		return err
	}
	for _, a := range held {
		if a.Scope == ajar.Root && a.Role == rbac.Owner && a.Condition == "" {
			return nil
		}
	}
	a := &ajar.RoleAssignment{ID: strings.ToLower(t.b.NewID()), Principal: p.ID, PrincipalKind: p.Kind, Role: rbac.Owner, Scope: ajar.Root, Description: "made on the plane's own machine"}
	stamped(t, a)
	return t.Put(a)
}

// AfterRestore closes every lease that is not final, unless kept by name: what happened since the backup was made is
// unknown, so nothing stays open on its word. It gives the number of leases that are closing now, and those to be kept
// that are not there or over.
func (b *Broker) AfterRestore(ctx context.Context, keep []ajar.LeaseID) (n int, missing []ajar.LeaseID, err error) {
	kept := make(map[ajar.LeaseID]bool, len(keep)) // and whether it was found
	err = b.do(ctx, ajar.Plane, op{action: ajar.PlaneRestored, scope: ajar.Root}, func(t *txn) error {
		t.event.Outcome = ajar.Happened
		n = 0
		for _, id := range keep {
			kept[ajar.LeaseID(strings.ToLower(string(id)))] = false
		}
		f := ajar.Filter{States: []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}, Limit: 1000}
		for {
			ls, next, err := ajar.List[ajar.Lease](t, f)
			if err != nil {
				return err
			}
			for _, l := range ls {
				if _, ok := kept[l.ID]; ok {
					kept[l.ID] = true
					continue
				}
				if err := t.closeRestored(l); err != nil {
					return err
				}
				n++
			}
			if f.Cursor = next; next == "" {
				break
			}
		}
		missing = nil
		for id, found := range kept {
			if !found {
				missing = append(missing, id)
			}
		}
		slices.Sort(missing)
		t.detail("closing", strconv.Itoa(n))
		t.detail("kept", strconv.Itoa(len(kept)-len(missing)))
		return nil
	})
	return n, missing, err
}

func (t *txn) closeRestored(l *ajar.Lease) error {
	if l.State != ajar.Closing {
		if err := l.Move(ajar.Closing, ajar.Revoked); err != nil {
			return err
		}
	} else {
		l.Reason = ajar.Revoked // not even draining
	}
	l.Ended, l.ClosedBy = t.now, t.who.Principal
	if err := t.Put(l); err != nil {
		return err
	}
	return t.due(l.Endpoint)
}
