package broker

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Host is a machine's place of enforcement, with what its agent lives by.
type Host struct {
	Endpoint *ajar.Endpoint
	Identity *ajar.HostIdentity // nil where none was ever issued
}

// Joining is what a host brings to Join. The serial is chosen before the certificate is made, so that the certificate
// can name the endpoint that Join answers with.
type Joining struct {
	TokenHash string     // hex SHA-256 of the join token
	From      netip.Addr // where the host called from
	Serial    string     // hex, of the certificate about to be issued
	Expires   time.Time  // of that certificate
	Corr      string
}

// Joined is what a host became.
type Joined struct {
	Target   *ajar.Target
	Endpoint *ajar.Endpoint
	Identity *ajar.HostIdentity
	Replaced bool // there was a live identity, which is revoked now
}

// HostRenewed is recorded when a host's certificate is replaced in time.
const HostRenewed ajar.Action = "Ajar.Access/hosts/renewed"

// agentProvider is the kind of firewall that hosts which join are.
const agentProvider = "agent"

// joinTime is how long a join token lives.
const joinTime = 15 * time.Minute

// CreateJoinToken makes a token with which one host can join as machine m.ID, once, within 15 minutes (HostWrite at the
// machine). A machine that does not exist yet is created from m (MachineWrite). replace lets the join revoke a live
// identity. The token is given out here and never again; its hash alone is kept.
func (b *Broker) CreateJoinToken(ctx context.Context, who ajar.Caller, m ajar.Target, replace bool) (token string, doc *ajar.JoinToken, err error) {
	bad := checkTarget(&m)
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", nil, ajar.Because(ajar.Unavailable, err, "no randomness for a token now")
	}
	token = "ajarjoin_" + base64.RawURLEncoding.EncodeToString(secret)
	sum := sha256.Sum256([]byte(token))
	err = b.do(ctx, who, op{action: ajar.HostWrite, scope: m.ID, bad: bad}, func(t *txn) error {
		old, err := t.oldTarget(m.ID)
		if err != nil {
			return err
		}
		if old == nil {
			if err := t.need(ajar.MachineWrite, m.ID); err != nil {
				return err
			}
			if old, err = t.putTarget(m); err != nil {
				return err
			}
			t.detail("created", string(m.ID))
		}
		if id, err := t.liveIdentity(old); err != nil {
			return err
		} else if id != nil && !replace {
			return alreadyJoined(old)
		}
		if err := t.sweepTokens(old.ID, false); err != nil {
			return err
		}
		doc = &ajar.JoinToken{Hash: hex.EncodeToString(sum[:]), Target: old.ID, Replace: replace, Created: t.now, By: t.who.Principal, Expires: t.now.Add(joinTime)}
		if replace {
			t.detail("replace", "true")
		}
		return t.Put(doc)
	})
	if err != nil {
		return "", nil, err
	}
	return token, doc, nil
}

// sweepTokens removes a machine's join tokens: those that are used or expired, or all.
func (t *txn) sweepTokens(machine ajar.ID, all bool) error {
	tokens, _, err := ajar.List[ajar.JoinToken](t, ajar.Filter{Scope: machine})
	for i := 0; err == nil && i < len(tokens); i++ {
		if j := tokens[i]; all || !j.Used.IsZero() || !t.now.Before(j.Expires) {
			err = t.Delete(ajar.KindJoinToken, j.Hash)
		}
	}
	return err
}

func alreadyJoined(m *ajar.Target) error {
	return &ajar.Error{Kind: ajar.Conflict, Code: "HostAlreadyJoined", Msg: "machine " + m.ID.Name() + " has a host with a live identity; remove it, or ask for a token that replaces it"}
}

// liveIdentity is the identity that m's host lives by now, or nil.
func (t *txn) liveIdentity(m *ajar.Target) (*ajar.HostIdentity, error) {
	for _, ep := range m.Endpoints {
		id, err := ajar.Get[ajar.HostIdentity](t, string(ep))
		if errors.Is(err, ajar.NotFound) {
			continue
		}
		if err != nil || (id.Revoked.IsZero() && t.now.Before(id.Expires)) {
			return id, err
		}
	}
	return nil, nil
}

