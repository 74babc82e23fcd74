package nftables

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// normal is what nft prints of our table, without what differs from run to run.
func (m *machine) normal(t *testing.T) string {
	t.Helper()
	var out []byte
	err := m.do(func() (err error) {
		out, err = exec.Command("nft", "-j", "list", "table", "inet", "ajar").Output()
		return err
	})
	if err != nil {
		return err.Error()
	}
	var doc struct{ Nftables []map[string]any }
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, o := range doc.Nftables {
		if o["metainfo"] != nil {
			continue
		}
		clean(o)
		if s, ok := o["set"].(map[string]any); ok {
			if elems, ok := s["elem"].([]any); ok {
				slices.SortFunc(elems, func(a, b any) int { return bytes.Compare(text64(a), text64(b)) })
			}
			if name, _ := s["name"].(string); name != "" && slices.Contains([]string{"answered4", "answered6", "inbound4", "inbound6", "outbound4", "outbound6", "refused4", "refused6"}, name) {
				delete(s, "elem") // what packets have put there
			}
		}
		lines = append(lines, string(text64(o)))
	}
	// Sets come in any order; rules keep theirs within a chain.
	slices.SortStableFunc(lines, func(a, b string) int {
		if kind(a) != kind(b) || kind(a) != "rule" {
			return bytes.Compare([]byte(a), []byte(b))
		}
		return bytes.Compare([]byte(chainOf(a)), []byte(chainOf(b)))
	})
	var all bytes.Buffer
	for _, l := range lines {
		all.WriteString(l)
		all.WriteByte('\n')
	}
	return all.String()
}

func text64(v any) []byte {
	b, _ := json.Marshal(v)
	return b
}

func kind(line string) string {
	var o map[string]json.RawMessage
	_ = json.Unmarshal([]byte(line), &o)
	for k := range o {
		return k
	}
	return ""
}

func chainOf(line string) string {
	var o struct{ Rule struct{ Chain string } }
	_ = json.Unmarshal([]byte(line), &o)
	return o.Rule.Chain
}

// clean removes handles, counts and times.
func clean(v any) {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range []string{"handle", "expires"} {
			delete(v, k)
		}
		if c, ok := v["counter"].(map[string]any); ok {
			c["packets"], c["bytes"] = 0, 0
		}
		if e, ok := v["elem"].(map[string]any); ok && e["timeout"] != nil {
			e["timeout"] = "some"
		}
		for _, x := range v {
			clean(x)
		}
	case []any:
		for _, x := range v {
			clean(x)
		}
	}
}

// TestTableReadsAsWritten compares with what nft itself makes of our table.
func TestTableReadsAsWritten(t *testing.T) {
	p := newPair(t)
	f := p.host.firewall(Config{})
	end := time.Now().Add(time.Hour)
	one := leaseOf("one", 22, end, "192.0.2.7", "2001:db8::7")
	wide := leaseOf("wide", 3389, end, "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0")
	wide.HardStop = end.Add(time.Hour)
	to := leaseOf("to", 53, end, "198.51.100.0/24", "2001:db8::/32")
	to.Port.Protocol = ajar.Both
	to.Dest = netip.MustParseAddr(host4)
	to6 := to
	to6.Lease, to6.Dest = "to6", netip.MustParseAddr(host6)
	guards := append(guardOf(22, 3389), ajar.Guard{Flow: flowAt(5985, ajar.TCP), ConfirmBy: end},
		ajar.Guard{Flow: ajar.Flow{Dest: to.Dest, Port: to.Port}}, ajar.Guard{Flow: ajar.Flow{Dest: to6.Dest, Port: to.Port}})
	want := ajar.Ruleset{Guard: guards, Allow: []ajar.Rule{one, to, to6, wide}}
	for _, name := range []string{"full", "guard", "full"} {
		w := want
		if name == "guard" {
			w = ajar.Ruleset{Guard: guardOf(22)}
		}
		apply(t, f, w)
		got := p.host.normal(t)
		file := filepath.Join("testdata", name+".json")
		if *update {
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(golden)
		if !owns(t) {
			text = strings.ReplaceAll(text, `,"flags":["owner","unknown"]`, "")
		}
		if d := cmp.Diff(text, got); d != "" {
			t.Errorf("%s: nft prints something else (-want +got):\n%s", name, d)
		}
	}
	got, err := f.Observe(t.Context(), anyEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	if d := want.Diff(got); !d.Empty() {
		t.Errorf("observed something else: %+v", d)
	}
	if owns(t) {
		p.host.nftFails("flush table inet ajar")
	}
}
