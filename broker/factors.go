package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// maxFactors bounds what one person can prove themselves by beside a password.
const maxFactors = 20

// What verbs about second factors and browsers are recorded as. One's own need no right; other people's need
// PrincipalWrite, and everything they hold.
const (
	FactorWrite   ajar.Action = "Ajar.Access/principals/factors/write"
	FactorDelete  ajar.Action = "Ajar.Access/principals/factors/delete"
	FactorReset   ajar.Action = "Ajar.Access/principals/factors/reset/action"
	SessionDelete ajar.Action = "Ajar.Access/principals/sessions/delete"
)

// PutFactor gives the caller another factor, or another name to one they have (ID set). Recovery codes replace those
// before. A passkey that somebody has already is a Conflict. The first that they make ends everything that was got with a
// password alone: browsers, programs and tokens, but those whose keys or hashes are spared.
func (b *Broker) PutFactor(ctx context.Context, who ajar.Caller, f ajar.Factor, spare ...string) (*ajar.Factor, error) {
	bad := word("the factor's name", f.Name, 64)
	if bad == nil && strings.TrimSpace(f.Name) == "" {
		bad = ajar.Errorf(ajar.Invalid, "give it a name, so that you can tell it from others")
	}
	var out *ajar.Factor
	o := op{action: FactorWrite, scope: ajar.Root, bad: bad, may: func(t *txn) error { return t.mayChange(t.who.Principal) }}
	err := b.do(ctx, who, o, func(t *txn) error {
		have, _, err := ajar.List[ajar.Factor](t, ajar.Filter{Owner: t.who.Principal})
		if err != nil {
			return err
		}
		if i := slices.IndexFunc(have, func(h *ajar.Factor) bool { return h.ID == f.ID }); i >= 0 {
			out = have[i]
			out.Name = f.Name
			t.detail("kind", string(out.Kind))
			t.detail("name", out.Name)
			return t.Put(out)
		}
		t.detail("kind", string(f.Kind))
		t.detail("name", f.Name)
		if err := t.roomFor(&f, have); err != nil {
			return err
		}
		made := f
		made.Stamp, made.Principal, made.Created = ajar.Stamp{}, t.who.Principal, t.now
		if made.ID == "" {
			made.ID = strings.ToLower(b.NewID())
		}
		out = &made
		if err := t.Put(out); err != nil || f.Kind == ajar.Recovery || slices.ContainsFunc(have, isFactor) {
			return err
		}
		t.detail("first", "true")
		return t.endTokens(t.who.Principal, spare...)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// isFactor tells what somebody can be asked for. Recovery codes alone stand for nothing.
func isFactor(f *ajar.Factor) bool { return f.Kind != ajar.Recovery }

// roomFor refuses a factor that cannot be beside those there are.
func (t *txn) roomFor(f *ajar.Factor, have []*ajar.Factor) error {
	same := 0
	for _, h := range have {
		if h.Kind != f.Kind {
			continue
		}
		same++
		if f.Kind == ajar.Recovery {
			if err := t.Delete(ajar.KindFactor, h.ID); err != nil {
				return err
			}
		}
	}
	switch f.Kind {
	case ajar.Recovery:
		return nil
	case ajar.TOTP:
		if same > 1 {
			return ajar.Errorf(ajar.Conflict, "there are two authenticator apps already; remove one first")
		}
	case ajar.Passkey:
		known, _, err := ajar.List[ajar.Factor](t, ajar.Filter{Ref: f.Handle, Limit: 1})
		if err != nil {
			return err
		}
		if len(known) > 0 || f.Handle == "" {
			return ajar.Errorf(ajar.Conflict, "that passkey is registered already")
		}
	default:
		return ajar.Errorf(ajar.Invalid, "there is no factor of the kind %.20q", f.Kind)
	}
	if len(have) >= maxFactors {
		return ajar.Errorf(ajar.TooMany, "there are %d already, which is the most there can be; remove some first", len(have))
	}
	return nil
}

// DeleteFactor removes one of the caller's factors.
func (b *Broker) DeleteFactor(ctx context.Context, who ajar.Caller, id string) error {
	o := op{action: FactorDelete, scope: ajar.Root, may: func(t *txn) error { return t.mayChange(t.who.Principal) }}
	return b.do(ctx, who, o, func(t *txn) error {
		f, err := ajar.Get[ajar.Factor](t, id)
		if errors.Is(err, ajar.NotFound) || (err == nil && f.Principal != t.who.Principal) {
			return ajar.Errorf(ajar.NotFound, "you have no such factor")
		} else if err != nil {
			return err
		}
		t.detail("kind", string(f.Kind))
		t.detail("name", f.Name)
		if err := t.Delete(ajar.KindFactor, f.ID); err != nil {
			return err
		}
		return t.loneCodes()
	})
}

// loneCodes removes recovery codes that stand in for nothing any longer.
func (t *txn) loneCodes() error {
	have, _, err := ajar.List[ajar.Factor](t, ajar.Filter{Owner: t.who.Principal})
	if err != nil || slices.ContainsFunc(have, isFactor) {
		return err
	}
	for _, h := range have {
		if err := t.Delete(ajar.KindFactor, h.ID); err != nil {
			return err
		}
	}
	return nil
}

// ResetFactors removes everything that a person proves themselves by beside the password, and ends their sessions in
// browsers, their tokens, and what would give others (PrincipalWrite; the caller must hold what they hold): nobody knows
// which of them whoever has the phone got. One's own are removed one by one, by whoever just proved to be there.
func (b *Broker) ResetFactors(ctx context.Context, who ajar.Caller, of ajar.PrincipalID) (removed int, err error) {
	key, bad := guid("the principal", string(of))
	id := ajar.PrincipalID(key)
	o := op{action: FactorReset, scope: ajar.Root, bad: bad, may: func(t *txn) error {
		if t.self(id) {
			return ajar.Errorf(ajar.Forbidden, "somebody else has to reset your second factors; remove them yourself on the account page")
		}
		return t.mayChange(id)
	}}
	err = b.do(ctx, who, o, func(t *txn) error {
		p, err := t.principal(id)
		if err != nil {
			return err
		}
		t.detail("name", p.Name)
		if removed, err = t.dropFactors(id); err != nil {
			return err
		}
		t.detail("removed", fmt.Sprint(removed))
		return t.endTokens(id)
	})
	return removed, err
}

func (t *txn) dropFactors(of ajar.PrincipalID) (n int, err error) {
	have, _, err := ajar.List[ajar.Factor](t, ajar.Filter{Owner: of})
	for i := 0; err == nil && i < len(have); i++ {
		err = t.Delete(ajar.KindFactor, have[i].ID)
	}
	return len(have), err
}

// endSessions signs a principal's browsers out, except those whose keys are spared.
func (t *txn) endSessions(of ajar.PrincipalID, spare ...string) error {
	all, _, err := ajar.List[ajar.Session](t, ajar.Filter{Owner: of, States: []string{string(ajar.SessionHalf), string(ajar.SessionWhole)}})
	for i := 0; err == nil && i < len(all); i++ {
		if !slices.Contains(spare, all[i].Key) {
			err = t.Delete(ajar.KindSession, all[i].Key)
		}
	}
	return err
}

// Sessions lists the browsers that the caller is signed in with.
func (b *Broker) Sessions(ctx context.Context, who ajar.Caller) (out []*ajar.Session, err error) {
	err = b.view(ctx, who, func(t *txn) error {
		all, _, err := ajar.List[ajar.Session](t, ajar.Filter{Owner: t.who.Principal, States: []string{string(ajar.SessionWhole)}, Limit: 1000})
		out = slices.DeleteFunc(all, func(s *ajar.Session) bool { return !t.now.Before(s.Entry().Until) })
		return err
	})
	return out, err
}

// EndSession signs one of the caller's browsers out, named by the beginning of its key; "" = all but the one whose key
// is spared.
func (b *Broker) EndSession(ctx context.Context, who ajar.Caller, key, spare string) error {
	var bad error
	if key != "" && (len(key) < 8 || strings.Trim(key, "0123456789abcdef") != "") {
		bad = ajar.Errorf(ajar.Invalid, "name the session by at least eight digits")
	}
	o := op{action: SessionDelete, scope: ajar.Root, bad: bad, may: func(t *txn) error { return t.mayChange(t.who.Principal) }}
	return b.do(ctx, who, o, func(t *txn) error {
		if key == "" {
			t.detail("session", "all others")
			return t.endSessions(t.who.Principal, spare)
		}
		t.detail("session", key[:8])
		all, _, err := ajar.List[ajar.Session](t, ajar.Filter{Owner: t.who.Principal, States: []string{string(ajar.SessionWhole)}})
		if err != nil {
			return err
		}
		for _, s := range all {
			if strings.HasPrefix(s.Key, key) {
				return t.Delete(ajar.KindSession, s.Key)
			}
		}
		return ajar.Errorf(ajar.NotFound, "there is no such session; it may have ended by itself")
	})
}