// Join uses a join token up and makes the endpoint and its identity. A machine that joined before keeps its endpoint.
// The guards of all policies that name the machine are on the endpoint at once.
func (b *Broker) Join(ctx context.Context, j Joining) (*Joined, error) {
	bad := digest("the join token", j.TokenHash)
	if bad == nil {
		bad = checkSerial(j.Serial)
	}
	who := ajar.Plane
	who.From, who.Corr = j.From, j.Corr
	var out *Joined
	err := b.do(ctx, who, op{action: ajar.HostJoined, bad: bad}, func(t *txn) error {
		token, err := t.useToken(j.TokenHash)
		if err != nil {
			return err
		}
		t.event.Scope, t.event.Principal = token.Target, token.By
		m, err := t.target(token.Target)
		if err != nil {
			return err
		}
		out = &Joined{Target: m}
		if err := t.place(out); err != nil {
			return err
		}
		t.event.Endpoint, out.Endpoint.From = out.Endpoint.ID, j.From.WithZone("").Unmap()
		if err := t.identify(out, token, j); err != nil {
			return err
		}
		for _, p := range m.Policies {
			if err := t.guardFor(out.Endpoint, p); err != nil {
				return err
			}
		}
		if err := t.Put(out.Endpoint); err != nil {
			return err
		}
		return t.due(out.Endpoint.ID)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func checkSerial(s string) error {
	if s == "" || len(s) > 64 || strings.Trim(s, "0123456789abcdef") != "" {
		return ajar.Errorf(ajar.Invalid, "the certificate's serial %.70q is not lower-case hex", s)
	}
	return nil
}

// useToken uses a join token up.
func (t *txn) useToken(hash string) (*ajar.JoinToken, error) {
	token, err := ajar.Get[ajar.JoinToken](t, hash)
	switch {
	case errors.Is(err, ajar.NotFound):
		return nil, ajar.Errorf(ajar.Unauthenticated, "the join token is not known; ask for one with: ajar hosts add")
	case err != nil:
		return nil, err
	}
	t.event.Scope = token.Target
	switch {
	case !token.Used.IsZero():
		return nil, ajar.Errorf(ajar.Unauthenticated, "the join token was used already at %s; ask for another", token.Used.Format(time.RFC3339))
	case !t.now.Before(token.Expires):
		return nil, ajar.Errorf(ajar.Unauthenticated, "the join token expired at %s; ask for another", token.Expires.Format(time.RFC3339))
	}
	if err := t.vouched(token); err != nil {
		return nil, err
	}
	token.Used = t.now
	return token, t.Put(token)
}

// vouched refuses a token of somebody who could not make it any longer: who lost the right, or the account, must not
// bring in a host with what they kept.
func (t *txn) vouched(j *ajar.JoinToken) error {
	if j.By == ajar.Plane.Principal {
		return nil
	}
	p, err := ajar.Get[ajar.Principal](t, string(j.By))
	if errors.Is(err, ajar.NotFound) || (err == nil && p.Disabled) {
		return ajar.Errorf(ajar.Unauthenticated, "who made the join token is disabled or gone; ask somebody else for one")
	} else if err != nil {
		return err
	}
	if err := t.know(); err != nil {
		return err
	}
	if !t.rights.Decide(ajar.Caller{Principal: p.ID, Name: p.Name}, ajar.HostWrite, j.Target).Allow {
		return ajar.Errorf(ajar.Unauthenticated, "%s, who made the join token, may not bring in hosts there any longer; ask somebody else for one", p.Name)
	}
	return nil
}

// place finds the machine's endpoint, or makes it.
func (t *txn) place(j *Joined) error {
	for _, id := range j.Target.Endpoints {
		ep, err := ajar.Get[ajar.Endpoint](t, string(id))
		if err == nil && ep.Provider == agentProvider {
			j.Endpoint = ep
			return nil
		} else if err != nil && !errors.Is(err, ajar.NotFound) {
			return err
		}
	}
	j.Endpoint = &ajar.Endpoint{ID: ajar.EndpointID(strings.ToLower(t.b.NewID())), Provider: agentProvider, Target: j.Target.ID, Address: j.Target.ID.Name()}
	for _, f := range j.Target.Kept { // joining again releases nothing
		j.Endpoint.Guards = append(j.Endpoint.Guards, ajar.EndpointGuard{Flow: f, Kept: true, Since: t.now})
		j.Endpoint.GuardsSet++
	}
	if kept := j.Target.Kept; len(kept) > 0 {
		t.recordShift(j.Endpoint, shift{kept: kept}, time.Time{})
	}
	j.Target.Endpoints, j.Target.Kept = append(j.Target.Endpoints, j.Endpoint.ID), nil
	return t.Put(j.Target)
}

// identify gives the endpoint its identity; a live one is replaced only if the token says so.
func (t *txn) identify(j *Joined, token *ajar.JoinToken, in Joining) error {
	if !in.Expires.After(t.now) {
		return ajar.Errorf(ajar.Invalid, "the certificate would have expired already")
	}
	id, err := ajar.Get[ajar.HostIdentity](t, string(j.Endpoint.ID))
	if errors.Is(err, ajar.NotFound) {
		id = &ajar.HostIdentity{Endpoint: j.Endpoint.ID, Target: j.Target.ID}
	} else if err != nil {
		return err
	}
	if id.Serial != "" && id.Revoked.IsZero() && t.now.Before(id.Expires) {
		if !token.Replace {
			return alreadyJoined(j.Target)
		}
		j.Replaced = true
		t.detail("replaced", id.Serial)
		t.tellRemoved(j.Endpoint.ID, false)
	}
	id.Serial, id.Previous, id.Issued, id.Expires, id.Revoked, id.Lift = in.Serial, "", t.now, trim(in.Expires), time.Time{}, false
	j.Identity = id
	t.detail("serial", in.Serial)
	return t.Put(id)
}

// guardFor puts what a policy wants guarded of ep's machine on ep.
func (t *txn) guardFor(ep *ajar.Endpoint, policy ajar.ID) error {
	p, err := t.oldPolicy(policy)
	if p == nil || err != nil {
		return err
	}
	m := p.Machine(ep.Target)
	if m == nil {
		return nil
	}
	confirmBy := t.b.confirmBy(t.now, p.ConfirmWithin)
	s := regard(ep, p.ID, m.Flows(), p.Unguard == ajar.Keep, confirmBy, t.now)
	forbid(ep, p.ID, p.BreakGlass == ajar.Off)
	t.recordShift(ep, s, confirmBy)
	return nil
}

// Renew replaces the certificate with serial old by one with serial fresh. The old one stays good until the new one
// was used once.
func (b *Broker) Renew(ctx context.Context, ep ajar.EndpointID, old, fresh string, expires time.Time) (*ajar.HostIdentity, error) {
	bad := checkSerial(fresh)
	var id *ajar.HostIdentity
	err := b.do(ctx, ajar.Plane, op{action: HostRenewed, bad: bad}, func(t *txn) (err error) {
		t.event.Endpoint = ep
		if id, err = t.identity(ep, old); err != nil {
			return err
		}
		if !expires.After(t.now) {
			return ajar.Errorf(ajar.Invalid, "the certificate would have expired already")
		}
		t.event.Scope = id.Target
		t.detail("serial", fresh)
		id.Previous, id.Serial, id.Issued, id.Expires = old, fresh, t.now, trim(expires)
		return t.Put(id)
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// identity is ep's identity if a certificate with this serial may speak for it now.
func (t *txn) identity(ep ajar.EndpointID, serial string) (*ajar.HostIdentity, error) {
	id, err := ajar.Get[ajar.HostIdentity](t, string(ep))
	switch {
	case errors.Is(err, ajar.NotFound):
		return nil, ajar.Errorf(ajar.Unauthenticated, "no host is known as %.60q", ep)
	case err != nil:
		return nil, err
	case !id.Revoked.IsZero():
		return nil, ajar.Errorf(ajar.Unauthenticated, "this host was removed at %s", id.Revoked.Format(time.RFC3339))
	case serial == "" || (serial != id.Serial && serial != id.Previous):
		return nil, ajar.Errorf(ajar.Unauthenticated, "this certificate was replaced by another")
	case !t.now.Before(id.Expires):
		return nil, ajar.Errorf(ajar.Unauthenticated, "this host's certificate expired at %s; join anew", id.Expires.Format(time.RFC3339))
	}
	return id, nil
}

// CheckIdentity says whether a certificate with this serial may speak for ep now; Unauthenticated if not. The first use
// of a renewed certificate ends the one before.
func (b *Broker) CheckIdentity(ctx context.Context, ep ajar.EndpointID, serial string) (*ajar.HostIdentity, error) {
	var id *ajar.HostIdentity
	check := func(tx ajar.Tx) (err error) {
		id, err = b.txn(tx, ajar.Plane).identity(ep, serial)
		return err
	}
	if err := b.Store.View(ctx, check); err != nil {
		return nil, err
	}
	if id.Previous == "" || serial != id.Serial {
		return id, nil
	}
	err := b.Store.Update(ctx, func(tx ajar.Tx) error {
		if err := check(tx); err != nil || id.Previous == "" || serial != id.Serial {
			return err
		}
		id.Previous = ""
		return tx.Put(id)
	})
	if err != nil {
		return nil, err
	}
	return id, nil
}

// RemoveHost revokes the identity of target's host and forgets its endpoint (HostDelete at target). The guard stays on
// the host unless lift, which takes GuardRelease too. Its leases are Closed, unverified.
func (b *Broker) RemoveHost(ctx context.Context, who ajar.Caller, target ajar.ID, lift bool) error {
	target, bad := readID(target, machine)
	return b.do(ctx, who, op{action: ajar.HostDelete, scope: target, bad: bad}, func(t *txn) error {
		m, err := t.target(target)
		if err != nil {
			return err
		}
		if len(m.Endpoints) == 0 {
			return ajar.Errorf(ajar.NotFound, "machine %s has no host", m.ID.Name())
		}
		for _, ep := range slices.Clone(m.Endpoints) {
			if err := t.dropHost(m, ep, lift); err != nil {
				return err
			}
		}
		return nil
	})
}

// LeaveHost forgets a host that its own administrator took out. Neither guard nor openings are there any longer. serial is
// of the certificate that it came with: one that was replaced takes nobody out.
func (b *Broker) LeaveHost(ctx context.Context, ep ajar.EndpointID, serial string) error {
	return b.do(ctx, ajar.Plane, op{action: ajar.HostLeft}, func(t *txn) error {
		t.event.Endpoint = ep
		id, err := t.identity(ep, serial)
		if err != nil {
			return err
		}
		t.event.Scope, t.event.Message = id.Target, "the host's administrator took it out; its ports are no longer guarded"
		m, err := t.target(id.Target)
		if err != nil {
			return err
		}
		return t.forgetHost(m, ep, true)
	})
}

// dropHost forgets an endpoint of m and tells its host. To lift its guard is to release it, whatever else one may.
func (t *txn) dropHost(m *ajar.Target, ep ajar.EndpointID, lift bool) error {
	if lift {
		if err := t.linked(ajar.GuardRelease, m.ID); err != nil {
			return err
		}
	}
	t.tellRemoved(ep, lift)
	return t.forgetHost(m, ep, lift)
}

// forgetHost revokes the identity of an endpoint of m and closes its leases, unseen.
func (t *txn) forgetHost(m *ajar.Target, ep ajar.EndpointID, lift bool) error {
	id, err := ajar.Get[ajar.HostIdentity](t, string(ep))
	if err == nil && id.Revoked.IsZero() {
		id.Revoked, id.Lift = t.now, lift
		err = t.Put(id)
	}
	if err != nil && !errors.Is(err, ajar.NotFound) {
		return err
	}
	if err := t.abandon(m, ep); err != nil {
		return err
	}
	e, err := ajar.Get[ajar.Endpoint](t, string(ep))
	if err == nil {
		var flows []ajar.Flow
		for _, g := range e.Guarded(t.now) {
			flows = append(flows, g.Flow)
		}
		if lift {
			t.recordShift(e, shift{lifted: flows}, time.Time{})
		} else {
			for _, g := range e.Guards {
				if g.Kept && !slices.Contains(m.Kept, g.Flow) {
					m.Kept = append(m.Kept, g.Flow)
				}
			}
			t.recordShift(e, shift{kept: flows}, time.Time{})
		}
		err = t.Delete(ajar.KindEndpoint, string(ep))
	}
	if err != nil && !errors.Is(err, ajar.NotFound) {
		return err
	}
	t.event.Endpoint = ep
	t.detail("guard", map[bool]string{true: "lifted", false: "kept"}[lift])
	m.Endpoints = slices.DeleteFunc(m.Endpoints, func(x ajar.EndpointID) bool { return x == ep })
	return t.Put(m)
}

func (t *txn) tellRemoved(ep ajar.EndpointID, lift bool) {
	if t.b.Removed != nil {
		t.after = append(t.after, func(context.Context) { t.b.Removed(ep, lift) })
	}
}

// abandon closes m's leases on an endpoint that is given up: nobody will see their rules go.
func (t *txn) abandon(m *ajar.Target, ep ajar.EndpointID) error {
	ls, _, err := ajar.List[ajar.Lease](t, ajar.Filter{Scope: m.ID + "/leases"})
	if err != nil {
		return err
	}
	for _, l := range ls {
		if l.Endpoint != ep || l.State == ajar.Closed {
			continue
		}
		if l.State != ajar.Closing {
			if err := l.Move(ajar.Closing, ajar.ReasonGone); err != nil {
				return err
			}
			l.ClosedBy = t.who.Principal
		}
		if err := l.Move(ajar.Closed, l.Reason); err != nil {
			return err
		}
		l.Closed, l.Unverified = t.now, true
		if err := t.Put(l); err != nil {
			return err
		}
		t.also(ajar.LeaseClosed, l.Target, func(e *ajar.Event) {
			e.Outcome, e.Lease, e.Request, e.Endpoint, e.Principal = ajar.Happened, l.ID, l.Request, ep, l.Requester
			e.Details = map[string]string{"reason": string(l.Reason), "unverified": "true"}
			if !l.KernelEnd.IsZero() {
				e.Details["kernelEnd"] = l.KernelEnd.Format(time.RFC3339Nano)
			}
		})
	}
	return nil
}

// Hosts lists the hosts at and below under that the caller may read (HostRead).
func (b *Broker) Hosts(ctx context.Context, who ajar.Caller, under ajar.ID, page Page) (out []*Host, next string, err error) {
	if under, err = scope(under); err != nil {
		return nil, "", err
	}
	err = b.view(ctx, who, func(t *txn) error {
		out = nil
		eps, more, err := list(t, ajar.Filter{}, t.reach(ajar.HostRead, under), page, func(ep *ajar.Endpoint) (bool, error) {
			return t.can(ajar.HostRead, ep.Target), nil
		})
		next = more
		for _, ep := range eps {
			id, err := ajar.Get[ajar.HostIdentity](t, string(ep.ID))
			if errors.Is(err, ajar.NotFound) {
				id = nil
			} else if err != nil {
				return err
			}
			out = append(out, &Host{ep, id})
		}
		return err
	})
	return out, next, err
}
