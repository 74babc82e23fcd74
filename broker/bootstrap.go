package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// Boot is what Bootstrap found.
type Boot struct {
	OwnerMissing bool // nobody who can sign in is Owner at /: the first start, or a lock-out
}

// Admin is an administrator to be made on the plane's own machine.
type Admin struct {
	Name string
	Hash string // of the one-time password, argon2id
	// Recover makes the administrator although there is an Owner; a user of that name is enabled and gets the password.
	Recover bool
}

// Bootstrap brings the built-in roles up to date and records the start. It is called at each start before anything is
// served.
func (b *Broker) Bootstrap(ctx context.Context) (Boot, error) { return Boot{}, nil }

// EnsureAdmin makes a user Owner at / if there is no Owner yet, or if recovering. It is for programs on the plane's own
// machine and asks for no rights.
func (b *Broker) EnsureAdmin(ctx context.Context, a Admin) (p *ajar.Principal, made bool, err error) {
	return nil, false, nil
}

// AfterRestore closes every lease that is not final, unless kept by name: what happened since the backup was made is
// unknown, so nothing stays open on its word. It gives the number of leases that are closing now.
func (b *Broker) AfterRestore(ctx context.Context, keep []ajar.LeaseID) (n int, err error) {
	return 0, nil
}
