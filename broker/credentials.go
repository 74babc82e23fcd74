package broker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// maxCredentials bounds what one principal can sign in with.
const maxCredentials = 20

// maxCert is how long a certificate may be: much longer than any with an RSA key that is taken.
const maxCert = 16 << 10

// proofFor is how long after signing in somebody may make what goes on without them: a token, or a secret of their own.
const proofFor = 15 * time.Minute

// CredentialWrite and its kin are what verbs about sign-in are recorded as. One's own need no right; other people's
// need PrincipalWrite, and everything they hold.
const (
	CredentialWrite  ajar.Action = "Ajar.Access/principals/credentials/write"
	CredentialDelete ajar.Action = "Ajar.Access/principals/credentials/delete"
	TokenWrite       ajar.Action = "Ajar.Access/principals/tokens/write"
	TokenRevoke      ajar.Action = "Ajar.Access/principals/tokens/revoke/action"
)

// mayChange authorizes changing how p signs in.
func (t *txn) mayChange(id ajar.PrincipalID) error {
	t.event.Principal = id
	if t.self(id) {
		t.event.By = "oneself"
		return t.tokenStands()
	}
	if err := t.need(ajar.PrincipalWrite, ajar.Root); err != nil {
		return err
	}
	p, err := t.principal(id)
	if err != nil {
		return err
	}
	return t.outranks(p)
}

// tokenStands refuses whose token was ended, though some replica still remembers it: what ends all of somebody's tokens
// would not end what is made a moment later.
func (t *txn) tokenStands() error {
	if t.who.Token == "" {
		return nil
	}
	k, err := ajar.Get[ajar.Token](t, t.who.Token)
	if errors.Is(err, ajar.NotFound) || (err == nil && !k.Revoked.IsZero()) {
		return ajar.Errorf(ajar.Unauthenticated, "the token was revoked; sign in again")
	}
	return err
}

// mayMake refuses a way in to whoever asks with a token that an application got: it ends soon, or with its refresh
// tokens, and what is made of it would not. What a removed secret gave, and some replica still remembers, makes nothing.
// Otherwise it takes having signed in lately, and with the second factor where there is one: whoever finds a token makes no
// other of it. What ends with a sign-in at another provider needs neither.
func (t *txn) mayMake() error {
	if _, err := t.proof(); err != nil {
		return err
	}
	if t.who.App != "" && !strings.EqualFold(t.who.App, ajar.OwnClient) {
		return ajar.Errorf(ajar.Forbidden, "an application's token makes no other token and no secret of its holder; sign in with ajar login")
	}
	if !t.who.Until.IsZero() || t.plane {
		return nil
	}
	if t.who.AuthTime.IsZero() || t.now.Sub(t.who.AuthTime) > proofFor {
		return &ajar.Error{Kind: ajar.Forbidden, Code: "FreshSignInRequired", Msg: fmt.Sprintf(
			"that takes having signed in within %d minutes; sign in again (ajar login), and then do it", proofFor/time.Minute)}
	}
	if t.b.NoSecondFactor || slices.Contains(t.who.Amr, "mfa") {
		return nil
	}
	have, _, err := ajar.List[ajar.Factor](t, ajar.Filter{Owner: t.who.Principal})
	if err == nil && slices.ContainsFunc(have, isFactor) {
		return &ajar.Error{Kind: ajar.Forbidden, Code: "SecondFactorRequired", Msg: "that takes having signed in with your second factor; sign in again (ajar login), and then do it"}
	}
	return err
}

// proof is the secret or certificate that the caller's token was got with; nil if it was none.
func (t *txn) proof() (*ajar.Credential, error) {
	if t.who.Proof == "" {
		return nil, nil
	}
	c, err := ajar.Get[ajar.Credential](t, t.who.Proof)
	if errors.Is(err, ajar.NotFound) {
		return nil, ajar.Errorf(ajar.Unauthenticated, "the secret or certificate that you signed in with was removed; sign in again")
	}
	return c, err
}

