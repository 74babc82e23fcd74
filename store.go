package ajar

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// Stamp is what the store keeps beside every document. Every kind embeds it.
type Stamp struct {
	// Rev counts the writes of this document. Put answers Conflict unless it equals the stored one; 0 = must be new.
	Rev int64 `json:"-"`
	// Seq is the number of the last write among all writes to the store; who has read up to a Seq can ask for what
	// changed since.
	Seq int64 `json:"-"`
}

// Stamped gives the store its hold on the stamp.
func (s *Stamp) Stamped() *Stamp { return s }

// DocKind names a kind of document in the store.
type DocKind string

// Entry is where and how a document is kept: its kind, its key, and the columns that lists can filter on. What a column
// means for a kind stands at the kind's Entry method.
type Entry struct {
	Kind  DocKind
	Key   string    // unique within the kind
	Scope string    // lower-case ID; Filter.Scope finds this and what is below
	Owner string    // a principal
	Ref   string    // the thing it belongs to
	State string    //
	Until time.Time // when it ends; zero = never
}

// Doc is anything the store keeps: a pointer to one of the kinds of this package.
type Doc interface {
	Entry() Entry
	Stamped() *Stamp
}

// Filter selects documents of one kind. Zero fields do not filter. Lists are in order of key, or of Seq if After is
// set, or of Until if UntilBefore is set, or of scope if Scope is set; what is equal there is in order of key.
type Filter struct {
	Scope       ID
	Owner       PrincipalID
	Ref         string
	States      []string
	UntilBefore time.Time // Until ≤ this and not zero
	After       *int64    // Seq greater than this
	Cursor      string    // opaque, from the list before
	Limit       int       // 0 = no limit
}

// Claim is the right to look at an endpoint until Hold. Seq tells whether it was marked due again meanwhile.
type Claim struct {
	Endpoint *Endpoint
	Owner    string
	Mark     int64 // counts MarkDue; Release compares it
	Failures int
	Until    time.Time
}

// Store is transactions. Updates run one after the other, so each sees all that was committed before it; commits of
// concurrent Updates are made durable together, and a refusal of one never undoes its neighbours.
type Store interface {
	View(ctx context.Context, fn func(Tx) error) error
	// Update runs fn and makes what it did durable, or nothing. fn may run again: no side effects in it.
	Update(ctx context.Context, fn func(Tx) error) error
	Close() error
}

// Tx is everything one can do inside a transaction. Use Get, List, Put for typed access.
type Tx interface {
	// GetDoc fills into from the document of that kind and key, or answers NotFound.
	GetDoc(kind DocKind, key string, into Doc) error
	// ListDocs calls each for every document that f selects, with a function that decodes it; next continues the list
	// and is "" at its end.
	ListDocs(kind DocKind, f Filter, each func(decode func(into Doc) error) error) (next string, err error)
	// Count counts what f selects, without its Limit and Cursor.
	Count(kind DocKind, f Filter) (int64, error)
	// Put writes d, or answers Conflict if its Rev is not the stored one.
	Put(d Doc) error
	// Delete removes a document; NotFound if there is none.
	Delete(kind DocKind, key string) error

	// Append adds an event to the log; its Pos is set at commit.
	Append(e Event) error
	Events(f EventFilter) (events []*Event, err error)
	// Batches lists links of the log's chain from the one that holds position from on, at most n.
	Batches(from int64, n int) ([]Batch, error)

	// RightsGen counts the changes to rights: principals of kind Group, role definitions, role and deny assignments,
	// management groups. Whoever holds rights in memory compares it first.
	RightsGen() (int64, error)

	// MarkDue asks for a look at an endpoint at the given time or sooner.
	MarkDue(ep EndpointID, at time.Time) error
	// SetHome says that ep's agent is connected to the replica owner until until; only the home is given claims on it
	// meanwhile. An empty owner ends it.
	SetHome(ep EndpointID, owner string, until time.Time) error
	// ClaimDue gives owner up to n endpoints that are due at now and that nobody holds, for the time hold, the longest
	// due first.
	ClaimDue(now time.Time, n int, hold time.Duration, owner string) ([]Claim, error)
	// Claim gives owner that one endpoint, due or not, for the time hold; not ok if somebody holds it or its home is
	// elsewhere. So whoever marks it due can have it claimed in the same Update.
	Claim(ep EndpointID, now time.Time, hold time.Duration, owner string) (c Claim, ok bool, err error)
	// Release ends a claim and sets when the endpoint is due next and how often it has failed. If it was marked due
	// meanwhile it stays due now. Conflict if the claim is no longer held.
	Release(c Claim, due time.Time, failures int) error
	// DropClaims ends every claim that owner holds, and leaves its endpoints due: what a replica does at start with the
	// claims of its dead predecessor.
	DropClaims(owner string) error
	// NextDue is when the next endpoint that owner could claim is due; zero if none is. One that somebody holds counts
	// from the end of the claim.
	NextDue(owner string) (time.Time, error)
}

