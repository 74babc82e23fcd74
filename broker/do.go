package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// op is one verb being carried out: what it is recorded as, and who may.
type op struct {
	action ajar.Action
	scope  ajar.ID
	// bad is what is wrong with the input by itself; it is refused, and recorded, before anybody asks for rights.
	bad error
	// may authorizes where the action and scope alone do not say who may; nil = who is granted action at scope.
	may func(t *txn) error
	// settle writes, together with the record of a refusal, what is true all the same; nil = nothing.
	settle func(t *txn) error
}

// txn is one transaction of a verb: the store's, who asks and when, and what is to be recorded and woken if it commits.
type txn struct {
	ajar.Tx
	b       *Broker
	now     time.Time
	who     ajar.Caller
	plane   bool // the plane itself asks: nobody is authorized
	rights  *rbac.Index
	facts   rbac.Facts // what conditions can ask about
	depends bool       // some condition decides, and asks about what is not known yet
	patient bool       // may step out to have the rights read
	event   ajar.Event
	more    []ajar.Event // what else the verb brought about
	wake    []ajar.EndpointID
	marked  map[ajar.EndpointID]struct{} // those of wake
	leases  []*ajar.Lease                // that were written
	begun   func()                       // the loop's, called instead of waking it
	after   []func(ctx context.Context)  // run once it is durable
}

// do is the way of every verb that changes something: it authorizes, runs fn and appends the event in one transaction,
// then wakes the loop. A refusal is appended by itself. fn may run again.
func (b *Broker) do(ctx context.Context, who ajar.Caller, o op, fn func(t *txn) error) error {
	if o.bad != nil {
		o.scope, _ = ajar.ParseID(string(o.scope))
	}
	var t *txn
	err := b.fresh(ctx, func(patient bool) error {
		return b.Store.Update(ctx, func(tx ajar.Tx) error {
			t = b.txn(tx, who)
			t.patient = patient
			t.event = t.newEvent(o.action, o.scope)
			t.event.Call = who.Call.At(o.scope)
			if err := t.begin(); err != nil {
				return err
			}
			if o.bad != nil {
				return o.bad
			}
			if err := t.authorize(o); err != nil {
				return err
			}
			if err := fn(t); err != nil {
				return err
			}
			if err := t.record(); err != nil {
				return err
			}
			return t.take()
		})
	})
	if err != nil {
		return b.refused(ctx, t, o, err)
	}
	switch {
	case t.begun != nil:
		t.begun()
	case len(t.wake) > 0 && b.Wake != nil:
		b.Wake(t.wake...)
	}
	for _, f := range t.after {
		f(context.WithoutCancel(ctx)) // it happened, whether or not the caller still waits
	}
	return nil
}

// view is the way of every verb that reads. It leaves no event, unless it is refused on the way to a change.
func (b *Broker) view(ctx context.Context, who ajar.Caller, fn func(t *txn) error) error {
	var t *txn
	err := b.fresh(ctx, func(patient bool) error {
		return b.Store.View(ctx, func(tx ajar.Tx) error {
			t = b.txn(tx, who)
			t.patient = patient
			if err := t.begin(); err != nil {
				return err
			}
			return fn(t)
		})
	})
	if who.Doing == "" || ajar.KindOf(err) != ajar.Forbidden || t == nil {
		return err
	}
	missing := t.event
	t.event = t.newEvent(cmp.Or(missing.Action, LookUp), missing.Scope)
	t.event.By, t.event.Call = missing.By, who.Call.At(missing.Scope)
	t.detail("for", who.Doing)
	return b.refused(ctx, t, op{}, err)
}

// LookUp is what the refusal to look something up for a change is recorded as where no single right was missing.
const LookUp ajar.Action = "Ajar.Access/lookUp/action"

