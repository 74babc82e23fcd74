package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// The exit codes. They are documented in the root's help and do not change.
const (
	exitOther       = 1
	exitUsage       = 2
	exitRefused     = 3
	exitNotFound    = 4
	exitUnavailable = 5
	exitPending     = 6
	exitConflict    = 7
	exitAltered     = 8
	exitInterrupted = 130
)

// fault is an error with what to tell its reader: the exit code, if it is not the one of the error's Kind, and one line
// of advice.
type fault struct {
	err  error
	code int
	hint string
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

// hint adds advice to err.
func hint(err error, format string, args ...any) error {
	return &fault{err: err, hint: fmt.Sprintf(format, args...)}
}

// exits gives err an exit code of its own.
func exits(code int, err error) error { return &fault{err: err, code: code} }

// usage is a wrong command line.
func usage(format string, args ...any) error { return exits(exitUsage, fmt.Errorf(format, args...)) }

// named is an error with a file that the command line names: that it cannot be read is the command line's fault.
func named(what string, err error) error {
	return exits(exitUsage, fmt.Errorf("read %s: %w", what, err))
}

var kindExit = map[ajar.Kind]int{
	ajar.Invalid:         exitUsage,
	ajar.NotFound:        exitNotFound,
	ajar.Conflict:        exitConflict,
	ajar.Forbidden:       exitRefused,
	ajar.Unauthenticated: exitRefused,
	ajar.TooMany:         exitUnavailable,
	ajar.Unavailable:     exitUnavailable,
	ajar.Internal:        exitOther,
}

// report writes err for its reader and turns it into an exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	var child *exec.ExitError
	if errors.As(err, &child) {
		return childCode(child)
	}
	if errors.Is(err, context.Canceled) {
		a.say("ajar: interrupted")
		return exitInterrupted
	}
	a.say("ajar: %s", lowerFirst(strings.TrimRight(reason(err), ".\n")))
	if advice := a.advice(err); advice != "" {
		a.say("hint: %s", advice)
	}
	return a.exitCode(err)
}

// reason is err's text. Of a refusal under a policy it is the rule that failed, without what Azure says before it.
func reason(err error) string {
	var e *client.Error
	if errors.As(err, &e) && e.Err.Code == client.NotSubset {
		if _, why, ok := strings.Cut(e.Err.Msg, "Reason: "); ok {
			return "the policy does not allow this: " + plain(why)
		}
	}
	if _, group, ok := strings.Cut(err.Error(), "; ["); ok && strings.HasPrefix(err.Error(), "if any flags in the group [") {
		flags, _, _ := strings.Cut(group, "]")
		return "--" + strings.Join(strings.Fields(flags), " and --") + " do not go together"
	}
	return err.Error()
}

func (a *app) exitCode(err error) int {
	var f *fault
	for e := err; errors.As(e, &f); e = f.err {
		if f.code != 0 {
			return f.code
		}
	}
	var e *ajar.Error
	switch {
	case !a.started:
		return exitUsage
	case !errors.As(err, &e):
		return exitOther
	case e.Code == client.NotSubset:
		return exitRefused
	case e.Code == client.Altered:
		return exitAltered
	}
	return kindExit[e.Kind]
}

// advice is one line on what to do: the one that came with err, or the usual one for what it is.
func (a *app) advice(err error) string {
	var f *fault
	for e := err; errors.As(e, &f); e = f.err {
		if f.hint != "" {
			return f.hint
		}
	}
	var e *ajar.Error
	if !errors.As(err, &e) {
		return ""
	}
	var plane *client.Error
	answered := errors.As(err, &plane)
	switch {
	case untrusted(err) && strings.Contains(e.Msg, "not yet valid"): // nor any longer: Go's text says both
		return "by this machine's clock it is " + a.now().Format("2006-01-02 15:04:05 MST") + "; if that is right, the plane's operator has to look at its certificate"
	case untrusted(err):
		return "ajar login --ca-hash sha256:…, with the hash that the plane's operator tells you"
	case e.Kind == ajar.Unauthenticated && answered:
		return a.signInAgain()
	case answered && e.Code == client.FreshSignInRequired:
		return "ajar login, and then this again"
	case answered && plane.Correlation != "" && (e.Kind == ajar.Internal || e.Kind == ajar.Unavailable):
		return "the operator finds more in the plane's log under " + plane.Correlation
	case e.Code == client.FreshSignInRequired || (e.Code == client.SecondFactorRequired && e.Kind == ajar.Forbidden):
		return "ajar login, or ajar login --browser, and then the same again"
	case e.Kind == ajar.Forbidden && answered && plane.Correlation != "":
		return "who may is seen with ajar role list --assignments; the refusal is recorded under " + plane.Correlation
	}
	return ""
}

func untrusted(err error) bool {
	var e *ajar.Error
	return errors.As(err, &e) && e.Code == client.UntrustedCertificate
}

// signInAgain says how, and why if that can be seen here.
func (a *app) signInAgain() string {
	switch {
	case a.getenv("AJAR_TOKEN") != "":
		return "AJAR_TOKEN is what was sent; unset it, or give another"
	case a.config != nil && !a.config.Expires.IsZero() && a.config.Expires.Before(a.now()):
		return "your session ended " + a.when(a.config.Expires) + "; sign in again: ajar login"
	}
	return "sign in again: ajar login"
}

// lowerFirst makes a sentence the rest of a line, unless it starts with a name or an abbreviation.
func lowerFirst(s string) string {
	if len(s) < 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'a' || s[1] > 'z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}
