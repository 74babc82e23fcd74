package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/ajar-access/ajar"
)

// Control is the door of a running agent for the machine's own administrator: a local socket.
type Control struct {
	Host *Host
	// Admit says who is at the other end, or why it may not be here.
	Admit func(net.Conn) (user string, err error)
}

// The things that can be asked of a running agent.
const (
	AskStatus     = "status"
	AskBreakGlass = "break-glass"
	AskNotes      = "notes" // what leaving would lose
	AskLeave      = "leave"
)

// ControlAsk is one question, ControlAnswer what comes back. Each is one JSON value on the socket.
type ControlAsk struct {
	Do         string      `json:"do"`
	BreakGlass *BreakGlass `json:"breakGlass,omitempty"`
	Kept       int         `json:"kept,omitempty"` // how many notes were written down elsewhere before leaving
}

// ControlAnswer is the answer to a ControlAsk.
type ControlAnswer struct {
	Status *Status           `json:"status,omitempty"`
	Rule   *ajar.Rule        `json:"rule,omitempty"`
	Notes  []json.RawMessage `json:"notes,omitempty"`
	Untold string            `json:"untold,omitempty"` // why the plane could not be told of leaving
	Fault  *fault            `json:"fault,omitempty"`
}

// Serve answers on ln until ctx ends.
func (c *Control) Serve(ctx context.Context, ln net.Listener) error {
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			if !pause(ctx, 100*time.Millisecond) {
				return nil
			}
			continue
		}
		wg.Go(func() { c.serve(ctx, conn) })
	}
}

func (c *Control) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer time.AfterFunc(time.Minute, func() { conn.Close() }).Stop()
	// The end of the agent ends the wait for a question, not the answer: that may be what ends the agent.
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })()
	var answer ControlAnswer
	user, err := c.Admit(conn)
	if err == nil {
		var q ControlAsk
		if err = json.NewDecoder(io.LimitReader(conn, 64<<10)).Decode(&q); err == nil {
			answer, err = c.answer(ctx, user, q)
		}
	}
	answer.Fault = faultOf(err)
	if err := json.NewEncoder(conn).Encode(answer); err != nil {
		c.Host.Log.Debug("answer on the local socket", "err", err)
	}
}

func (c *Control) answer(ctx context.Context, user string, q ControlAsk) (a ControlAnswer, err error) {
	switch {
	case q.Do == AskStatus:
		s := c.Host.Status(ctx)
		a.Status = &s
	case q.Do == AskBreakGlass && q.BreakGlass != nil:
		b := *q.BreakGlass
		if b.User != "" { // what root says of itself
			user += " for " + b.User
		}
		b.User = user
		var r ajar.Rule
		r, err = c.Host.BreakGlass(ctx, b)
		a.Rule = &r
	case q.Do == AskNotes:
		a.Notes, err = c.Host.Notes()
	case q.Do == AskLeave:
		var untold error
		untold, err = c.Host.Leave(context.WithoutCancel(ctx), q.Kept) // half left is worse than left unheard
		if untold != nil {
			a.Untold = untold.Error()
		}
	default:
		err = ajar.Errorf(ajar.Invalid, "the agent does not know how to %q", q.Do)
	}
	return a, err
}

// AskAgent puts a question to the agent at the other end of conn.
func AskAgent(ctx context.Context, conn net.Conn, q ControlAsk) (ControlAnswer, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var a ControlAnswer
	err := json.NewEncoder(conn).Encode(q)
	if err == nil {
		err = json.NewDecoder(conn).Decode(&a)
	}
	if err != nil {
		return a, ajar.Errorf(ajar.Unavailable, "talk to the agent: %w", err)
	}
	return a, a.Fault.err()
}