func (b *Broker) txn(tx ajar.Tx, who ajar.Caller) *txn {
	who.Principal = foldID(who.Principal)
	who.From = who.From.Unmap()
	now := b.now()
	return &txn{Tx: tx, b: b, now: now, facts: rbac.Facts{Now: now}, who: who, plane: who.Principal == ajar.Plane.Principal && who.Via == ajar.Plane.Via}
}

// begin finds out who asks and brings the rights up to date.
func (t *txn) begin() error {
	if t.plane {
		return nil
	}
	p, err := ajar.Get[ajar.Principal](t, string(t.who.Principal))
	switch {
	case errors.Is(err, ajar.NotFound):
		return ajar.Errorf(ajar.Unauthenticated, "principal %.60q does not exist any longer", t.who.Principal)
	case err != nil:
		return err
	case p.Kind == ajar.Group:
		return ajar.Errorf(ajar.Unauthenticated, "%s is a group; groups do not act", p.Name)
	}
	t.who.Name, t.event.Name = p.Name, p.Name
	if p.Disabled {
		return ajar.Errorf(ajar.Forbidden, "%s is disabled", p.Name)
	}
	if err := t.signedIn(); err != nil {
		return err
	}
	return t.know()
}

// signedIn refuses a browser that was signed out since its page was looked at: whoever ended its session, and perhaps all
// that it had, does not find something new of it afterwards.
func (t *txn) signedIn() error {
	if t.who.Session == "" {
		return nil
	}
	s, err := ajar.Get[ajar.Session](t, t.who.Session)
	if errors.Is(err, ajar.NotFound) || (err == nil && foldID(s.Principal) != t.who.Principal) {
		return ajar.Errorf(ajar.Forbidden, "the sign-in has ended; begin again")
	}
	return err
}

// know finds the rights in memory, or reads them here if this is the last try.
func (t *txn) know() error {
	err := t.load()
	if errors.Is(err, errStale) && !t.patient {
		return t.rebuild()
	}
	return err
}

func (t *txn) authorize(o op) error {
	if t.plane {
		t.event.By = "plane"
	}
	if o.may != nil {
		return o.may(t)
	}
	return t.need(o.action, o.scope)
}

// need refuses unless the caller is granted action at scope.
func (t *txn) need(action ajar.Action, scope ajar.ID) error {
	return t.needs(action, scope, "AuthorizationFailed")
}

// linked is need for something that the body names besides the thing the verb is about.
func (t *txn) linked(action ajar.Action, scope ajar.ID) error {
	return t.needs(action, scope, "LinkedAuthorizationFailed")
}

func (t *txn) needs(action ajar.Action, scope ajar.ID, code string) error {
	if t.plane {
		return nil
	}
	return t.allowed(action, scope, code, t.rights.DecideWith(t.who, action, scope, &t.facts))
}

// allowed is d as the verb's answer and in its event.
func (t *txn) allowed(action ajar.Action, scope ajar.ID, code string, d ajar.Decision) error {
	if !d.Allow {
		t.event.By, t.event.Role = d.By, ""
		if t.event.Action == "" { // nothing but a look
			t.event.Action, t.event.Scope = action, scope
		}
		return &ajar.Error{Kind: ajar.Forbidden, Code: code, Msg: strings.Join(d.Unmet, "; ")}
	}
	if t.event.By == "" {
		t.event.By, t.event.Role = d.By, d.Role
	}
	return nil
}

// can reports whether the caller is granted action at scope.
func (t *txn) can(action ajar.Action, scope ajar.ID) bool {
	return t.plane || t.rights.DecideWith(t.who, action, scope, &t.facts).Allow
}

// self reports whether p is the caller.
func (t *txn) self(p ajar.PrincipalID) bool { return !t.plane && p == t.who.Principal }

func (t *txn) newEvent(action ajar.Action, scope ajar.ID) ajar.Event {
	return ajar.Event{
		Time: t.now, Action: action, Outcome: ajar.Accepted, Scope: scope, Caller: t.who.Principal,
		Name: clean(t.who.Name, 256), From: t.who.From.WithZone(""), Via: clean(t.who.Via, 32), Corr: clean(t.who.Corr, 128),
		App: t.who.App,
	}
}