// mayProve authorizes giving somebody a credential. Nobody makes one that lasts of a token that does not.
func (t *txn) mayProve(c *ajar.Credential) error {
	if err := t.mayChange(c.Principal); err != nil {
		return err
	}
	if !t.self(c.Principal) || (c.Kind != ajar.Secret && c.Kind != ajar.Certificate) {
		return nil
	}
	if err := t.mayMake(); err != nil {
		return err
	}
	if !t.who.Until.IsZero() {
		return ajar.Errorf(ajar.Forbidden, "you sign in elsewhere; a secret or certificate of yours is for an administrator to give")
	}
	return nil
}

// PutCredential gives a principal a way to prove itself: oneself, or with PrincipalWrite somebody who holds no more
// than the caller. c.Hash is handed in; the secret itself never comes here. People have passwords, service principals
// have secrets. A password replaces the one before and ends the principal's tokens and sessions, except those whose hashes are given
// in spare where it is one's own: whoever changes it because somebody may know it, or has a token, is rid of them.
func (b *Broker) PutCredential(ctx context.Context, who ajar.Caller, c ajar.Credential, spare ...string) (*ajar.Credential, error) {
	bad := b.checkCredential(&c)
	out := &ajar.Credential{}
	o := op{action: CredentialWrite, scope: ajar.Root, bad: bad, may: func(t *txn) error { return t.mayProve(&c) }}
	err := b.do(ctx, who, o, func(t *txn) error {
		p, err := t.principal(c.Principal)
		if err != nil {
			return err
		}
		if p.Kind == ajar.Group {
			return ajar.Errorf(ajar.Invalid, "%s is a group; groups do not sign in", p.Name)
		}
		if program := c.Kind == ajar.Secret || c.Kind == ajar.Certificate; program != (p.Kind == ajar.ServicePrincipal) {
			return ajar.Errorf(ajar.Invalid, "people sign in with passwords, and service principals with secrets and certificates; %s is a %s", p.Name, p.Kind)
		}
		if !c.Expires.IsZero() && !c.Expires.After(t.now) {
			return ajar.Errorf(ajar.Invalid, "the credential would have expired already")
		}
		t.detail("kind", string(c.Kind))
		have, _, err := ajar.List[ajar.Credential](t, ajar.Filter{Owner: p.ID})
		if err != nil {
			return err
		}
		n := 0
		for _, h := range have {
			if c.Kind == ajar.Password && h.Kind == ajar.Password {
				if err := t.Delete(ajar.KindCredential, h.ID); err != nil {
					return err
				}
				continue
			}
			if c.Kind == ajar.Certificate && h.Kind == ajar.Certificate && h.Hash == c.Hash {
				return ajar.Errorf(ajar.Conflict, "%s has that certificate already", p.Name)
			}
			n++
		}
		if n >= maxCredentials {
			return ajar.Errorf(ajar.TooMany, "%s has %d credentials, which is the most there can be; delete some first", p.Name, n)
		}
		if !t.self(p.ID) {
			spare = nil
		}
		if c.Kind == ajar.Password {
			if err := t.endTokens(p.ID, spare...); err != nil {
				return err
			}
		}
		*out = c
		out.Stamp, out.Created, out.ID = ajar.Stamp{}, t.now, strings.ToLower(b.NewID())
		return t.Put(out)
	})
	if err != nil {
		return nil, err
	}
	return shown(out), nil
}

