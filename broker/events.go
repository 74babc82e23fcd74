package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// Events reads the activity log at f.Scope and below (EventRead there; at / if no scope is given).
func (b *Broker) Events(ctx context.Context, who ajar.Caller, f ajar.EventFilter) (out []*ajar.Event, err error) {
	at, err := scope(f.Scope)
	if err != nil {
		return nil, err
	}
	if f.Limit < 0 || f.After < 0 || f.Until < 0 {
		return nil, ajar.Errorf(ajar.Invalid, "limits and positions cannot be negative")
	}
	if f.Scope != "" && at != ajar.Root {
		f.Scope = at
	} else {
		f.Scope = "" // events without a scope too
	}
	f.Caller, f.Limit = foldID(f.Caller), min(f.Limit, 1000)
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.need(ajar.EventRead, at); err != nil {
			return err
		}
		out, err = t.Events(f)
		return err
	})
	return out, err
}

// Batches reads the links of the log's chain from the one that holds position from on, at most n (EventRead at /).
func (b *Broker) Batches(ctx context.Context, who ajar.Caller, from int64, n int) (out []ajar.Batch, err error) {
	if from < 0 || n < 0 {
		return nil, ajar.Errorf(ajar.Invalid, "positions and counts cannot be negative")
	}
	if n == 0 || n > 1000 {
		n = 1000
	}
	err = b.view(ctx, who, func(t *txn) (err error) {
		if err := t.need(ajar.EventRead, ajar.Root); err != nil {
			return err
		}
		out, err = t.Batches(from, n)
		return err
	})
	return out, err
}

// Record appends an event of something that happened outside the verbs: a sign-in, a host's second connection. It is
// for the plane's own parts and authorizes nobody; the time is set here.
func (b *Broker) Record(ctx context.Context, e ajar.Event) error {
	e.Time = b.now()
	e.Message, e.Name, e.Corr = clean(e.Message, 2048), clean(e.Name, 256), clean(e.Corr, 128)
	return b.Store.Update(ctx, func(tx ajar.Tx) error { return tx.Append(e) })
}