// also records something more that the verb brought about.
func (t *txn) also(action ajar.Action, scope ajar.ID, change func(e *ajar.Event)) {
	e := t.newEvent(action, scope)
	e.By, e.Role = t.event.By, t.event.Role
	change(&e)
	t.more = append(t.more, e)
}

// detail keeps a fact about the verb in its event.
func (t *txn) detail(key, value string) {
	if t.event.Details == nil {
		t.event.Details = map[string]string{}
	}
	t.event.Details[key] = clean(value, 2048)
}

func (t *txn) record() error {
	if err := t.Append(t.event); err != nil {
		return fmt.Errorf("append to the log: %w", err)
	}
	for _, e := range t.more {
		if err := t.Append(e); err != nil {
			return fmt.Errorf("append to the log: %w", err)
		}
	}
	return nil
}

// due asks for a look at ep now. A verb marks an endpoint once, however much it changes there: so the loop sees by the
// mark whether somebody else did, too.
func (t *txn) due(ep ajar.EndpointID) error {
	if _, ok := t.marked[ep]; ok {
		return nil
	}
	if err := t.MarkDue(ep, t.now); err != nil {
		return err
	}
	if t.marked == nil {
		t.marked = map[ajar.EndpointID]struct{}{}
	}
	t.marked[ep] = struct{}{}
	t.wake = append(t.wake, ep)
	return nil
}

// Put writes d, and keeps in mind what the loop may be told of.
func (t *txn) Put(d ajar.Doc) error {
	if l, ok := d.(*ajar.Lease); ok && (len(t.leases) == 0 || t.leases[len(t.leases)-1] != l) {
		t.leases = append(t.leases, l)
	}
	return t.Tx.Put(d)
}

// take has the loop claim what is due, in this transaction.
func (t *txn) take() (err error) {
	slices.Sort(t.wake)
	if t.b.Take != nil && len(t.wake) > 0 {
		t.begun, err = t.b.Take(t.Tx, t.wake, t.leases)
	}
	return err
}

// refused records that the verb was refused and gives err back. What cannot be recorded is an error of its own.
func (b *Broker) refused(ctx context.Context, t *txn, o op, err error) error {
	kind := ajar.KindOf(err)
	if kind == ajar.Internal && ctx.Err() != nil {
		return err // the caller went away before anything was decided
	}
	if t == nil {
		return err // no transaction was ever begun
	}
	e := t.event
	e.Outcome, e.Kind, e.Message = ajar.Refused, kind, clean(ajar.Message(err), 2048)
	var coded *ajar.Error
	if errors.As(err, &coded) {
		e.Code = clean(coded.Code, 64)
	}
	if e.Call != nil { // its status is that of what was not refused
		c := *e.Call
		c.Status, e.Call = 0, &c
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	var wake []ajar.EndpointID
	bad := b.Store.Update(ctx, func(tx ajar.Tx) error {
		if err := tx.Append(e); err != nil {
			return err
		}
		if o.settle == nil {
			return nil
		}
		s := b.txn(tx, t.who)
		s.plane = t.plane
		s.event = e
		if err := o.settle(s); err != nil {
			return err
		}
		wake = s.wake
		for _, e := range s.more {
			if err := tx.Append(e); err != nil {
				return err
			}
		}
		return nil
	})
	if bad == nil {
		if len(wake) > 0 && b.Wake != nil {
			b.Wake(wake...)
		}
		return err
	}
	b.Log.Error("refusal not recorded", "corr", e.Corr, "caller", e.Caller, "err", bad)
	if kind == ajar.Internal {
		return errors.Join(err, bad)
	}
	return ajar.Because(ajar.Unavailable, errors.Join(err, bad), "the activity log cannot be written now, so nothing is done")
}
