package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/jackc/pgx/v5"
)

// Commit is what a Store learns of a commit of another over the same database.
type Commit struct {
	After, Last int64             // its events are those behind After, up to Last
	Seq         int64             // documents that it wrote have a greater one
	Changed     []ajar.DocKind    // of documents that were changed or removed, not only made
	Due         []ajar.EndpointID // that have a home and were marked due now
	Missed      bool              // nothing is known of what was committed before
}

// Hear calls told with what other Stores over the same database commit, soon after they did, until ctx ends. Nothing may
// depend on it: while the server cannot be reached nothing is told, and the first that is told afterwards is Missed. told
// must not block. Over SQLite there are no others.
func (s *Store) Hear(ctx context.Context, told func(Commit)) error {
	if db, ok := s.db.(*postgresDB); ok {
		db.news.hear(ctx, db.config, s.log, told)
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// newsChannel is where commits are told, on the server.
const newsChannel = "ajar_commits"

// hearName is how the sessions begin that hear; what follows is the Store's own name. It is not among replicaName's.
const hearName = "ajar-hears/"

// ClockAhead is how far the Store's clock is ahead of the database server's, which is the one that all replicas share; not
// ok while nobody hears, and where there is no server.
func (s *Store) ClockAhead() (d time.Duration, ok bool) {
	db, ok := s.db.(*postgresDB)
	if !ok || db.news.ahead.Load() == nil {
		return 0, false
	}
	return *db.news.ahead.Load(), true
}

// news is what a Store tells others, and whether anybody hears it.
type news struct {
	self   string
	others atomic.Bool
	clock  ajar.Clock
	ahead  atomic.Pointer[time.Duration] // of the server's clock
	told   time.Duration                 // as it was when that was last logged
}

func newNews() *news { return &news{self: rand.Text()[:12]} }

// newsText is a commit on the wire.
type newsText struct {
	By      string            `json:"by"`
	Hello   bool              `json:"hello,omitempty"`
	After   int64             `json:"after,omitempty"`
	Last    int64             `json:"last,omitempty"`
	Seq     int64             `json:"seq,omitempty"`
	Changed []ajar.DocKind    `json:"changed,omitempty"`
	Due     []ajar.EndpointID `json:"due,omitempty"`
}

// newsMost is how many bytes of endpoints one text has; the server takes not quite 8000 in all.
const newsMost = 5000

// tell queues what the batch is told as, which happens with its commit and not without.
func (n *news) tell(ctx context.Context, b *batch) error {
	if !n.others.Load() {
		return nil
	}
	t := newsText{By: n.self, Seq: b.before.seq, Changed: b.changedKinds()}
	if b.counters.pos > b.before.pos {
		t.After, t.Last = b.before.pos, b.counters.pos
	}
	size := 0
	for _, ep := range b.dueElsewhere() {
		if size += len(ep) + 3; size > newsMost {
			if err := n.queue(ctx, b.c, t); err != nil {
				return err
			}
			t, size = newsText{By: n.self}, 0
		}
		t.Due = append(t.Due, ajar.EndpointID(ep))
	}
	if t.Last == 0 && len(t.Changed) == 0 && len(t.Due) == 0 {
		return nil
	}
	return n.queue(ctx, b.c, t)
}

func (n *news) queue(ctx context.Context, c conn, t newsText) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return c.later(ctx, anyRows, "SELECT pg_notify('"+newsChannel+"', $1)", string(text))
}

// changedKinds are the kinds of documents that the batch changed or removed.
func (b *batch) changedKinds() (kinds []ajar.DocKind) {
	for _, k := range b.accepts.keys {
		if p := b.accepts.docs[k]; (p.was != nil || p.gone) && !slices.Contains(kinds, k.kind) {
			kinds = append(kinds, k.kind)
		}
	}
	return kinds
}

// dueElsewhere lists the endpoints that the batch marked due and that some replica is the home of, but for those that it
// claimed for their home itself.
func (b *batch) dueElsewhere() (eps []string) {
	now := floor(b.store.clock()) + 1
	for _, ep := range b.accepts.endpoints {
		p := b.accepts.due[ep]
		if p.gone || p.home == "" || p.due > now {
			continue
		}
		was, known := b.memory().due.get(ep)
		if known && (was.mark == p.mark || (p.owner == p.home && p.held != was.held)) {
			continue
		}
		eps = append(eps, ep)
	}
	return eps
}

// How long a lost connection is not opened again, at first and at most; how often it is looked whether it lives and
// whether there are others, and how long that may take.
const (
	hearAgain    = 200 * time.Millisecond
	hearAgainMax = 5 * time.Second
	hearEvery    = 5 * time.Second
)

func (n *news) hear(ctx context.Context, config *pgx.ConnConfig, log *slog.Logger, told func(Commit)) {
	wait := hearAgain
	for down := false; ctx.Err() == nil; {
		heard, err := n.listen(ctx, config, log, told)
		if ctx.Err() != nil {
			return
		}
		if heard {
			wait, down = hearAgain, false
		}
		if !down {
			down = true
			log.Warn("commits of other replicas are not told for now; waits notice them by looking", "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, hearAgainMax)
	}
}

// listen hears until its connection is lost, and says whether there was one.
func (n *news) listen(ctx context.Context, config *pgx.ConnConfig, log *slog.Logger, told func(Commit)) (heard bool, err error) {
	config = config.Copy()
	config.RuntimeParams["application_name"] = hearName + n.self
	first, cancel := context.WithTimeout(ctx, hearEvery)
	defer cancel()
	c, err := pgx.ConnectConfig(first, config)
	if err != nil {
		return false, err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		c.Close(last)
	}()
	// One that does not read any longer must not fill the server's queue.
	if _, err := c.Exec(first, "SET tcp_user_timeout = 30000"); err != nil && c.IsClosed() {
		return false, err
	}
	if _, err := c.Exec(first, "LISTEN "+newsChannel); err != nil {
		return false, err
	}
	if err := n.look(first, c, log); err != nil {
		return false, err
	}
	hello, err := json.Marshal(newsText{By: n.self, Hello: true})
	if err != nil {
		return false, err
	}
	if _, err := c.Exec(first, "SELECT pg_notify('"+newsChannel+"', $1)", string(hello)); err != nil {
		return false, err
	}
	told(Commit{Missed: true})
	for looked := time.Now(); ; {
		next, cancel := context.WithTimeout(ctx, hearEvery)
		got, err := c.WaitForNotification(next)
		quiet := next.Err() != nil
		cancel()
		switch {
		case got != nil:
			n.take(got.Payload, told)
		case ctx.Err() != nil || !quiet:
			return true, err
		}
		if time.Since(looked) >= hearEvery {
			looked = time.Now()
			if err := n.look(ctx, c, log); err != nil {
				return true, err
			}
		}
	}
}

// take tells what another said.
func (n *news) take(text string, told func(Commit)) {
	var t newsText
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return // not one of ours
	}
	switch {
	case t.By == n.self:
	case t.Hello:
		n.others.Store(true)
	default:
		told(Commit{After: t.After, Last: t.Last, Seq: t.Seq, Changed: t.Changed, Due: t.Due})
	}
}

// fullQueue is how full the server's queue may be. Somebody, of ours or not, has not read for long: if it were full no
// commit that tells anything would succeed.
const fullQueue = 0.25

// look finds out whether others hear.
func (n *news) look(ctx context.Context, c *pgx.Conn, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, hearEvery)
	defer cancel()
	const q = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND starts_with(application_name, $1)
		AND application_name <> $2), pg_notification_queue_usage(), (extract(epoch FROM clock_timestamp()) * 1000)::bigint`
	var others bool
	var usage float64
	var there int64
	before := n.clock()
	if err := c.QueryRow(ctx, q, hearName, hearName+n.self).Scan(&others, &usage, &there); err != nil {
		return fmt.Errorf("look for other replicas: %w", err)
	}
	n.compare(before, n.clock(), at(there), log)
	if usage > fullQueue {
		others = false
		log.Warn("the server's queue of notifications fills up, so nothing more is told; look for a session that listens and does not read", "usage", usage)
	}
	n.others.Store(others)
	return nil
}

// How far clocks may be apart before somebody should know, and how long an answer may take that tells.
const (
	clockSlack  = time.Second
	clockAnswer = 500 * time.Millisecond
)

// compare notes how far the clock is ahead of the server's, which was read in between.
func (n *news) compare(before, after, there time.Time, log *slog.Logger) {
	took := after.Sub(before)
	if took < 0 || took > clockAnswer {
		return
	}
	ahead := before.Add(took / 2).Sub(there)
	n.ahead.Store(&ahead)
	if moved := (ahead - n.told).Abs(); moved < clockSlack || (ahead.Abs() < clockSlack && n.told.Abs() < clockSlack) {
		return
	}
	n.told = ahead
	if ahead.Abs() < clockSlack {
		log.Info("this machine's clock and the database server's agree again")
		return
	}
	log.Warn("this machine's clock and the database server's differ: what replicas decide by the time is off by as much; set both by the same source", "ahead", ahead.Round(time.Millisecond).String())
}
