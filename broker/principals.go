package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// PutPrincipal creates a principal (ID "") or changes its Name, Display and Disabled (PrincipalWrite). Members of a
// group are changed by AddMember and RemoveMember alone. To change somebody, the caller must hold what they hold.
func (b *Broker) PutPrincipal(ctx context.Context, who ajar.Caller, p ajar.Principal) (*ajar.Principal, error) {
	return nil, nil
}

// DeletePrincipal removes a principal with its credentials, tokens, memberships and role assignments, and revokes what
// it has open (PrincipalDelete).
func (b *Broker) DeletePrincipal(ctx context.Context, who ajar.Caller, id ajar.PrincipalID) (existed bool, err error) {
	return false, nil
}

// Principal reads one by ID or name: oneself, or with PrincipalRead.
func (b *Broker) Principal(ctx context.Context, who ajar.Caller, idOrName string) (*ajar.Principal, error) {
	return nil, nil
}

// Principals lists all of a kind, or all if kind is "" (PrincipalRead).
func (b *Broker) Principals(ctx context.Context, who ajar.Caller, kind ajar.PrincipalKind, page Page) (list []*ajar.Principal, next string, err error) {
	return nil, "", nil
}

// AddMember puts a person or program into a group (PrincipalWrite). The caller must hold what the group holds.
func (b *Broker) AddMember(ctx context.Context, who ajar.Caller, group, member ajar.PrincipalID) (*ajar.Principal, error) {
	return nil, nil
}

// RemoveMember takes a member out of a group (PrincipalWrite).
func (b *Broker) RemoveMember(ctx context.Context, who ajar.Caller, group, member ajar.PrincipalID) (*ajar.Principal, error) {
	return nil, nil
}

// PutCredential gives a principal a way to prove itself: oneself, or with PrincipalWrite somebody who holds no more
// than the caller. c.Hash is handed in; the secret itself never comes here. A password replaces the one before; set by
// somebody else, it ends the principal's tokens.
func (b *Broker) PutCredential(ctx context.Context, who ajar.Caller, c ajar.Credential) (*ajar.Credential, error) {
	return nil, nil
}

// Credentials lists a principal's credentials without their hashes: one's own, or with PrincipalRead.
func (b *Broker) Credentials(ctx context.Context, who ajar.Caller, of ajar.PrincipalID) ([]*ajar.Credential, error) {
	return nil, nil
}

// DeleteCredential removes a credential: one's own, or with PrincipalWrite.
func (b *Broker) DeleteCredential(ctx context.Context, who ajar.Caller, id string) (existed bool, err error) {
	return false, nil
}

// PutToken records a bearer token that was made for the caller. Name, Hash and Expires are read.
func (b *Broker) PutToken(ctx context.Context, who ajar.Caller, t ajar.Token) (*ajar.Token, error) {
	return nil, nil
}

// Tokens lists a principal's tokens, revoked and expired ones included: one's own, or with PrincipalRead.
func (b *Broker) Tokens(ctx context.Context, who ajar.Caller, of ajar.PrincipalID, page Page) (list []*ajar.Token, next string, err error) {
	return nil, "", nil
}

// RevokeToken ends a token, named by its hash or by the first eight or more digits of it: one's own, or with
// PrincipalWrite one of principal of.
func (b *Broker) RevokeToken(ctx context.Context, who ajar.Caller, of ajar.PrincipalID, hash string) (*ajar.Token, error) {
	return nil, nil
}
