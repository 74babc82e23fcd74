package enforce

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// Hooks are told what the loop does, for metrics. Each may be nil; none may block.
type Hooks struct {
	Opened func(time.Duration) // from a lease's decision until its rule was read back
	Closed func(time.Duration) // from a deadline, or an early close, until the rule was seen to be gone
	Passed func(time.Duration, error)
	Drift  func(rules int) // repaired, on one endpoint
}

// Stats are the loop's gauges.
type Stats struct {
	Live    int64 // leases that are Opening or Open and not past their end
	Overdue int64 // leases past their end that were not yet seen to be gone
	Failing int   // endpoints whose last pass on this replica failed
	Flying  int   // passes under way
	Plans   int   // endpoints held in memory
}

// Stats reads the gauges. It costs two counts over an index.
func (l *Loop) Stats(ctx context.Context) (s Stats, err error) {
	l.init()
	now := l.Clock()
	err = l.Store.View(ctx, func(tx ajar.Tx) error {
		all, err := tx.Count(ajar.KindLease, ajar.Filter{States: []string{string(ajar.Opening), string(ajar.Open)}})
		if err != nil {
			return err
		}
		over, err := tx.Count(ajar.KindLease, ajar.Filter{States: []string{string(ajar.Opening), string(ajar.Open)}, UntilBefore: now})
		if err != nil {
			return err
		}
		s.Live = all - over
		s.Overdue, err = tx.Count(ajar.KindLease, ajar.Filter{States: []string{string(ajar.Opening), string(ajar.Open), string(ajar.Closing)}, UntilBefore: now})
		return err
	})
	l.mu.Lock()
	s.Failing, s.Flying, s.Plans = len(l.trouble), len(l.flying), len(l.plans)
	l.mu.Unlock()
	return s, err
}

// Step is a boundary between two steps of a pass.
type Step string

// The steps there are. At each a process may die, and the next one must find its way from the store alone.
const (
	StepClaimed  Step = "claimed"  // the endpoint is ours; nothing was read
	StepRead     Step = "read"     // the plan knows what is wanted; the firewall was not touched
	StepApplied  Step = "applied"  // the firewall has it; the store does not know
	StepChunk    Step = "chunk"    // some leases are settled; others are not, and the claim stands
	StepSettled  Step = "settled"  // all is recorded; the plan was not yet brought up to date
	StepFailed   Step = "failed"   // the firewall could not be driven; the store does not know
	StepRecover  Step = "recover"  // some of what is overdue is durably Closing
	StepReported Step = "reported" // a report is recorded; its sender does not know
	StepStop     Step = "stop"     // the loop ends; its claims stand
)

// Steps lists them all, in the order they come in.
var Steps = []Step{StepClaimed, StepRead, StepApplied, StepChunk, StepSettled, StepFailed, StepRecover, StepReported, StepStop}

func (l *Loop) at(s Step, id ajar.EndpointID) bool {
	return l.Failpoint == nil || l.Failpoint(s, id) == nil
}
