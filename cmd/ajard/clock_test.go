package main

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/store"
)

// A wall that is set back must not give leases more time or make what ended live again.
func TestPlanesClockNeverGoesBack(t *testing.T) {
	var said bytes.Buffer
	wall, passed := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC), time.Duration(0)
	s := &steady{log: slog.New(slog.NewTextHandler(&said, nil)), read: func() (time.Time, time.Duration) { return wall, passed }}
	began := s.now()
	pass := func(d time.Duration) { wall, passed = wall.Add(d), passed+d }
	l := ajar.Lease{State: ajar.Open, End: began.Add(time.Minute)}

	wall = wall.Add(-time.Hour)
	pass(59 * time.Second)
	if now := s.now(); !now.Equal(began.Add(59*time.Second)) || !l.Live(now) {
		t.Errorf("an hour back and 59 s on: %s", now)
	}
	pass(time.Second)
	if now := s.now(); l.Live(now) {
		t.Errorf("the lease lives at %s, past its end", now)
	}
	wall = wall.Add(-24 * time.Hour)
	if now := s.now(); now.Before(l.End) {
		t.Errorf("a second step back brought it to %s", now)
	}
	if n := strings.Count(said.String(), "set back"); n != 1 {
		t.Errorf("warned %d times: %s", n, said.String())
	}
	wall = began.Add(2 * time.Hour) // set right again
	if now := s.now(); !now.Equal(wall) {
		t.Errorf("set right, and yet %s", now)
	}
}

// What the log knows to be past stays past for a plane that starts with its wall set back; a log from a far future does
// not take the plane along.
func TestPlaneStartsAfterItsLog(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "ajar.db"), store.Options{Log: slog.New(slog.DiscardHandler), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	newest := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	err = db.Update(t.Context(), func(tx ajar.Tx) error {
		return tx.Append(ajar.Event{Time: newest, Action: ajar.PlaneStarted, Outcome: ajar.Happened})
	})
	if err != nil {
		t.Fatal(err)
	}
	for back, want := range map[time.Duration]time.Time{
		time.Hour: newest, -time.Hour: newest.Add(time.Hour), 1000 * time.Hour: newest.Add(-1000 * time.Hour),
	} {
		s := &steady{log: slog.New(slog.DiscardHandler), read: func() (time.Time, time.Duration) { return newest.Add(-back), 0 }}
		if err := s.after(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		if now := s.now(); !now.Equal(want) {
			t.Errorf("started with the wall %s behind the log: %s, want %s", back, now, want)
		}
	}
}
