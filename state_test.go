package ajar

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write docs/state.md anew")

func TestRequestTable(t *testing.T) {
	for _, from := range RequestStates {
		for _, to := range RequestStates {
			r := &Request{ID: "r", State: from}
			err := r.Move(to, noon)
			if slices.Contains(requestSteps[from], to) {
				if err != nil || r.State != to || !r.Decided.Equal(noon) {
					t.Errorf("%s → %s: %v, now %s", from, to, err, r.State)
				}
			} else if !errors.Is(err, Conflict) || r.State != from {
				t.Errorf("%s → %s: %v, now %s; want Conflict and no change", from, to, err, r.State)
			}
		}
		if final := len(requestSteps[from]) == 0; final != (from != Pending) {
			t.Errorf("%s final = %v", from, final)
		}
	}
}

func TestPendingRequestPastItsDeadlineReadsAsLapsed(t *testing.T) {
	r := &Request{ID: "r", State: Pending, Deadline: noon}
	if got := r.Now(noon.Add(-time.Millisecond)); got != Pending {
		t.Errorf("before: %s", got)
	}
	if got := r.Now(noon); got != Lapsed {
		t.Errorf("at the deadline: %s", got)
	}
	for _, to := range []RequestState{Approved, Denied, Withdrawn} {
		if err := r.Move(to, noon); !errors.Is(err, Conflict) {
			t.Errorf("a lapsed request became %s: %v", to, err)
		}
	}
	if err := r.Move(Lapsed, noon); err != nil {
		t.Error(err)
	}
}

func TestLeaseTable(t *testing.T) {
	for _, from := range LeaseStates {
		for _, to := range LeaseStates {
			l := &Lease{ID: "l", State: from, Reason: "before"}
			err := l.Move(to, Revoked)
			switch {
			case !slices.Contains(leaseSteps[from], to):
				if !errors.Is(err, Conflict) || l.State != from || l.Reason != "before" {
					t.Errorf("%s → %s: %v, now %s; want Conflict and no change", from, to, err, l.State)
				}
			case err != nil || l.State != to:
				t.Errorf("%s → %s: %v, now %s", from, to, err, l.State)
			case (to == Closing) != (l.Reason == Revoked):
				t.Errorf("%s → %s left reason %q", from, to, l.Reason)
			}
		}
		if final := len(leaseSteps[from]) == 0; final != (from == Closed) {
			t.Errorf("%s final = %v", from, final)
		}
	}
}

// TestStateDoc keeps docs/state.md equal to the tables; go test -run TestStateDoc -update . writes it.
func TestStateDoc(t *testing.T) {
	var b strings.Builder
	b.WriteString("# States\n\nMade from the tables in `request.go` and `lease.go` by `go test -run TestStateDoc -update .`; a test keeps it so.\n")
	draw := func(title string, text string, rows [][2]string, final []string) {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n```mermaid\nstateDiagram-v2\n", title, text)
		for _, r := range rows {
			fmt.Fprintf(&b, "    %s --> %s\n", r[0], r[1])
		}
		for _, f := range final {
			fmt.Fprintf(&b, "    %s --> [*]\n", f)
		}
		b.WriteString("```\n\n| from | to |\n|---|---|\n")
		for _, r := range rows {
			fmt.Fprintf(&b, "| %s | %s |\n", r[0], r[1])
		}
	}
	var rows [][2]string
	var final []string
	for _, s := range RequestStates {
		for _, to := range requestSteps[s] {
			rows = append(rows, [2]string{string(s), string(to)})
		}
		if len(requestSteps[s]) == 0 {
			final = append(final, string(s))
		}
	}
	draw("Request", "A Pending request past its deadline reads as Lapsed, whether or not that was written down. Where nobody must approve, a request is Approved as it is made.", append([][2]string{{"[*]", "Pending"}}, rows...), final)
	rows, final = nil, nil
	for _, s := range LeaseStates {
		for _, to := range leaseSteps[s] {
			rows = append(rows, [2]string{string(s), string(to)})
		}
		if len(leaseSteps[s]) == 0 {
			final = append(final, string(s))
		}
	}
	draw("Lease", "A lease is Open when its rule was read back from the firewall with its deadline. Past its end it reads as Closing, whether or not that was written down; it is Closed when its rule was seen to be gone, or marked unverified when its target was removed.", append([][2]string{{"[*]", "Opening"}}, rows...), final)
	b.WriteString("\nA lease that is Closing or Closed says why:")
	for i, r := range []Reason{Expired, Revoked, Superseded, ReasonGone, ReasonFailed} {
		fmt.Fprintf(&b, "%s %s", map[bool]string{true: "", false: ","}[i == 0], r)
	}
	b.WriteString(".\n")
	if *update {
		if err := os.WriteFile("docs/state.md", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("docs/state.md")
	if err != nil || string(have) != b.String() {
		t.Errorf("docs/state.md is not what the tables say (%v); run go test -run TestStateDoc -update .", err)
	}
}

func TestErrorsSayTheirKindAndHideTheirCause(t *testing.T) {
	cause := errors.New("password=hunter2")
	err := fmt.Errorf("open: %w", Because(Unavailable, cause, "the database does not answer; try again"))
	if KindOf(err) != Unavailable || !errors.Is(err, Unavailable) || errors.Is(err, NotFound) || !errors.Is(err, cause) {
		t.Errorf("kind of %v is %s", err, KindOf(err))
	}
	if got := Message(err); strings.Contains(got, "hunter2") || !strings.Contains(got, "try again") {
		t.Errorf("message %q", got)
	}
	if got := Message(cause); strings.Contains(got, "hunter2") || KindOf(cause) != Internal {
		t.Errorf("an unclassified error shows %q", got)
	}
	wrapped := Errorf(Invalid, "machine vm1: %w", Errorf(NotFound, "no port"))
	if wrapped.Error() != "machine vm1: no port" || KindOf(wrapped) != Invalid {
		t.Errorf("%q is %s", wrapped, KindOf(wrapped))
	}
}
