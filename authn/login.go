package authn

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
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

	Code string // of an authenticator app, or a recovery code, where one is asked for
	// Half says that admit may ask for more before somebody is in: the address is not remembered for the password alone.
	Half bool

	Kind ajar.PrincipalKind // who may sign in here; "" = people and service principals
	// Check proves who it is by something other than Secret: it is given the principal's credentials that have not
	// expired, none for a name that nobody has, and answers which of them was proven, or nil.
	Check func([]*ajar.Credential) (*ajar.Credential, error)
	// Details are recorded with the attempt; admit may add to them.
	Details map[string]string
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
	password  *ajar.Credential   // a one-time one, too
	live      []*ajar.Credential // all that have not expired
	before    bool               // it signed in from this address before
	stale     bool               // that should be written down again
}

// SignIn turns a name and a secret into an opaque token.
func (a *Authn) SignIn(ctx context.Context, in Login) (*Session, error) {
	var s *Session
	var second *Second
	in.Details = map[string]string{}
	_, err := a.Enter(ctx, in, func(p *ajar.Principal, c *ajar.Credential) (func(ajar.Tx) error, error) {
		code, err := a.code(ctx, p, c, in, &second)
		if err != nil {
			return nil, err
		}
		last, once := a.TokenFor, OneTime(c)
		if once {
			last = onceTokenFor
		}
		var t *ajar.Token
		s, t = a.token(p.ID, "login", last)
		t.From, t.AuthTime, s.Name, s.Once = in.From, t.Created, p.Name, once
		switch {
		case c.Kind == ajar.Secret || c.Kind == ajar.Certificate:
			t.Credential, t.Expires = c.ID, By(c, t.Expires)
			s.Expires = t.Expires
		case second != nil:
			t.Amr = []string{"pwd", "otp", "mfa"}
		default:
			t.Amr = []string{"pwd"}
		}
		in.Details["token"] = ShortHash(t.Hash)
		return func(tx ajar.Tx) error {
			if err := code(tx); err != nil {
				return err
			}
			t.Rev = 0
			return tx.Put(t)
		}, nil
	})
	if second != nil {
		second.End(errors.Is(err, ajar.Unauthenticated))
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// OneTime reports whether c is used up by signing in with it.
func OneTime(c *ajar.Credential) bool {
	return c.Kind == ajar.Once || (c.Kind == ajar.Password && !c.Expires.IsZero())
}

// By is t, or the end of c if that is sooner: what is got with a secret or certificate does not outlive it.
func By(c *ajar.Credential, t time.Time) time.Time {
	if !c.Expires.IsZero() && c.Expires.Before(t) {
		return c.Expires
	}
	return t
}

// code is what takes the code of a person who needs one, together with what they are given. The plane's own one-time
// credential is for when everything else is lost, and stands alone. A password that somebody set for once does not: who may
// set it may reset the factors, too, which is an event of its own.
func (a *Authn) code(ctx context.Context, p *ajar.Principal, c *ajar.Credential, in Login, second **Second) (func(ajar.Tx) error, error) {
	none := func(ajar.Tx) error { return nil }
	if p.Kind != ajar.User || c.Kind == ajar.Once {
		return none, nil
	}
	list, err := a.Factors(ctx, p.ID)
	if err != nil || !a.Asks(list) {
		return func(tx ajar.Tx) error { return a.StillEnough(tx, p) }, err
	}
	if in.Code == "" || !HasFactor(list) {
		return none, needsSecond(list)
	}
	in.Details["credential"] = string(c.Kind)
	if *second, err = a.Second(ctx, p, in); err != nil {
		return none, err
	}
	return func(tx ajar.Tx) error {
		kind, err := a.UseCode(tx, p.ID, in.Code, a.Clock().UTC().Truncate(time.Millisecond))
		in.Details["factor"] = string(kind)
		return err
	}, nil
}

// Enter lets somebody in who proves who they are. The answer to a wrong guess is the same, and costs the same, whether
// the name is unknown, disabled or has another secret. admit is told who it is and by what, prepares what they are
// given, and answers what writes that down: it is written in one transaction with the event, or not at all, and may run
// again. What admit refuses as Unauthenticated is recorded and counted like a wrong guess.
func (a *Authn) Enter(ctx context.Context, in Login, admit func(*ajar.Principal, *ajar.Credential) (func(ajar.Tx) error, error)) (*ajar.Principal, error) {
	now := a.Clock().UTC().Truncate(time.Millisecond)
	if len(in.Name) > 256 || len(in.Secret) > maxPassword || in.Name == "" || (in.Secret == "" && in.Check == nil) {
		return nil, ajar.Errorf(ajar.Invalid, "a log-in needs a name of at most 256 bytes and a password of at most %d", maxPassword)
	}
	id, err := a.identity(ctx, in, now)
	if err != nil {
		return nil, err
	}
	try, no, err := a.begin(ctx, id.key(in.Name), in.From, id.before, in.light(), now)
	if err != nil {
		return nil, err
	}
	if try == nil {
		return nil, a.throttled(ctx, in, id, no, now)
	}
	cred, err := a.prove(ctx, in, id, now)
	if err != nil && !errors.Is(err, ajar.Unauthenticated) {
		try.end(false, false)
		return nil, err
	}
	msg := "the name or the password is wrong"
	if err != nil {
		msg = ajar.Message(err)
	}
	if cred == nil || id.principal == nil || id.principal.Disabled {
		try.end(true, false)
		return nil, a.refuse(ctx, in, id, ajar.Unauthenticated, msg, in.Details, now)
	}
	write, err := admit(id.principal, cred)
	if err == nil {
		err = a.admit(ctx, in, id, cred, write, now)
	}
	try.end(errors.Is(err, ajar.Unauthenticated) && !wantsSecond(err), err == nil)
	if errors.Is(err, ajar.Unauthenticated) {
		bad := a.refuse(ctx, in, id, ajar.Unauthenticated, ajar.Message(err), in.Details, now)
		if wantsSecond(err) && errors.Is(bad, ajar.Unauthenticated) {
			bad = err
		}
		return nil, bad
	}
	return id.principal, err
}

// light reports whether looking at the attempt costs nothing to speak of, and guessing has no chance.
func (in *Login) light() bool {
	return in.Check != nil || (isGenerated(in.Secret) && !strings.HasPrefix(in.Secret, oncePrefix))
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
		if p != nil && (in.Kind == "" || in.Kind == p.Kind) {
			id.principal, owner = p, p.ID
		}
		creds, _, err := ajar.List[ajar.Credential](tx, ajar.Filter{Owner: owner, Limit: 100})
		if err != nil {
			return err
		}
		for _, c := range creds {
			if !c.Expires.IsZero() && !now.Before(c.Expires) {
				continue
			}
			id.live = append(id.live, c)
			if (c.Kind == ajar.Password || c.Kind == ajar.Once) && (id.password == nil || c.Created.After(id.password.Created)) {
				id.password = c
			}
		}
		f, err := ajar.Get[ajar.Familiar](tx, familiarKey(owner, in.From))
		if errors.Is(err, ajar.NotFound) {
			id.stale = true
			return nil
		} else if err != nil {
			return err
		}
		id.before, id.stale = now.Before(f.Until), f.Until.Sub(now) < rememberGood-rememberAgain
		return nil
	})
	return id, err
}

