package ajar

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what sort of failure an error is. Surfaces map a Kind to a status in one table; everything else
// asks with errors.Is(err, ajar.NotFound).
type Kind string

// The kinds of failure there are.
const (
	Invalid         Kind = "Invalid"         // what was asked makes no sense, or no rule can allow it
	NotFound        Kind = "NotFound"        // the thing named does not exist, or the caller may not know that it does
	Conflict        Kind = "Conflict"        // somebody was faster, or the state has no such step; read again
	Forbidden       Kind = "Forbidden"       // the caller is known and may not
	Unauthenticated Kind = "Unauthenticated" // nobody knows who the caller is
	TooMany         Kind = "TooMany"         // slow down; a limit was reached
	Unavailable     Kind = "Unavailable"     // a part that is needed cannot be reached now
	Internal        Kind = "Internal"        // a fault of ours, or one that nobody classified
)

// Error makes a Kind an error itself, so that errors.Is can ask for it.
func (k Kind) Error() string { return string(k) }

// Error is a classified failure. Msg is for the caller: what was refused, why, and what to do. Err is for the log
// alone and never crosses a surface.
type Error struct {
	Kind Kind
	Code string // a finer, machine-readable word where a surface has one to show; empty otherwise
	Msg  string
	Err  error
}

// Error joins the message and, for logs, its cause where the message does not already contain it.
func (e *Error) Error() string {
	if e.Err == nil || strings.Contains(e.Msg, e.Err.Error()) {
		return e.Msg
	}
	return e.Msg + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether target is e's Kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// Errorf makes a classified error. Its text is for the caller; a %w operand is kept as the cause, and its text is
// shown as part of the message, so wrap only what the caller may read.
func Errorf(k Kind, format string, a ...any) error {
	err := fmt.Errorf(format, a...)
	return &Error{Kind: k, Msg: err.Error(), Err: errors.Unwrap(err)}
}

// Because makes a classified error whose cause goes to the log and never to the caller.
func Because(k Kind, cause error, format string, a ...any) error {
	return &Error{Kind: k, Msg: fmt.Sprintf(format, a...), Err: cause}
}

// KindOf gives the Kind of err, Internal for anything that nobody classified.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	var k Kind
	if errors.As(err, &k) {
		return k
	}
	return Internal
}

// Message gives the text of err that a caller may read. For an Internal or unclassified error that is a constant.
func Message(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != Internal {
		return e.Msg
	}
	return "internal error; the operator finds the cause in the log under the correlation id"
}