// Get reads one document, or answers NotFound.
func Get[D any, P interface {
	*D
	Doc
}](tx Tx, key string) (P, error) {
	d := P(new(D))
	if err := tx.GetDoc(d.Entry().Kind, key, d); err != nil {
		return nil, err
	}
	return d, nil
}

// List reads the documents that f selects. next continues the list and is "" at its end.
func List[D any, P interface {
	*D
	Doc
}](tx Tx, f Filter) (docs []P, next string, err error) {
	next, err = tx.ListDocs(P(new(D)).Entry().Kind, f, func(decode func(Doc) error) error {
		d := P(new(D))
		if err := decode(d); err != nil {
			return err
		}
		docs = append(docs, d)
		return nil
	})
	return docs, next, err
}

// The kinds of document.
const (
	KindPolicy          DocKind = "policy"
	KindRequest         DocKind = "request"
	KindLease           DocKind = "lease"
	KindTarget          DocKind = "target"
	KindEndpoint        DocKind = "endpoint"
	KindPrincipal       DocKind = "principal"
	KindCredential      DocKind = "credential"
	KindToken           DocKind = "token"
	KindRoleDefinition  DocKind = "roledefinition"
	KindRoleAssignment  DocKind = "roleassignment"
	KindDenyAssignment  DocKind = "denyassignment"
	KindManagementGroup DocKind = "managementgroup"
	KindHostIdentity    DocKind = "hostidentity"
	KindJoinToken       DocKind = "jointoken"
	KindSealed          DocKind = "sealed"
	KindListing         DocKind = "listing"
	KindGrant           DocKind = "grant"
	KindFamiliar        DocKind = "familiar"
	KindSession         DocKind = "session"
	KindFactor          DocKind = "factor"
	KindTally           DocKind = "tally"
)

// RightsKinds are the kinds whose change moves RightsGen. Of principals, groups alone count.
var RightsKinds = []DocKind{KindPrincipal, KindRoleDefinition, KindRoleAssignment, KindDenyAssignment, KindManagementGroup}

// Entry: key and scope are the policy's ID.
func (p *Policy) Entry() Entry {
	return Entry{Kind: KindPolicy, Key: p.ID.Key(), Scope: p.ID.Key()}
}

// Entry: scope and ref are the policy's ID, owner the requester, until a Pending request's deadline.
func (r *Request) Entry() Entry {
	e := Entry{Kind: KindRequest, Key: string(r.ID), Scope: r.Policy.Key(), Owner: string(r.Requester), Ref: r.Policy.Key(), State: string(r.State)}
	if r.State == Pending {
		e.Until = r.Deadline
	}
	return e
}

