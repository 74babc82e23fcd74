package main

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/ajar-access/ajar"
)

// changes is the store as the plane's parts see it: it notices which requests a committed Update touched, by themselves
// or by their leases, what it logged, and how many guards that lifted, and says so to who waits for it. It
// costs nothing when nobody listens and the database nothing at all.
type changes struct {
	ajar.Store
	listener atomic.Pointer[listener]
}

// listener is told after the commit; it must not block.
type listener struct {
	changed func(...ajar.RequestID)
	logged  func([]ajar.Event)
	lifted  func(guards int)
}

func (c *changes) listen(l listener) { c.listener.Store(&l) }

// Update implements ajar.Store.
func (c *changes) Update(ctx context.Context, fn func(ajar.Tx) error) error {
	l := c.listener.Load()
	if l == nil {
		return c.Store.Update(ctx, fn)
	}
	var t noting
	err := c.Store.Update(ctx, func(tx ajar.Tx) error {
		t = noting{Tx: tx} // fn may run again
		return fn(&t)
	})
	if err != nil {
		return err
	}
	if len(t.requests) > 0 {
		l.changed(t.requests...)
	}
	if len(t.logged) > 0 {
		l.logged(t.logged)
	}
	if t.lifted > 0 {
		l.lifted(t.lifted)
	}
	return nil
}

// noting is a transaction that keeps notes.
type noting struct {
	ajar.Tx
	requests []ajar.RequestID
	logged   []ajar.Event
	lifted   int
}

// Put implements ajar.Tx.
func (t *noting) Put(d ajar.Doc) error {
	switch d := d.(type) {
	case *ajar.Lease:
		t.note(d.Request)
	case *ajar.Request:
		t.note(d.ID)
	}
	return t.Tx.Put(d)
}

func (t *noting) note(id ajar.RequestID) {
	if n := len(t.requests); n == 0 || t.requests[n-1] != id {
		t.requests = append(t.requests, id)
	}
}

// Append implements ajar.Tx.
func (t *noting) Append(e ajar.Event) error {
	t.logged = append(t.logged, e)
	if e.Action == ajar.GuardLifted || e.Action == ajar.GuardRolledBack {
		n, _ := strconv.Atoi(e.Details["count"]) // a host that tells later what the loop knows counts nothing
		t.lifted += n
	}
	return t.Tx.Append(e)
}
