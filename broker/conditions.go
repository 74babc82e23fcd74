package broker

import (
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// Conditions on role assignments ask about what a verb has not read yet when it asks who may. So the verbs that they
// make sense for ask twice: might the caller do it at all, before anything is read; and may they do this, once it is
// known.

// might is need for a verb that asks again with mayNow.
func (t *txn) might(action ajar.Action, scope ajar.ID) error {
	if t.plane {
		return nil
	}
	d, depends := t.rights.Might(t.who, action, scope, &t.facts)
	t.depends = t.depends || depends
	return t.allowed(action, scope, "AuthorizationFailed", d)
}

// mayNow asks again what might let pass, where a condition decides and f is what it can ask about.
func (t *txn) mayNow(action ajar.Action, scope ajar.ID, f rbac.Facts) error {
	if t.plane || !t.depends {
		return nil
	}
	f.Now = t.now
	return t.allowed(action, scope, "AuthorizationFailed", t.rights.DecideWith(t.who, action, scope, &f))
}

// assignmentFacts are a as conditions ask about it.
func assignmentFacts(a *ajar.RoleAssignment, kind ajar.PrincipalKind) *rbac.AssignmentFacts {
	return &rbac.AssignmentFacts{Role: a.Role, Principal: a.Principal, Kind: kind}
}

// asks gives each what is asked for as conditions ask about it: once for every source and every protocol, so that each
// must be allowed by itself. from is when durations start.
func (t *txn) asks(r *ajar.Request, asks []ajar.Ask, from time.Time, each func(f rbac.Facts) error) error {
	tags := map[string]map[string]string{}
	for _, a := range asks {
		key := a.Target.Key()
		if _, ok := tags[key]; !ok {
			tags[key] = nil
			if m, err := ajar.Get[ajar.Target](t, key); err == nil {
				tags[key] = m.Tags
			}
		}
		for _, src := range a.Sources {
			own := r.From.IsValid() && src == netip.PrefixFrom(r.From, r.From.BitLen())
			for _, protocol := range protocols(a.Port.Protocol) {
				f := rbac.Facts{Now: t.now, Tags: tags[key], Ask: &rbac.AskFacts{
					Machine: a.Target, Port: ajar.Port{Number: a.Port.Number, Protocol: protocol}, Source: src, Own: own,
					Duration: a.EndAt(from).Sub(from), Justification: r.Justification,
				}}
				if err := each(f); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// protocols are those that p stands for.
func protocols(p ajar.Protocol) []ajar.Protocol {
	if p == ajar.Both {
		return []ajar.Protocol{ajar.TCP, ajar.UDP}
	}
	return []ajar.Protocol{p}
}

// mayAsk refuses unless the caller, whom might let pass, may initiate every one of asks.
func (t *txn) mayAsk(r *ajar.Request, asks []ajar.Ask, from time.Time) error {
	return t.mayAll(ajar.PolicyInitiate, r, asks, from)
}

// mayAll is mayNow for every one of asks.
func (t *txn) mayAll(action ajar.Action, r *ajar.Request, asks []ajar.Ask, from time.Time) error {
	if t.plane || !t.depends {
		return nil
	}
	return t.asks(r, asks, from, func(f rbac.Facts) error { return t.mayNow(action, r.Policy, f) })
}

// mayDecide refuses unless the caller may do action to r, whatever was asked for.
func (t *txn) mayDecide(action ajar.Action, r *ajar.Request) error {
	if err := t.might(action, r.Policy); err != nil {
		return err
	}
	return t.mayAll(action, r, r.Asks, t.now)
}

// theyMay says by what somebody else than the caller, who made r, could make it now with these asks.
func (t *txn) theyMay(them ajar.Caller, r *ajar.Request, asks []ajar.Ask, from time.Time) (d ajar.Decision, err error) {
	d, depends := t.rights.Might(them, ajar.PolicyInitiate, r.Policy, &t.facts)
	if !d.Allow || !depends {
		return d, nil
	}
	err = t.asks(r, asks, from, func(f rbac.Facts) error {
		if d.Allow {
			d = t.rights.DecideWith(them, ajar.PolicyInitiate, r.Policy, &f)
		}
		return nil
	})
	return d, err
}
