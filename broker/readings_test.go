package broker

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

// TestReadingsAreBounded: they hold two generations, and what is asked for goes on into the next.
func TestReadingsAreBounded(t *testing.T) {
	var r readings[ajar.Policy, *ajar.Policy]
	read := func(kind string, rev int64) *ajar.Policy {
		t.Helper()
		body, err := json.Marshal(ajar.Policy{ID: "/x", Kind: kind})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.of(&unread[ajar.Policy, *ajar.Policy]{Stamp: ajar.Stamp{Rev: rev}, body: body})
		if err != nil || p.Kind != kind || p.Rev != rev {
			t.Fatalf("read %+v, %v", p, err)
		}
		return p
	}
	long := strings.Repeat("x", 10_000)
	for i := range 1000 {
		read(long+fmt.Sprint(i), int64(i))
		read("kept", int64(i))
		if r.bytes > maxReadings || len(r.young) > maxReadings/10_000 || len(r.old) > maxReadings/10_000+1 {
			t.Fatalf("%d bytes, %d young and %d old", r.bytes, len(r.young), len(r.old))
		}
	}
	if n := len(r.young) + len(r.old); n < 100 {
		t.Errorf("only %d are remembered", n)
	}
	before := len(r.young)
	read(strings.Repeat("y", maxReadings/2), 1)
	if len(r.young) != before {
		t.Error("one that is too large is remembered")
	}
	if _, err := r.of(&unread[ajar.Policy, *ajar.Policy]{body: []byte(`{"ID":5}`)}); ajar.KindOf(err) != ajar.Internal {
		t.Errorf("a damaged document: %v", err)
	}
}

// TestWhereAThingLiesIsReadAsItIsWritten, with the short way and without.
func TestWhereAThingLiesIsReadAsItIsWritten(t *testing.T) {
	for _, id := range []ajar.ID{"/subscriptions/x/resourceGroups/G", `/sub"s`, `/a\\b`, "/a<b>&", "/élan", ""} {
		for _, at := range []string{"", "west", "West Europe", `"`, `\`, "<&>", "à"} {
			for kind, doc := range map[ajar.DocKind]any{ajar.KindTarget: ajar.Target{ID: id, Location: at}, ajar.KindPolicy: ajar.Policy{ID: id, Kind: at}} {
				body, err := json.Marshal(doc)
				if err != nil {
					t.Fatal(err)
				}
				p := placed{kind: kind}
				if err := p.UnmarshalJSON(body); err != nil || p.ID != id || kind == ajar.KindTarget && p.Location != at {
					t.Errorf("%s read as %q at %q: %v", body, p.ID, p.Location, err)
				}
			}
		}
	}
	p := placed{kind: ajar.KindTarget}
	if err := p.UnmarshalJSON([]byte(`{"Location":"west","ID":"/x"}`)); err != nil || p.ID != "/x" || p.Location != "west" {
		t.Errorf("in another order: %+v %v", p, err)
	}
	if p.UnmarshalJSON([]byte(`{"ID":5}`)) == nil {
		t.Error("a damaged one is taken")
	}
}