func (b *Broker) checkCredential(c *ajar.Credential) error {
	id, err := guid("the principal", string(c.Principal))
	if err != nil {
		return err
	}
	c.Principal, c.Expires = ajar.PrincipalID(id), trim(c.Expires)
	switch c.Kind {
	case ajar.Password, ajar.Secret, ajar.Once:
		if c.Cert != nil {
			return ajar.Errorf(ajar.Invalid, "a %s has no certificate", c.Kind)
		}
	case ajar.Certificate:
		if err := checkCert(c); err != nil {
			return err
		}
	default:
		return ajar.Errorf(ajar.Invalid, "a credential is a password, a secret or a certificate, not a %.40q", c.Kind)
	}
	if c.Hash == "" {
		return ajar.Errorf(ajar.Invalid, "a credential needs a hash")
	}
	if err := word("the hash", c.Hash, 512); err != nil {
		return err
	}
	if c.Expires.Year() > 9999 {
		return ajar.Errorf(ajar.Invalid, "the credential's end lies beyond the year 9999")
	}
	return word("the hint", c.Hint, 16)
}

// checkCert fills in what a certificate says of itself. Its issuer does not matter: the certificate itself is registered.
func checkCert(c *ajar.Credential) error {
	if len(c.Cert) > maxCert {
		return ajar.Errorf(ajar.Invalid, "the certificate is longer than %d bytes", maxCert)
	}
	cert, err := x509.ParseCertificate(c.Cert)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "that is not a certificate")
	}
	switch key := cert.PublicKey.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 || key.N.BitLen() > 8192 {
			return ajar.Errorf(ajar.Invalid, "the certificate's RSA key has %d bits; from 2048 to 8192 are taken", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return ajar.Errorf(ajar.Invalid, "the certificate's elliptic curve is %s; P-256 is taken", key.Params().Name)
		}
	default:
		return ajar.Errorf(ajar.Invalid, "the certificate's key is a %s; RSA and elliptic curve P-256 are taken", cert.PublicKeyAlgorithm)
	}
	sum := sha256.Sum256(cert.Raw)
	c.Hash, c.Hint = hex.EncodeToString(sum[:]), strings.ToUpper(hex.EncodeToString(sum[:4]))
	if c.Expires.IsZero() || cert.NotAfter.Before(c.Expires) {
		c.Expires = trim(cert.NotAfter)
	}
	return nil
}

// Credentials lists a principal's credentials without their hashes: one's own, or with PrincipalRead.
func (b *Broker) Credentials(ctx context.Context, who ajar.Caller, of ajar.PrincipalID) (out []*ajar.Credential, err error) {
	key, err := guid("the principal", string(of))
	if err != nil {
		return nil, err
	}
	err = b.view(ctx, who, func(t *txn) error {
		if err := t.mayReadSignIn(ajar.PrincipalID(key)); err != nil {
			return err
		}
		out, _, err = ajar.List[ajar.Credential](t, ajar.Filter{Owner: ajar.PrincipalID(key)})
		for i := range out {
			out[i] = shown(out[i])
		}
		return err
	})
	return out, err
}

func (t *txn) mayReadSignIn(of ajar.PrincipalID) error {
	if t.self(of) {
		return nil
	}
	return t.need(ajar.PrincipalRead, ajar.Root)
}

// DeleteCredential removes a credential: one's own, or with PrincipalWrite somebody's who holds no more than the
// caller. What was got with it ends: whoever found a secret loses with it what they made of it. Other secrets of the same
// principal, and what was got with them, stay, so that secrets can be rotated.
func (b *Broker) DeleteCredential(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	key, bad := guid("the credential", id)
	var c *ajar.Credential
	o := op{action: CredentialDelete, scope: ajar.Root, bad: bad, may: func(t *txn) (err error) {
		c, err = ajar.Get[ajar.Credential](t, key)
		if errors.Is(err, ajar.NotFound) {
			c = nil
			return t.need(ajar.PrincipalWrite, ajar.Root)
		} else if err != nil {
			return err
		}
		if err := t.mayChange(c.Principal); err != nil {
			return err
		}
		if t.self(c.Principal) && (c.Kind == ajar.Password || c.Kind == ajar.Once) {
			// Whoever found a token would have no password to confirm before they set one.
			return ajar.Errorf(ajar.Forbidden, "a password of one's own is replaced by another, not removed")
		}
		return nil
	}}
	err = b.do(ctx, who, o, func(t *txn) error {
		if existed = c != nil; !existed {
			return nil
		}
		t.detail("kind", string(c.Kind))
		if err := t.Delete(ajar.KindCredential, key); err != nil {
			return err
		}
		return t.endGivenBy(c)
	})
	return existed && err == nil, err
}

