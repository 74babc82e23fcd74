package broker

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/ajar-access/ajar"
)

// Arrival is somebody whom another provider has proven.
type Arrival struct {
	Link     ajar.Link
	Provider string // by name, for the record
	Name     string // what to call them if they are made
	Display  string
	Create   bool // whether they are made if nobody is linked
	From     netip.Addr
	Via      string
	Corr     string
}

// Arrive finds who is linked to an arrival: by issuer and subject, never by a name. Where nobody is, and it may, it makes
// a person who holds nothing. The caller vouches that the provider proved them.
func (b *Broker) Arrive(ctx context.Context, a Arrival) (p *ajar.Principal, err error) {
	if err := checkLink(&a.Link); err != nil {
		return nil, err
	}
	if a.Link.Key() == "" {
		return nil, ajar.Errorf(ajar.Invalid, "the provider does not say who it is")
	}
	err = b.Store.View(ctx, func(tx ajar.Tx) error {
		p, err = linked(tx, &a.Link)
		return err
	})
	if err != nil || p != nil {
		return p, err
	}
	if !a.Create {
		return nil, b.stranger(ctx, a)
	}
	a.Display = strings.Map(func(r rune) rune {
		if unseenInText(r) {
			return -1
		}
		return r
	}, a.Display)
	made := ajar.Principal{Kind: ajar.User, Name: a.Name, Display: a.Display}
	bad := checkPrincipal(&made)
	who := ajar.Plane
	who.From, who.Corr = a.From, a.Corr
	err = b.do(ctx, who, op{action: ajar.PrincipalWrite, scope: ajar.Root, bad: bad}, func(t *txn) error {
		t.detail("name", a.Name)
		t.detail("upstream", a.Provider)
		t.detail("subject", a.Link.Subject)
		if p, err = linked(t, &a.Link); err != nil || p != nil {
			return err // somebody was faster
		}
		if err := t.freeName(a.Name, ""); err != nil {
			return &ajar.Error{Kind: ajar.Conflict, Code: "PrincipalExists", Msg: fmt.Sprintf(
				"somebody else here is called %.120q already, who is not linked to %s; ask an administrator", a.Name, a.Provider)}
		}
		link := a.Link
		p = &ajar.Principal{ID: ajar.PrincipalID(t.b.NewID()), Kind: ajar.User, Name: a.Name, Display: a.Display, Upstream: &link, Created: t.now}
		t.event.Principal = p.ID
		return t.Put(p)
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// stranger refuses an arrival whom nobody is linked to. It is recorded as a refused sign-in, so that administrators see
// whom to link, or who tries.
func (b *Broker) stranger(ctx context.Context, a Arrival) error {
	err := &ajar.Error{Kind: ajar.Forbidden, Code: "PrincipalNotLinked", Msg: fmt.Sprintf(
		"nobody here is linked to subject %.120q of %s; ask an administrator", a.Link.Subject, a.Provider)}
	t := b.txn(nil, ajar.Caller{From: a.From, Via: a.Via, Corr: a.Corr})
	t.event = t.newEvent(ajar.SignIn, "")
	t.detail("upstream", a.Provider)
	t.detail("issuer", a.Link.Issuer)
	t.detail("subject", a.Link.Subject)
	t.detail("name", clean(a.Name, 256)) // what the provider calls them: nobody here
	return b.refused(ctx, t, op{}, err)
}

// linked finds who is linked; nil if nobody is.
func linked(tx ajar.Tx, l *ajar.Link) (*ajar.Principal, error) {
	ps, _, err := ajar.List[ajar.Principal](tx, ajar.Filter{Owner: ajar.PrincipalID(l.Key()), Limit: 1})
	if err != nil || len(ps) == 0 || *ps[0].Upstream != *l {
		return nil, err
	}
	return ps[0], nil
}

func checkLink(l *ajar.Link) error {
	if l == nil {
		return nil
	}
	if (l.Issuer == "") != (l.Subject == "") {
		return ajar.Errorf(ajar.Invalid, "a link has both an issuer and a subject")
	}
	if err := word("the issuer", l.Issuer, 512); err != nil {
		return err
	}
	return word("the subject", l.Subject, 255)
}

// link has out be linked as p says: not at all with an empty link, as before with none. Who signed in by the link before
// is signed out.
func (t *txn) link(out, p *ajar.Principal) error {
	if p.Upstream == nil || p.Upstream.Key() == out.Upstream.Key() {
		return nil
	}
	if out.Upstream != nil {
		if err := t.endTokens(out.ID); err != nil {
			return err
		}
	}
	if p.Upstream.Key() == "" {
		out.Upstream = nil
		return nil
	}
	if out.Kind == ajar.Group {
		return ajar.Errorf(ajar.Invalid, "people and programs sign in elsewhere; %s is a group", out.Name)
	}
	had, err := linked(t, p.Upstream)
	if err != nil {
		return err
	}
	if had != nil && had.ID != out.ID {
		return ajar.Errorf(ajar.Conflict, "%s is linked to that subject already", had.Name)
	}
	l := *p.Upstream
	out.Upstream = &l
	t.detail("issuer", l.Issuer)
	t.detail("subject", l.Subject)
	return nil
}