// Entry: scope is the target, owner the requester, ref the endpoint, until the End of a lease that is not Closed. While
// it is not Closed its scope lies below the target, at Slot, so that what a newer request supersedes is found without
// reading the machine's other leases.
func (l *Lease) Entry() Entry {
	e := Entry{Kind: KindLease, Key: string(l.ID), Scope: l.Target.Key(), Owner: string(l.Requester), Ref: string(l.Endpoint), State: string(l.State)}
	if l.State != Closed {
		e.Until = l.End
		e.Scope = l.Slot().Key()
	}
	return e
}

// Entry: key and scope are the target's ID, ref its lower-case name, owner the key of the listing that it is known to.
func (t *Target) Entry() Entry {
	return Entry{Kind: KindTarget, Key: t.ID.Key(), Scope: t.ID.Key(), Ref: strings.ToLower(t.ID.Name()),
		Owner: cmp.Or(t.Finding.Key(), t.Finding.Clash.Key())}
}

// Entry: scope is the target's ID, ref the provider.
func (ep *Endpoint) Entry() Entry {
	return Entry{Kind: KindEndpoint, Key: string(ep.ID), Scope: ep.Target.Key(), Ref: ep.Provider}
}

// Entry: ref is the lower-case name, state the kind.
func (p *Principal) Entry() Entry {
	return Entry{Kind: KindPrincipal, Key: string(p.ID), Owner: p.Upstream.Key(), Ref: strings.ToLower(p.Name), State: string(p.Kind)}
}

// Entry: owner is the principal.
func (c *Credential) Entry() Entry {
	return Entry{Kind: KindCredential, Key: c.ID, Owner: string(c.Principal), State: string(c.Kind), Until: c.Expires}
}

// Entry: owner is the principal, ref the family that it came with, state the kind.
func (t *Token) Entry() Entry {
	return Entry{Kind: KindToken, Key: t.Hash, Owner: string(t.Principal), Ref: t.Family, State: string(t.Kind), Until: t.Expires}
}

// Entry: owner is the principal.
func (f *Familiar) Entry() Entry {
	return Entry{Kind: KindFamiliar, Key: f.Key, Owner: string(f.Principal), Until: f.Until}
}

// Entry: until is when it tells nothing any longer.
func (t *Tally) Entry() Entry { return Entry{Kind: KindTally, Key: t.Key, Until: t.Full} }

// Entry: ref is the lower-case name.
func (r *RoleDefinition) Entry() Entry {
	return Entry{Kind: KindRoleDefinition, Key: strings.ToLower(string(r.ID)), Ref: strings.ToLower(r.Name)}
}

// Entry: scope is the assignment's, owner the principal, ref the role.
func (a *RoleAssignment) Entry() Entry {
	return Entry{Kind: KindRoleAssignment, Key: strings.ToLower(a.ID), Scope: a.Scope.Key(), Owner: string(a.Principal), Ref: strings.ToLower(string(a.Role))}
}

// Entry: scope is the assignment's.
func (a *DenyAssignment) Entry() Entry {
	return Entry{Kind: KindDenyAssignment, Key: strings.ToLower(a.ID), Scope: a.Scope.Key()}
}

// Entry: key and scope are the group's ID.
func (g *ManagementGroup) Entry() Entry {
	return Entry{Kind: KindManagementGroup, Key: g.ID.Key(), Scope: g.ID.Key()}
}

// Entry: key is the endpoint, ref the newest serial.
func (h *HostIdentity) Entry() Entry {
	return Entry{Kind: KindHostIdentity, Key: string(h.Endpoint), Scope: h.Target.Key(), Ref: h.Serial, Until: h.Expires}
}

// Entry: scope is the target.
func (j *JoinToken) Entry() Entry {
	return Entry{Kind: KindJoinToken, Key: j.Hash, Scope: j.Target.Key(), Until: j.Expires}
}

// Entry: key is the name.
func (s *Sealed) Entry() Entry { return Entry{Kind: KindSealed, Key: s.Name} }

// Entry: key is the origin's, ref the provider.
func (l *Listing) Entry() Entry {
	return Entry{Kind: KindListing, Key: l.Origin.Key(), Ref: l.Provider}
}
