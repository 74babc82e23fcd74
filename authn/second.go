package authn

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// SecondFactor says when people are asked for more than a password.
type SecondFactor string

// When that is.
const (
	SecondOptional SecondFactor = ""         // whoever has a second factor is asked for it
	SecondRequired SecondFactor = "required" // everybody is, and makes one at the next sign-in with a browser
	SecondOff      SecondFactor = "off"      // nobody is
)

// SecondFactorRequired is the Code of the refusal to let a person in with the right password alone.
const SecondFactorRequired = "SecondFactorRequired"

// How often codes may be guessed: of somebody from one address, and from all addresses together that they never signed
// in from. Six digits, three of which are good at a time, take a careful limit.
var (
	secondPair    = rate{5, time.Minute}
	secondAccount = rate{10, 2 * time.Minute}
)

const (
	recoveryCodes = 10
	recoveryBytes = 10 // sixteen letters
)

// NewRecoveryCodes generates codes for when everything else is lost: what to show once, and what to keep.
func NewRecoveryCodes() (codes, hashes []string) {
	for range recoveryCodes {
		var b [recoveryBytes]byte
		rand.Read(b[:])
		text := strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
		codes = append(codes, text[:4]+"-"+text[4:8]+"-"+text[8:12]+"-"+text[12:])
		hashes = append(hashes, recoveryHash(text))
	}
	return codes, hashes
}

func recoveryHash(text string) string { return HashSecret("recovery " + text) }

// Factors lists what p has beside a password.
func (a *Authn) Factors(ctx context.Context, p ajar.PrincipalID) (list []*ajar.Factor, err error) {
	err = a.Store.View(ctx, func(tx ajar.Tx) error {
		list, err = factors(tx, p)
		return err
	})
	return list, err
}

func factors(tx ajar.Tx, p ajar.PrincipalID) ([]*ajar.Factor, error) {
	list, _, err := ajar.List[ajar.Factor](tx, ajar.Filter{Owner: p, Limit: 100})
	return list, err
}

// Asks reports whether a person who has these factors must bring one beside the password. Where one is required and they
// have none, they make one first.
func (a *Authn) Asks(list []*ajar.Factor) bool {
	return a.SecondFactor != SecondOff && (HasFactor(list) || a.SecondFactor == SecondRequired)
}

// HasFactor reports whether there is one that somebody can be asked for. Recovery codes alone stand for nothing.
func HasFactor(list []*ajar.Factor) bool {
	return slices.ContainsFunc(list, func(f *ajar.Factor) bool { return f.Kind != ajar.Recovery })
}

// PasswordIsEnough refuses, as Unauthenticated, unless p may sign in with a password alone.
func (a *Authn) PasswordIsEnough(ctx context.Context, p *ajar.Principal) error {
	if p.Kind != ajar.User {
		return nil
	}
	list, err := a.Factors(ctx, p.ID)
	if err != nil || !a.Asks(list) {
		return err
	}
	return needsSecond(list)
}

// StillEnough is PasswordIsEnough in the transaction that lets p in: whoever made their first second factor meanwhile is
// not signed in without it.
func (a *Authn) StillEnough(tx ajar.Tx, p *ajar.Principal) error {
	if p.Kind != ajar.User {
		return nil
	}
	list, err := factors(tx, p.ID)
	if err != nil || !a.Asks(list) {
		return err
	}
	return needsSecond(list)
}

func needsSecond(list []*ajar.Factor) error {
	msg := "this account needs a second factor: give a code of the authenticator app, too, or sign in with a browser (ajar login --browser)"
	switch {
	case !HasFactor(list):
		msg = "everybody needs a second factor here, and this account has none yet: sign in with a browser to make one (ajar login --browser)"
	case !slices.ContainsFunc(list, func(f *ajar.Factor) bool { return f.Kind == ajar.TOTP }):
		msg = "this account needs its passkey: sign in with a browser (ajar login --browser)"
	}
	return &ajar.Error{Kind: ajar.Unauthenticated, Code: SecondFactorRequired, Msg: msg}
}

