package client_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// Each machine is told of once, as it comes; those that cannot be told are not waited for, and a plane that is away for a
// moment ends nothing.
func TestAwaitInForce(t *testing.T) {
	host := func(name string, connected, pending bool) string {
		return fmt.Sprintf(`{"target":"/m/%s","joined":true,"host":{"connected":%v,"guardsPending":%v}}`, name, connected, pending)
	}
	var calls atomic.Int32
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		var all []string
		switch calls.Add(1) {
		case 1:
			if r.URL.Query().Get("wait") != "" {
				t.Error("the first question waits")
			}
			all = []string{host("a", true, false), host("b", true, true), host("c", false, true), `{"target":"/m/d"}`}
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case 3:
			all = []string{host("b", true, true)}
		default:
			all = []string{host("b", true, false)}
		}
		answer(w, 200, `{"value":[`+strings.Join(all, ",")+`]}`)
	})
	var news []string
	all, err := c.AwaitInForce(t.Context(), []ajar.ID{"/m/d", "/m/c", "/m/b", "/m/a", "/m/x"}, func(f client.InForce) { news = append(news, f.Target.Name()) })
	var got []string
	for _, f := range all {
		got = append(got, fmt.Sprint(f.Target.Name(), f.Done(), f.Awaited()))
	}
	if want := []string{"dfalse false", "cfalse false", "btrue false", "atrue false"}; err != nil || !slices.Equal(got, want) || !slices.Equal(news, []string{"a", "b"}) {
		t.Errorf("got %v with news of %v, %v", got, news, err)
	}
	calls.Store(2)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.AwaitInForce(ctx, []ajar.ID{"/m/b"}, nil); err == nil {
		t.Error("an ended context ends nothing")
	}
}