// shown is c without what must not leave.
func shown(c *ajar.Credential) *ajar.Credential {
	d := *c
	d.Hash = ""
	return &d
}

// PutToken records a bearer token that was made for the caller, who signed in lately. Name, Hash and Expires are read.
// Where another provider vouches for the caller, it has the groups of that sign-in and ends with it; where they signed in with
// a secret or certificate, it ends with that.
func (b *Broker) PutToken(ctx context.Context, who ajar.Caller, k ajar.Token) (*ajar.Token, error) {
	bad := digest("the token", k.Hash)
	if bad == nil {
		bad = word("the token's name", k.Name, 128)
	}
	if bad == nil && k.Expires.Year() > 9999 {
		bad = ajar.Errorf(ajar.Invalid, "the token's end lies beyond the year 9999")
	}
	var out *ajar.Token
	o := op{action: TokenWrite, scope: ajar.Root, bad: bad, may: func(t *txn) error {
		if err := t.mayChange(t.who.Principal); err != nil {
			return err
		}
		return t.mayMake()
	}}
	err := b.do(ctx, who, o, func(t *txn) error {
		if most := t.b.LongestToken; !k.Expires.After(t.now) || k.Expires.Sub(t.now) > most+time.Second {
			return ajar.Errorf(ajar.Invalid, "a token lasts at most %s here", ajar.FormatDuration(most))
		}
		proof, err := t.proof()
		if err != nil {
			return err
		}
		out = &ajar.Token{Hash: k.Hash, Principal: t.who.Principal, Name: k.Name, From: t.who.From.WithZone(""), Created: t.now, Credential: t.who.Proof}
		out.Vouched = ajar.Vouched{Groups: slices.Clone(t.who.Groups), Until: t.who.Until}
		out.Expires = out.Vouched.By(trim(k.Expires))
		if proof != nil && !proof.Expires.IsZero() && proof.Expires.Before(out.Expires) {
			out.Expires = proof.Expires
		}
		out.AuthTime, out.Amr = t.who.AuthTime, slices.Clone(t.who.Amr)
		t.detail("name", k.Name)
		t.detail("token", k.Hash[:8])
		return t.Put(out)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Tokens lists a principal's tokens, revoked and expired ones included: one's own, or with PrincipalRead.
func (b *Broker) Tokens(ctx context.Context, who ajar.Caller, of ajar.PrincipalID, page Page) (out []*ajar.Token, next string, err error) {
	key, err := guid("the principal", string(of))
	if err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.mayReadSignIn(ajar.PrincipalID(key)); err != nil {
			return err
		}
		out, next, err = list(t, ajar.Filter{Owner: ajar.PrincipalID(key)}, everywhere, page, func(*ajar.Token) (bool, error) { return true, nil })
		return err
	})
	return out, next, err
}

// RevokeToken ends a token, named by its hash or by the first eight or more digits of it: one's own, or with
// PrincipalWrite one of principal of. The refresh tokens that an access token came with end with it: its client gets no
// other.
func (b *Broker) RevokeToken(ctx context.Context, who ajar.Caller, of ajar.PrincipalID, hash string) (*ajar.Token, error) {
	key, bad := guid("the principal", string(of))
	if bad == nil && (len(hash) < 8 || len(hash) > 64 || strings.Trim(hash, "0123456789abcdef") != "") {
		bad = ajar.Errorf(ajar.Invalid, "name the token by at least eight digits of its hash")
	}
	var ended *ajar.Token
	o := op{action: TokenRevoke, scope: ajar.Root, bad: bad, may: func(t *txn) error { return t.mayChange(ajar.PrincipalID(key)) }}
	err := b.do(ctx, who, o, func(t *txn) error {
		out, err := t.token(ajar.PrincipalID(key), hash)
		if err != nil {
			return err
		}
		ended = out
		t.detail("token", out.Hash[:8])
		if err := t.endToken(out); err != nil || out.Family == "" {
			return err
		}
		return t.endFamily(out.Family)
	})
	if err != nil {
		return nil, err
	}
	return ended, nil
}

func (t *txn) endToken(k *ajar.Token) error {
	if !k.Revoked.IsZero() {
		return nil
	}
	k.Revoked = t.now
	return t.Put(k)
}

// token finds a token of a principal by the beginning of its hash.
func (t *txn) token(of ajar.PrincipalID, hash string) (*ajar.Token, error) {
	none := &ajar.Error{Kind: ajar.NotFound, Code: "TokenNotFound", Msg: fmt.Sprintf("there is no token %s", hash)}
	if len(hash) == sha256.Size*2 {
		k, err := ajar.Get[ajar.Token](t, hash)
		if errors.Is(err, ajar.NotFound) || (err == nil && foldID(k.Principal) != of) {
			return nil, none
		}
		return k, err
	}
	tokens, _, err := ajar.List[ajar.Token](t, ajar.Filter{Owner: of})
	if err != nil {
		return nil, err
	}
	var out *ajar.Token
	for _, k := range tokens {
		if !strings.HasPrefix(k.Hash, hash) {
			continue
		}
		if out != nil {
			return nil, ajar.Errorf(ajar.Conflict, "more than one token begins with %s; give more digits", hash)
		}
		out = k
	}
	if out == nil {
		return nil, none
	}
	return out, nil
}

// endGivenBy ends the tokens that were got with a credential, and those that were made with these.
func (t *txn) endGivenBy(c *ajar.Credential) error {
	tokens, _, err := ajar.List[ajar.Token](t, ajar.Filter{Owner: c.Principal})
	for i := 0; err == nil && i < len(tokens); i++ {
		if tokens[i].Credential == c.ID {
			err = t.endToken(tokens[i])
		}
	}
	return err
}

// endFamily ends the refresh tokens of a family, and the access tokens that came with them.
func (t *txn) endFamily(key string) error {
	g, err := ajar.Get[ajar.Grant](t, key)
	if errors.Is(err, ajar.NotFound) {
		return nil
	} else if err != nil {
		return err
	}
	g.State = ajar.GrantEnded
	if err := t.Put(g); err != nil {
		return err
	}
	tokens, _, err := ajar.List[ajar.Token](t, ajar.Filter{Ref: key})
	for i := 0; err == nil && i < len(tokens); i++ {
		err = t.endToken(tokens[i])
	}
	return err
}

// endGrants ends everything that would give a principal another token.
func (t *txn) endGrants(of ajar.PrincipalID) error {
	grants, _, err := ajar.List[ajar.Grant](t, ajar.Filter{Owner: of})
	for i := 0; err == nil && i < len(grants); i++ {
		if g := grants[i]; g.Kind != ajar.GrantAssertion && g.State != ajar.GrantEnded {
			g.State = ajar.GrantEnded
			err = t.Put(g)
		}
	}
	return err
}

// endTokens ends all tokens of a principal that are still good, and all sessions in browsers, except those spared, and
// what would give others.
func (t *txn) endTokens(of ajar.PrincipalID, spare ...string) error {
	if err := t.endGrants(of); err != nil {
		return err
	}
	if err := t.endSessions(of, spare...); err != nil {
		return err
	}
	tokens, _, err := ajar.List[ajar.Token](t, ajar.Filter{Owner: of})
	for i := 0; err == nil && i < len(tokens); i++ {
		if !slices.Contains(spare, tokens[i].Hash) && (t.now.Before(tokens[i].Expires) || tokens[i].Expires.IsZero()) {
			err = t.endToken(tokens[i])
		}
	}
	return err
}