// wantsSecond reports whether err is the refusal of a right password alone, which is no guess.
func wantsSecond(err error) bool {
	var e *ajar.Error
	return errors.As(err, &e) && e.Code == SecondFactorRequired
}

// errCode does not tell a wrong code from one that was used.
func errCode() error {
	return ajar.Errorf(ajar.Unauthenticated, "the code is wrong, or it was used before; wait for the next one")
}

// UseCode takes a code of p's authenticator app, or a recovery code, in a transaction: the same is not taken again. It
// answers which kind it was; Unauthenticated if it is neither.
func (a *Authn) UseCode(tx ajar.Tx, p ajar.PrincipalID, typed string, now time.Time) (ajar.FactorKind, error) {
	list, err := factors(tx, p)
	if err != nil {
		return "", err
	}
	code := strings.NewReplacer(" ", "", "-", "", "\t", "").Replace(strings.ToLower(typed))
	recovery := recoveryHash(code)
	for _, f := range list {
		switch {
		case f.Kind == ajar.TOTP && len(code) == totpDigits:
			secret, err := a.Vault.Unwrap(TOTPSeal(f.ID), f.Sealed)
			if err != nil {
				return "", err
			}
			step, ok := CheckTOTP(secret, code, f.Step, now)
			if !ok {
				continue
			}
			f.Step = step
		case f.Kind == ajar.Recovery && slices.Contains(f.Hashes, recovery):
			f.Hashes = slices.DeleteFunc(f.Hashes, func(h string) bool { return h == recovery })
		default:
			continue
		}
		f.Used = now
		return f.Kind, tx.Put(f)
	}
	return "", errCode()
}

// TOTPSeal is what the secret of a factor is sealed under.
func TOTPSeal(id string) string { return "factor " + id }

// Second is one attempt to prove a second factor, or a passkey: how it ended is told with End.
type Second struct {
	try *attempt
}

// Second begins one, or answers that it is too early. What others try from elsewhere does not bind an address that the
// person signed in from before.
func (a *Authn) Second(ctx context.Context, p *ajar.Principal, in Login) (*Second, error) {
	now := a.Clock().UTC().Truncate(time.Millisecond)
	id := identity{principal: p}
	err := a.Store.View(ctx, func(tx ajar.Tx) error {
		f, err := ajar.Get[ajar.Familiar](tx, familiarKey(p.ID, in.From))
		if errors.Is(err, ajar.NotFound) {
			return nil
		}
		id.before = err == nil && now.Before(f.Until)
		return err
	})
	if err != nil {
		return nil, err
	}
	try, no, err := a.second(ctx, string(p.ID), in.From, id.before, now)
	if err != nil {
		return nil, err
	}
	if try == nil {
		return nil, a.throttled(ctx, in, id, no, now)
	}
	return &Second{try}, nil
}

// End counts a wrong guess.
func (s *Second) End(wrong bool) { s.try.end(wrong, false) }

// Refuse records that somebody known failed to sign in, and gives err.
func (a *Authn) Refuse(ctx context.Context, p *ajar.Principal, in Login, err error) error {
	now := a.Clock().UTC().Truncate(time.Millisecond)
	if bad := a.refuse(ctx, in, identity{principal: p}, ajar.KindOf(err), ajar.Message(err), in.Details, now); ajar.KindOf(bad) != ajar.KindOf(err) {
		return bad
	}
	return err
}

// Remember writes down, in the transaction in which somebody is wholly signed in, that they came from there.
func (a *Authn) Remember(tx ajar.Tx, p *ajar.Principal, from netip.Addr, now time.Time) error {
	id := identity{principal: p, stale: true}
	f, err := ajar.Get[ajar.Familiar](tx, familiarKey(p.ID, from))
	if err == nil {
		id.stale = f.Until.Sub(now) < rememberGood-rememberAgain
	} else if !errors.Is(err, ajar.NotFound) {
		return err
	}
	return remember(tx, id, from, now)
}