func familiarKey(p ajar.PrincipalID, from netip.Addr) string {
	return HashSecret(string(p) + " " + addressKey(from))
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

// prove finds the credential that was proven; nil when there is none. The work depends on the form of the secret alone.
func (a *Authn) prove(ctx context.Context, in Login, id identity, now time.Time) (*ajar.Credential, error) {
	if in.Check != nil {
		return in.Check(id.live)
	}
	if in.light() {
		got, match := []byte(HashSecret(in.Secret)), (*ajar.Credential)(nil)
		for _, c := range id.live {
			if c.Kind == ajar.Secret && subtle.ConstantTimeCompare(got, []byte(c.Hash)) == 1 {
				match = c
			}
		}
		return match, nil
	}
	encoded := ""
	if id.password != nil {
		encoded = id.password.Hash
	}
	ok, err := a.Hasher.Check(ctx, encoded, in.Secret)
	if err != nil || !ok {
		return nil, err
	}
	return id.password, nil
}

// admit writes down what somebody is given. What was read before is read again: nobody uses a one-time credential
// twice, and none that was removed meanwhile.
func (a *Authn) admit(ctx context.Context, in Login, id identity, cred *ajar.Credential, write func(ajar.Tx) error, now time.Time) error {
	p := id.principal
	return a.Store.Update(ctx, func(tx ajar.Tx) error {
		c, err := ajar.Get[ajar.Credential](tx, cred.ID)
		if errors.Is(err, ajar.NotFound) || (err == nil && c.Hash != cred.Hash) {
			return ajar.Errorf(ajar.Unauthenticated, "the credential was used up or removed")
		} else if err != nil {
			return err
		}
		if now, err := ajar.Get[ajar.Principal](tx, string(p.ID)); errors.Is(err, ajar.NotFound) || (err == nil && now.Disabled) {
			return ajar.Errorf(ajar.Unauthenticated, "the name or the password is wrong")
		} else if err != nil {
			return err
		}
		if OneTime(cred) {
			if err := tx.Delete(ajar.KindCredential, cred.ID); err != nil {
				return err
			}
		}
		if err := write(tx); err != nil {
			return err
		}
		if !in.Half {
			if err := remember(tx, id, in.From, now); err != nil {
				return err
			}
		}
		e := event(ajar.Caller{Principal: p.ID, Name: p.Name, From: in.From, Via: in.Via, Corr: in.Corr}, ajar.SignIn, now)
		e.Details = map[string]string{"credential": string(cred.Kind)}
		maps.Copy(e.Details, in.Details)
		return tx.Append(e)
	})
}

// remember writes down, now and then, that somebody signed in from an address.
func remember(tx ajar.Tx, id identity, from netip.Addr, now time.Time) error {
	if !id.stale || !from.IsValid() {
		return nil
	}
	key := familiarKey(id.principal.ID, from)
	f, err := ajar.Get[ajar.Familiar](tx, key)
	if errors.Is(err, ajar.NotFound) {
		f, err = &ajar.Familiar{Key: key, Principal: id.principal.ID}, nil
	}
	if err != nil {
		return err
	}
	f.Until = now.Add(rememberGood)
	return tx.Put(f)
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

func (a *Authn) throttled(ctx context.Context, in Login, id identity, no refusal, now time.Time) error {
	wait := max(time.Second, (no.wait + time.Second - 1).Truncate(time.Second))
	msg := "too many failed log-ins; wait before the next"
	err := ajar.Errorf(ajar.TooMany, "%s", msg)
	if no.tell {
		details := map[string]string{"wait": ajar.FormatDuration(wait)}
		if no.muted > 0 {
			details["unrecorded"] = strconv.Itoa(no.muted)
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
