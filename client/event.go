package client

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"iter"
	"net/http"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
)

// EventQuery selects events; empty fields do not. Events come newest first unless Ascending.
type EventQuery struct {
	Scope     ajar.ID
	Caller    string // ID or name
	Action    ajar.Action
	Outcome   ajar.Outcome
	Request   ajar.RequestID
	Since     time.Time
	Before    time.Time
	After     int64 // positions greater than this
	Ascending bool
	Limit     int // of one page
}

// Events lists the activity log as far as the caller may read it, page after page to its end.
func (c *Client) Events(ctx context.Context, q EventQuery) iter.Seq2[ajar.Event, error] {
	return list[ajar.Event](ctx, c, "/ajar/v1/events", q.values())
}

func (q EventQuery) values() map[string][]string {
	v := query("scope", string(q.Scope), "caller", q.Caller, "action", string(q.Action), "outcome", string(q.Outcome),
		"request", string(q.Request), "ascending", flag(q.Ascending))
	if !q.Since.IsZero() {
		v.Set("since", stamp(q.Since))
	}
	if !q.Before.IsZero() {
		v.Set("before", stamp(q.Before))
	}
	if q.After != 0 {
		v.Set("after", strconv.FormatInt(q.After, 10))
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// Follow yields events after q.After as they happen, oldest first, until ctx ends or the caller has enough. A plane
// that cannot be reached for a while is asked again, after its error was yielded; any other error is the last.
func (c *Client) Follow(ctx context.Context, q EventQuery) iter.Seq2[ajar.Event, error] {
	q.Ascending = true
	return func(yield func(ajar.Event, error) bool) {
		for quiet := 1; ; quiet++ {
			v := q.values()
			q.Since = time.Time{} // from here on the position says where we are
			queryWait(v, hold)
			var p page[ajar.Event]
			_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/events", query: v, out: &p, hold: hold})
			if ctx.Err() != nil {
				return
			}
			if err != nil && (!yield(ajar.Event{}, err) || !away(err)) {
				return
			}
			for _, e := range p.Value {
				quiet, q.After = 1, max(q.After, e.Pos)
				if !yield(e, nil) {
					return
				}
			}
			if len(p.Value) == 0 && pause(ctx, min(backoff(quiet), time.Second)) != nil {
				return
			}
		}
	}
}

func queryWait(v map[string][]string, d time.Duration) { v["wait"] = []string{iso(d)} }

// LogKey is what the plane signs its log with, and the newest link of the chain.
type LogKey struct {
	PublicKey []byte `json:"publicKey"` // Ed25519
	Newest    Link   `json:"newest"`
}

// Link is one link of the log's chain: the events of one commit, without the events.
type Link struct {
	First     int64  `json:"first"`
	Last      int64  `json:"last"`
	Head      Hex    `json:"head"`
	Signature []byte `json:"signature,omitempty"`
}

// ExportedBatch is one link with its events, byte for byte as they are stored.
type ExportedBatch struct {
	Link
	Events []string `json:"events"`
}

// LogKey reads the log's public key and newest head.
func (c *Client) LogKey(ctx context.Context) (LogKey, error) {
	var k LogKey
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/log/key", out: &k})
	return k, err
}

// Export opens the stored log from the batch that holds position from on, as JSON lines. The caller closes it.
func (c *Client) Export(ctx context.Context, from int64) (io.ReadCloser, error) {
	q := query()
	if from > 0 {
		q.Set("from", strconv.FormatInt(from, 10))
	}
	a, err := c.do(ctx, call{method: http.MethodGet, path: "/ajar/v1/log/export", query: q, raw: true, hold: time.Hour})
	if err != nil {
		return nil, err
	}
	return a.body, nil
}

// maxLine bounds one line of an export: the events of one commit.
const maxLine = 64 << 20

// ReadExport yields the batches of an export: of Export's lines, each a batch with its events, or of ajard's own, where
// events come one a line and their batch after them.
func ReadExport(r io.Reader) iter.Seq2[ExportedBatch, error] {
	return func(yield func(ExportedBatch, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, 1<<16), maxLine)
		var loose []string // events whose batch has not come yet
		for n := 1; s.Scan(); n++ {
			if len(s.Bytes()) == 0 {
				continue
			}
			var line struct {
				Pos *int64 `json:"pos"`
				ExportedBatch
			}
			if err := json.Unmarshal(s.Bytes(), &line); err != nil {
				yield(ExportedBatch{}, ajar.Errorf(ajar.Invalid, "line %d of the export is neither event nor batch: %w", n, err))
				return
			}
			if line.Pos != nil {
				loose = append(loose, s.Text())
				continue
			}
			b := line.ExportedBatch
			b.Events = append(loose, b.Events...)
			loose = nil
			if !yield(b, nil) {
				return
			}
		}
		if err := s.Err(); err != nil {
			yield(ExportedBatch{}, ajar.Errorf(ajar.Unavailable, "the export broke off: %w", err))
		} else if len(loose) > 0 {
			yield(ExportedBatch{}, &ajar.Error{Kind: ajar.Conflict, Code: Altered, Msg: "the export ends with events that no batch holds"})
		}
	}
}
