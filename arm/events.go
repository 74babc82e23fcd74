package arm

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

func (s *Server) eventRoutes() []route {
	return []route{
		Get("/ajar/v1/events", ours, op(200, s.listEvents), "Lists the activity log, newest first; with wait it holds until there is news.", ajar.EventRead, "scope", "caller", "action", "outcome", "request", "corr", "since", "before", "after", "until", "ascending", "wait", "limit"),
		Get("/ajar/v1/log/key", ours, op(200, s.logKey), "Gives the public key of the activity log's signatures and the newest head.", ajar.EventRead),
		Get("/ajar/v1/log/batches", ours, op(200, s.logBatches), "Lists links of the activity log's chain.", ajar.EventRead, "from", "$top"),
		Get("/ajar/v1/log/export", ours, op(200, s.exportLog), "Writes the activity log's stored bytes, a JSON document a line, for verification elsewhere.", ajar.EventRead, "from"),
	}
}

// logKeyBody is what the log's signatures are checked with, and the newest link of its chain.
type logKeyBody struct {
	PublicKey []byte    `json:"publicKey"`
	Newest    *linkBody `json:"newest,omitempty"`
}

type linkBody struct {
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Head      string `json:"head"` // hex
	Signature []byte `json:"signature,omitempty"`
}

func showLink(b ajar.Batch) linkBody {
	return linkBody{First: b.First, Last: b.Last, Head: hex.EncodeToString(b.Head), Signature: b.Signature}
}

// The page of the log when nobody says how much, and how many links of the chain one answer has.
const (
	eventsAPage = 100
	linksAPage  = 1000
	noPosition  = int64(1) << 62
)

func (s *Server) listEvents(ctx context.Context, c *call, _ nothing) (l list[*ajar.Event], err error) {
	f, err := s.eventFilter(ctx, c)
	if err != nil {
		return l, err
	}
	var most time.Duration
	if w := c.param("wait"); w != "" {
		if most, err = parseWait(w); err != nil {
			return l, err
		}
	}
	all, err := s.eventsWithin(ctx, c, f, min(most, longestWait))
	if err != nil {
		return l, err
	}
	next := ""
	if len(all) == f.Limit {
		next = strconv.FormatInt(all[len(all)-1].Pos, 10)
	}
	return each(c, all, next, func(e *ajar.Event) *ajar.Event { return e }), nil
}

func (s *Server) eventFilter(ctx context.Context, c *call) (f ajar.EventFilter, err error) {
	f = ajar.EventFilter{
		Action: ajar.Action(c.param("action")), Outcome: ajar.Outcome(c.param("outcome")),
		Corr: c.param("corr"), Request: ajar.RequestID(c.param("request")),
	}
	if f.Scope, err = c.scope("scope", ""); err != nil {
		return f, err
	}
	if v := c.param("caller"); v != "" {
		f.Caller = ajar.PrincipalID(v)
		if p, err := s.Broker.Principal(ctx, c.who, v); err == nil {
			f.Caller = p.ID // a name; somebody who is gone is found by id alone
		} else if !errors.Is(err, ajar.NotFound) && !errors.Is(err, ajar.Forbidden) {
			return f, err
		}
	}
	if err = c.times(map[string]*time.Time{"since": &f.Since, "before": &f.Before}); err != nil {
		return f, err
	}
	if f.Ascending, err = c.flag("ascending"); err != nil {
		return f, err
	}
	if f.After, err = c.number("after", 0, 0, noPosition); err != nil {
		return f, err
	}
	if f.Until, err = c.number("until", 0, 0, noPosition); err != nil {
		return f, err
	}
	limit, err := c.number("limit", eventsAPage, 1, mostAPage)
	if err != nil {
		return f, err
	}
	f.Limit = int(limit)
	return f, eventCursor(c, &f)
}

// times reads the parameters that are times.
func (c *call) times(named map[string]*time.Time) (err error) {
	for name, into := range named {
		if v := c.param(name); v != "" {
			if *into, err = parseTime(v); err != nil {
				return coded(ajar.Invalid, "InvalidParameter", "query parameter %s: %s", name, ajar.Message(err))
			}
		}
	}
	return nil
}

// eventCursor goes on after the last position of the page before.
func eventCursor(c *call, f *ajar.EventFilter) error {
	cursor, err := c.cursor()
	if err != nil || cursor == "" {
		return err
	}
	pos, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || pos < 0 {
		return coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken is not one of this list.")
	}
	if f.Ascending {
		f.After = pos
	} else {
		f.Until = pos
	}
	return nil
}

// eventsWithin reads events, and if there are none yet waits for some.
func (s *Server) eventsWithin(ctx context.Context, c *call, f ajar.EventFilter, most time.Duration) ([]*ajar.Event, error) {
	ch, stop, err := s.news.follow(c.who.Principal, f)
	if err != nil {
		return nil, err
	}
	defer stop()
	began := s.Clock()
	for {
		if err := c.still(); err != nil {
			return nil, err
		}
		all, err := s.Broker.Events(ctx, c.who, f)
		waited := s.Clock().Sub(began)
		if err != nil || len(all) > 0 || waited >= most {
			return all, err
		}
		if s.news.pause(ctx, ch, min(glanceLater, most-waited)) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (s *Server) logKey(ctx context.Context, c *call, _ nothing) (*logKeyBody, error) {
	newest, err := s.Broker.Events(ctx, c.who, ajar.EventFilter{Limit: 1})
	if err != nil {
		return nil, err
	}
	b := &logKeyBody{PublicKey: s.LogKey}
	if len(newest) == 1 {
		links, err := s.Broker.Batches(ctx, c.who, newest[0].Pos, 1)
		if err != nil {
			return nil, err
		}
		if len(links) == 1 {
			link := showLink(links[0])
			b.Newest = &link
		}
	}
	return b, nil
}

func (s *Server) logBatches(ctx context.Context, c *call, _ nothing) (l list[linkBody], err error) {
	from, err := c.number("from", 1, 0, noPosition)
	if err != nil {
		return l, err
	}
	cursor, err := c.cursor()
	if err != nil {
		return l, err
	}
	if cursor != "" {
		if from, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return l, coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken is not one of this list.")
		}
	}
	all, err := s.Broker.Batches(ctx, c.who, from, linksAPage)
	if err != nil {
		return l, err
	}
	next := ""
	if len(all) == linksAPage {
		next = strconv.FormatInt(all[len(all)-1].Last+1, 10)
	}
	return each(c, all, next, showLink), nil
}

// exportLog writes the stored bytes of the log. Whoever may read links of the whole chain may have them.
func (s *Server) exportLog(ctx context.Context, c *call, _ nothing) (raw, error) {
	from, err := c.number("from", 1, 0, noPosition)
	if err != nil {
		return raw{}, err
	}
	if s.Export == nil {
		return raw{}, coded(ajar.NotFound, "", "this plane exports no log")
	}
	if _, err := s.Broker.Batches(ctx, c.who, from, 1); err != nil {
		return raw{}, err
	}
	return raw{"application/x-ndjson", func(w io.Writer) error { return s.Export(ctx, from, w) }}, nil
}
