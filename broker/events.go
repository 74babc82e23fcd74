package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// Events reads the activity log at f.Scope and below (EventRead there; at / if no scope is given).
func (b *Broker) Events(ctx context.Context, who ajar.Caller, f ajar.EventFilter) ([]*ajar.Event, error) {
	return nil, nil
}

// Batches reads the links of the log's chain from the one that holds position from on, at most n (EventRead at /).
func (b *Broker) Batches(ctx context.Context, who ajar.Caller, from int64, n int) ([]ajar.Batch, error) {
	return nil, nil
}

// Record appends an event of something that happened outside the verbs: a sign-in, a host's second connection. It is
// for the plane's own parts and authorizes nobody; the time is set here.
func (b *Broker) Record(ctx context.Context, e ajar.Event) error { return nil }
