package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// page is one page of a list, in ARM's shape.
type page[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink"`
}

// list walks all pages. A failure is the last thing it yields. The next link's path and query are asked of the server
// we know, whatever host it names: that keeps the token at home, and works where the public name does not resolve.
func list[T any](ctx context.Context, c *Client, path string, q url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		path, q := path, q
		var zero T
		for {
			var p page[T]
			if _, err := c.do(ctx, call{method: http.MethodGet, path: path, query: q, out: &p}); err != nil {
				yield(zero, err)
				return
			}
			for _, v := range p.Value {
				if !yield(v, nil) {
					return
				}
			}
			if p.NextLink == "" {
				return
			}
			next, err := url.Parse(p.NextLink)
			nextPath := ""
			if err == nil {
				nextPath = strings.TrimPrefix(next.Path, strings.TrimSuffix(c.base.Path, "/"))
			}
			if err != nil || !strings.HasPrefix(nextPath, "/") || (nextPath == path && next.Query().Encode() == q.Encode()) {
				yield(zero, ajar.Errorf(ajar.Internal, "the list's next link %.200q leads nowhere", p.NextLink))
				return
			}
			path, q = nextPath, next.Query()
		}
	}
}

// Collect reads a whole list.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	all := []T{}
	for v, err := range seq {
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

// query makes url.Values of pairs, leaving out the empty ones.
func query(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// stamp writes a time for a query; none for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// top bounds a page.
func top(n int) string {
	if n <= 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func flag(b bool) string {
	if b {
		return "true"
	}
	return ""
}
