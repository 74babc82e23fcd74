package events

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
)

func (s room) eventRoutes() []rest.Route {
	return []rest.Route{
		rest.Get("/ajar/v1/events", rest.Ours, rest.Op(200, s.listEvents), "Lists the activity log, newest first; with wait it holds until there is news.", ajar.EventRead, "scope", "caller", "action", "outcome", "request", "corr", "since", "before", "after", "until", "ascending", "wait", "limit"),
		rest.Get("/ajar/v1/log/key", rest.Ours, rest.Op(200, s.logKey), "Gives the public key of the activity log's signatures and the newest head.", ajar.EventRead),
		rest.Get("/ajar/v1/log/batches", rest.Ours, rest.Op(200, s.logBatches), "Lists links of the activity log's chain.", ajar.EventRead, "from", "$top"),
		rest.Get("/ajar/v1/log/export", rest.Ours, rest.Op(200, s.exportLog), "Writes the activity log's stored bytes, a JSON document a line, for verification elsewhere.", ajar.EventRead, "from"),
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

func (s room) listEvents(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[*ajar.Event], err error) {
	f, err := s.eventFilter(ctx, c)
	if err != nil {
		return l, err
	}
	var most time.Duration
	if w := c.Param("wait"); w != "" {
		if most, err = rest.ParseWait(w); err != nil {
			return l, err
		}
	}
	all, err := s.eventsWithin(ctx, c, f, min(most, rest.LongestWait))
	if err != nil {
		return l, err
	}
	next := ""
	if len(all) == f.Limit {
		next = strconv.FormatInt(all[len(all)-1].Pos, 10)
	}
	return rest.Each(c, all, next, func(e *ajar.Event) *ajar.Event { return e }), nil
}

func (s room) eventFilter(ctx context.Context, c *rest.Call) (f ajar.EventFilter, err error) {
	f = ajar.EventFilter{
		Action: ajar.Action(c.Param("action")), Outcome: ajar.Outcome(c.Param("outcome")),
		Corr: c.Param("corr"), Request: ajar.RequestID(c.Param("request")),
	}
	if f.Scope, err = c.ScopeParam("scope", ""); err != nil {
		return f, err
	}
	if v := c.Param("caller"); v != "" {
		f.Caller = ajar.PrincipalID(v)
		if p, err := s.Broker.Principal(ctx, c.Who, v); err == nil {
			f.Caller = p.ID // a name; somebody who is gone is found by id alone
		} else if !errors.Is(err, ajar.NotFound) && !errors.Is(err, ajar.Forbidden) {
			return f, err
		}
	}
	if err = c.Times(map[string]*time.Time{"since": &f.Since, "before": &f.Before}); err != nil {
		return f, err
	}
	if f.Ascending, err = c.Flag("ascending"); err != nil {
		return f, err
	}
	if f.After, err = c.Number("after", 0, 0, noPosition); err != nil {
		return f, err
	}
	if f.Until, err = c.Number("until", 0, 0, noPosition); err != nil {
		return f, err
	}
	limit, err := c.Number("limit", eventsAPage, 1, rest.MostAPage)
	if err != nil {
		return f, err
	}
	f.Limit = int(limit)
	return f, eventCursor(c, &f)
}

// eventCursor goes on after the last position of the page before.
func eventCursor(c *rest.Call, f *ajar.EventFilter) error {
	cursor, err := c.Cursor()
	if err != nil || cursor == "" {
		return err
	}
	pos, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || pos < 0 {
		return rest.Coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken is not one of this list.")
	}
	if f.Ascending {
		f.After = pos
	} else {
		f.Until = pos
	}
	return nil
}

// eventsWithin reads events, and if there are none yet waits for some.
func (s room) eventsWithin(ctx context.Context, c *rest.Call, f ajar.EventFilter, most time.Duration) ([]*ajar.Event, error) {
	ch, stop, err := s.News.Follow(c.Who.Principal, f)
	if err != nil {
		return nil, err
	}
	defer stop()
	began := s.Clock()
	for {
		if err := c.Still(); err != nil {
			return nil, err
		}
		all, err := s.Broker.Events(ctx, c.Who, f)
		waited := s.Clock().Sub(began)
		if err != nil || len(all) > 0 || waited >= most {
			return all, err
		}
		if s.News.Pause(ctx, ch, min(rest.Glance, most-waited)) != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (s room) logKey(ctx context.Context, c *rest.Call, _ rest.Nothing) (*logKeyBody, error) {
	newest, err := s.Broker.Events(ctx, c.Who, ajar.EventFilter{Limit: 1})
	if err != nil {
		return nil, err
	}
	b := &logKeyBody{PublicKey: s.LogKey}
	if len(newest) == 1 {
		links, err := s.Broker.Batches(ctx, c.Who, newest[0].Pos, 1)
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

func (s room) logBatches(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[linkBody], err error) {
	from, err := c.Number("from", 1, 0, noPosition)
	if err != nil {
		return l, err
	}
	cursor, err := c.Cursor()
	if err != nil {
		return l, err
	}
	if cursor != "" {
		if from, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return l, rest.Coded(ajar.Invalid, "InvalidSkipToken", "The $skiptoken is not one of this list.")
		}
	}
	all, err := s.Broker.Batches(ctx, c.Who, from, linksAPage)
	if err != nil {
		return l, err
	}
	next := ""
	if len(all) == linksAPage {
		next = strconv.FormatInt(all[len(all)-1].Last+1, 10)
	}
	return rest.Each(c, all, next, showLink), nil
}

// exportLog writes the stored bytes of the log. Whoever may read links of the whole chain may have them.
func (s room) exportLog(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Raw, error) {
	from, err := c.Number("from", 1, 0, noPosition)
	if err != nil {
		return rest.Raw{}, err
	}
	if s.Export == nil {
		return rest.Raw{}, rest.Coded(ajar.NotFound, "", "this plane exports no log")
	}
	if _, err := s.Broker.Batches(ctx, c.Who, from, 1); err != nil {
		return rest.Raw{}, err
	}
	return rest.Raw{Kind: "application/x-ndjson", Write: func(w io.Writer) error { return s.Export(ctx, from, w) }}, nil
}
