package authn

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Login is one attempt to sign in.
type Login struct {
	Name   string // a principal's name, or its id
	Secret string // a password, or a generated secret
	From   netip.Addr
	Via    string
	Corr   string
}

// Session is what a log-in gives. The token is shown this once.
type Session struct {
	Token     string
	ID        string // names the token afterwards
	Expires   time.Time
	Principal ajar.PrincipalID
	Name      string
	Once      bool // the credential is used up now: set a password
}

// Throttled is the refusal to look at an attempt yet. Its Kind is TooMany.
type Throttled struct {
	error
	Wait time.Duration
}

// Unwrap gives the classified error.
func (t *Throttled) Unwrap() error { return t.error }

// identity is what the store has of a name, which may be nothing at all.
type identity struct {
	principal *ajar.Principal
	password  *ajar.Credential // a one-time one, too
	secrets   []*ajar.Credential
	before    bool // it signed in from this address before
}

// SignIn turns a name and a secret into a token. The answer to a wrong guess is the same, and costs the same, whether
// the name is unknown, disabled or has another secret.
func (a *Authn) SignIn(ctx context.Context, in Login) (*Session, error) {
	now := a.Clock().UTC().Truncate(time.Millisecond)
	if len(in.Name) > 256 || len(in.Secret) > maxPassword || in.Name == "" || in.Secret == "" {
		return nil, ajar.Errorf(ajar.Invalid, "a log-in needs a name of at most 256 bytes and a password of at most %d", maxPassword)
	}
	id, err := a.identity(ctx, in, now)
	if err != nil {
		return nil, err
	}
	try, wait, tell, muted := a.throttle.begin(id.key(in.Name), in.From, id.before, now)
	if try == nil {
		return nil, a.throttled(ctx, in, id, wait, tell, muted, now)
	}
	cred, err := a.prove(ctx, id, in.Secret, now)
	if err != nil {
		try.end(false, false)
		return nil, err
	}
	if cred == nil || id.principal == nil || id.principal.Disabled {
		try.end(true, false)
		return nil, a.refuse(ctx, in, id, ajar.Unauthenticated, "the name or the password is wrong", nil, now)
	}
	s, err := a.admit(ctx, in, id.principal, cred, now)
	try.end(errors.Is(err, ajar.Unauthenticated), err == nil)
	return s, err
}

func (a *Authn) identity(ctx context.Context, in Login, now time.Time) (identity, error) {
	var id identity
	err := a.Store.View(ctx, func(tx ajar.Tx) error {
		id = identity{}
		p, err := find(tx, in.Name)
		if err != nil {
			return err
		}
		owner := ajar.PrincipalID("nobody") // so that the same is read for a name that is unknown
		if p != nil {
			id.principal, owner = p, p.ID
		}
		creds, _, err := ajar.List[ajar.Credential](tx, ajar.Filter{Owner: owner, Limit: 100})
		if err != nil {
			return err
		}
		for _, c := range creds {
			switch {
			case !c.Expires.IsZero() && !now.Before(c.Expires):
			case c.Kind == ajar.Secret:
				id.secrets = append(id.secrets, c)
			case id.password == nil || c.Created.After(id.password.Created):
				id.password = c
			}
		}
		tokens, _, err := ajar.List[ajar.Token](tx, ajar.Filter{Owner: owner, Limit: 100})
		for _, t := range tokens {
			id.before = id.before || (in.From.IsValid() && addressKey(t.From) == addressKey(in.From))
		}
		return err
	})
	return id, err
}

// find gets a person or service principal by name or id; nil when there is none.
func find(tx ajar.Tx, nameOrID string) (*ajar.Principal, error) {
	p, err := ajar.Get[ajar.Principal](tx, nameOrID)
	if errors.Is(err, ajar.NotFound) {
		var ps []*ajar.Principal
		ps, _, err = ajar.List[ajar.Principal](tx, ajar.Filter{Ref: strings.ToLower(nameOrID), Limit: 1})
		if len(ps) == 1 {
			p = ps[0]
		}
	}
	if err != nil || p == nil || p.Kind == ajar.Group {
		return nil, err
	}
	return p, nil
}

