package authn

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// CurrentPasswordRequired is the Code of the refusal to go on without the password that there is.
const CurrentPasswordRequired = "CurrentPasswordRequired"

// Confirm refuses unless secret is the caller's password: whoever found a token must not make a log-in of it. It is
// throttled and recorded like a log-in. Whoever has no password yet, or has used a one-time one up, has nothing to
// confirm; unless they sign in with another provider, or an application of theirs asks, which no one-time one is given to: there a token
// that was found would become a way in beside that.
func (a *Authn) Confirm(ctx context.Context, who ajar.Caller, secret string) error {
	now := a.Clock().UTC().Truncate(time.Millisecond)
	in := Login{Name: string(who.Principal), Secret: secret, From: who.From, Via: who.Via, Corr: who.Corr}
	id, err := a.identity(ctx, in, now)
	if err != nil {
		return err
	}
	if id.password == nil {
		if id.principal != nil && (id.principal.Upstream != nil || who.App != "") {
			return ajar.Errorf(ajar.Forbidden, "you sign in elsewhere, and have no password here that could be changed; an administrator can give you one")
		}
		return nil
	}
	if secret == "" || len(secret) > maxPassword {
		return &ajar.Error{Kind: ajar.Invalid, Code: CurrentPasswordRequired, Msg: "give the password that you have now, too (currentPassword)"}
	}
	try, no, err := a.begin(ctx, id.key(in.Name), in.From, id.before, false, now)
	if err != nil {
		return err
	}
	if try == nil {
		return a.throttled(ctx, in, id, no, now)
	}
	ok, err := a.Hasher.Check(ctx, id.password.Hash, secret)
	try.end(err == nil && !ok, false)
	if err == nil && !ok {
		err = a.refuse(ctx, in, id, ajar.Forbidden, "the current password is wrong", map[string]string{"for": "another password"}, now)
	}
	return err
}

// key is what failed attempts are counted under: a principal that can be named in two ways is one all the same.
func (id identity) key(name string) string {
	if id.principal != nil {
		return string(id.principal.ID)
	}
	return name
}
