package enforce

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// Recover is called before the first request is served. It ends the claims that this replica held when it died, makes
// everything overdue durably Closing, and puts the endpoints concerned first in the queue. It reads the index of
// deadlines alone, so its cost grows with what is overdue.
func (l *Loop) Recover(ctx context.Context) error {
	l.init()
	if err := l.Store.Update(ctx, func(tx ajar.Tx) error { return tx.DropClaims(l.Owner) }); err != nil {
		return err
	}
	now := l.Clock()
	total := 0
	for {
		n := 0
		err := l.Store.Update(ctx, func(tx ajar.Tx) (err error) {
			n, err = overdue(tx, now, 4*l.Chunk)
			return err
		})
		if err != nil {
			return err
		}
		if total += n; n == 0 {
			break
		}
		if !l.at(StepRecover, "") {
			return errCrash
		}
	}
	if total > 0 {
		l.Log.Info("deadlines passed while nobody watched", "leases", total)
	}
	return nil
}

// overdue makes up to n overdue leases Closing and their endpoints due since the leases' ends.
func overdue(tx ajar.Tx, now time.Time, n int) (int, error) {
	ls, _, err := ajar.List[ajar.Lease](tx, ajar.Filter{States: []string{string(ajar.Opening), string(ajar.Open)}, UntilBefore: now, Limit: n})
	if err != nil {
		return 0, err
	}
	due := map[ajar.EndpointID]time.Time{}
	for _, l := range ls {
		if err := l.Move(ajar.Closing, ajar.Expired); err != nil {
			return 0, err
		}
		if err := tx.Put(l); err != nil {
			return 0, err
		}
		if at, ok := due[l.Endpoint]; !ok || l.End.Before(at) {
			due[l.Endpoint] = l.End
		}
	}
	for id, at := range due {
		if err := tx.MarkDue(id, at); err != nil {
			return 0, err
		}
	}
	return len(ls), nil
}