// prove finds the credential that secret is the proof of; nil when there is none. The work depends on the form of
// secret alone.
func (a *Authn) prove(ctx context.Context, id identity, secret string, now time.Time) (*ajar.Credential, error) {
	if isGenerated(secret) && !strings.HasPrefix(secret, oncePrefix) {
		got, match := []byte(HashSecret(secret)), (*ajar.Credential)(nil)
		for _, c := range id.secrets {
			if subtle.ConstantTimeCompare(got, []byte(c.Hash)) == 1 {
				match = c
			}
		}
		return match, nil
	}
	encoded := ""
	if id.password != nil {
		encoded = id.password.Hash
	}
	ok, err := a.Hasher.Check(ctx, encoded, secret)
	if err != nil || !ok {
		return nil, err
	}
	return id.password, nil
}

// admit makes the token. What was read before is read again: nobody uses a one-time credential twice, and none that
// was removed meanwhile.
func (a *Authn) admit(ctx context.Context, in Login, p *ajar.Principal, cred *ajar.Credential, now time.Time) (*Session, error) {
	last, once := a.TokenFor, cred.Kind == ajar.Once || (cred.Kind == ajar.Password && !cred.Expires.IsZero())
	if once {
		last = onceTokenFor
	}
	s, t := a.token(p.ID, "login", last)
	t.From, s.Name, s.Once = in.From, p.Name, once
	err := a.Store.Update(ctx, func(tx ajar.Tx) error {
		t.Rev = 0
		c, err := ajar.Get[ajar.Credential](tx, cred.ID)
		if errors.Is(err, ajar.NotFound) || (err == nil && c.Hash != cred.Hash) {
			return ajar.Errorf(ajar.Unauthenticated, "the credential was used up or removed")
		} else if err != nil {
			return err
		}
		if once {
			if err := tx.Delete(ajar.KindCredential, cred.ID); err != nil {
				return err
			}
		}
		if err := tx.Put(t); err != nil {
			return err
		}
		e := event(ajar.Caller{Principal: p.ID, Name: p.Name, From: in.From, Via: in.Via, Corr: in.Corr}, ajar.SignIn, now)
		e.Details = map[string]string{"credential": string(cred.Kind), "token": ShortHash(t.Hash)}
		return tx.Append(e)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// refuse records the refusal and gives it. Of a name that nobody has only its length is kept: it may well be a
// password in the wrong field.
func (a *Authn) refuse(ctx context.Context, in Login, id identity, kind ajar.Kind, msg string, details map[string]string, now time.Time) error {
	e := event(ajar.Caller{From: in.From, Via: in.Via, Corr: in.Corr}, ajar.SignIn, now)
	e.Outcome, e.Kind, e.Message, e.Details = ajar.Refused, kind, msg, details
	if id.principal != nil {
		e.Caller, e.Name = id.principal.ID, id.principal.Name
	} else {
		e.Message += fmt.Sprintf(" (a name of %d bytes that nobody has)", len(in.Name))
	}
	if err := a.Store.Update(ctx, func(tx ajar.Tx) error { return tx.Append(e) }); err != nil {
		return fmt.Errorf("record a refused log-in: %w", err)
	}
	return ajar.Errorf(kind, "%s", msg)
}

func (a *Authn) throttled(ctx context.Context, in Login, id identity, wait time.Duration, tell bool, muted int, now time.Time) error {
	wait = max(time.Second, (wait + time.Second - 1).Truncate(time.Second))
	msg := "too many failed log-ins; wait before the next"
	err := ajar.Errorf(ajar.TooMany, "%s", msg)
	if tell {
		details := map[string]string{"wait": ajar.FormatDuration(wait)}
		if muted > 0 {
			details["unrecorded"] = strconv.Itoa(muted)
		}
		err = a.refuse(ctx, in, id, ajar.TooMany, msg, details, now)
	}
	if !errors.Is(err, ajar.TooMany) {
		return err
	}
	return &Throttled{error: err, Wait: wait}
}

// ExpireOnce sets until when the one-time credentials of p are good.
func ExpireOnce(ctx context.Context, store ajar.Store, p ajar.PrincipalID, until time.Time) error {
	return store.Update(ctx, func(tx ajar.Tx) error {
		cs, _, err := ajar.List[ajar.Credential](tx, ajar.Filter{Owner: p, States: []string{string(ajar.Once)}})
		for _, c := range cs {
			c.Expires = until
			err = errors.Join(err, tx.Put(c))
		}
		return err
	})
}
