//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ajar-access/ajar/provider/agent"
)

func (p *proof) steps() []step {
	return []step{
		{"a machine as Debian installs it", p.boot, true, true},
		{"the plane, by docs/install.md", p.plane, true, false},
		{"the host, by docs/install.md", p.host, true, false},
		{"a policy guards two ports", p.guard, true, false},
		{"open for one address, closed at the deadline", p.patiently(p.deadline), false, false},
		{"how the table is held", p.held, false, false},
		{"the units, by systemd's own judgement", p.units, false, false},
		{"somebody flushes the firewall", p.flushed, false, false},
		{"agent and plane killed while a port is open", p.patiently(p.killed), false, false},
		{"the agent is killed again and again", p.killedOften, false, false},
		{"binaries replaced while a port is open", p.upgraded, false, false},
		{"reboot, the plane dead, a port open", p.patiently(p.rebooted), false, false},
		{"power cut and reboot, a port open by hand", p.patiently(p.reset), false, false},
		{"suspend past the deadline, the agent alive", p.patiently(p.slept), false, false},
		{"suspend past the deadline, the agent dead", p.patiently(p.sleptAlone), false, false},
		{"suspend by systemd, the agent dead", p.patiently(p.sleptTended), false, false},
		{"the plane is back and hears of all", p.heard, false, false},
		{"power cut at the moment a port was opened", p.patiently(p.cutOpening), false, false},
		{"power cut until the deadline is over", p.cutPast, false, false},
		{"power cut at the moment a guard was laid", p.cutGuard, false, false},
		{"power cuts while ports open and close", p.cutAnywhere, false, false},
		{"the plane is back after the cuts", p.heard, false, false},
		{"the host leaves", p.leaves, false, false},
		{"the firewall's own tests on this kernel", p.tests, false, true},
	}
}

func (p *proof) status(ctx context.Context) (s agent.Status, err error) {
	out, err := p.m.do(ctx, "ajar-agent status -o json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

const policy = `machines:
- machine: web1
  ports:
  - {port: 22, max: 1h}
  - {port: 7022, max: 1h}
`

// guard closes what was open to everybody.
func (p *proof) guard(ctx context.Context) (string, error) {
	file := filepath.Join(p.dir, "policy.yaml")
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return "", err
	}
	seen := probe(stranger, guarded, 10*time.Millisecond, 2*time.Second)
	began := time.Now()
	_, err := p.ajar(ctx, "policy", "set", "-f", file, "--yes")
	if err == nil {
		_, err = p.ajar(ctx, "policy", "confirm", "web1")
	}
	done := time.Now()
	if err == nil {
		err = eventually(ctx, time.Minute, "the guard", func() (bool, error) { return !knock(ctx, stranger, guarded), nil })
	}
	seen.stop()
	if err == nil {
		err = p.shut(ctx)
	}
	return fmt.Sprintf("the last stranger came in %.1f s after the commands were typed, which took %.1f s",
		seen.last().Sub(began).Seconds(), done.Sub(began).Seconds()), err
}

// shut sees that nobody who was not let in gets in, and that everything else is as it was.
func (p *proof) shut(ctx context.Context) error {
	for _, port := range []uint16{guarded, sshPort} {
		if knock(ctx, stranger, port) {
			return fmt.Errorf("a stranger gets into port %d", port)
		}
	}
	if !knock(ctx, stranger, free) {
		return errors.New("a port that nobody guards is closed")
	}
	return nil
}

// late is how far after a deadline somebody may be let in: our clock and the machine's are compared only so well.
const late = 20 * time.Millisecond

// endsAt watches the guarded port from both sides until its deadline is over.
func (p *proof) endsAt(ctx context.Context, end time.Time, slack time.Duration) (string, error) {
	d := p.atTheDoor(5*time.Millisecond, 2*time.Second)
	err := pass(ctx, end.Add(slack+1500*time.Millisecond))
	d.stop()
	if err != nil {
		return "", err
	}
	return d.told(end, slack+p.unsure, time.Second)
}

// door is who knocks while something happens: who may, who may not, and somebody at a port that nobody guards, who tells
// whether the machine answers at all.
type door struct{ in, out, up *prober }

func (p *proof) atTheDoor(every, patience time.Duration) *door {
	return &door{probe(asker, guarded, every, patience), probe(stranger, guarded, 4*every, patience), probe(stranger, free, 2*every, patience)}
}

func (d *door) stop() { d.in.stop(); d.out.stop(); d.up.stop() }

// told says when the last knock was let in; it had to begin before the deadline.
func (d *door) told(end time.Time, slack, early time.Duration) (string, error) {
	in, out := d.in, d.out
	var last entry
	for _, e := range in.entries(time.Time{}, time.Time{}) {
		if e.in.After(last.in) {
			last = e
		}
	}
	switch {
	case len(out.in) > 0:
		return "", fmt.Errorf("a stranger got in %d times", len(out.in))
	case last.in.IsZero():
		return "", errors.New("who asked never got in")
	case last.began.Sub(end) > slack:
		return "", fmt.Errorf("still let in %s the deadline", about(last.in, end))
	case len(d.up.entries(last.in.Add(early), end)) > 0: // the machine answered, and did not let in who may
		return "", fmt.Errorf("closed too early: %s the deadline", about(last.in, end))
	}
	return fmt.Sprintf("last let in %s the deadline, of %d knocks %d in; strangers: 0 of %d", about(last.in, end), in.knocks.Load(), len(in.in), out.knocks.Load()), nil
}

// deadline opens for some seconds, with a session that must be cut.
func (p *proof) deadline(ctx context.Context) (string, error) {
	end, err := p.open(ctx, 5*time.Second+p.pace/3)
	if err != nil {
		return "", err
	}
	c, err := dial(ctx, asker, guarded, 2*time.Second)
	if time.Now().After(end.Add(-2 * time.Second)) {
		err = fmt.Errorf("%w: the opening was nearly over before it was used", errSlow)
	}
	if err != nil {
		return "", err
	}
	defer c.Close()
	echoed := make(chan time.Time, 1)
	go func() {
		var last time.Time
		b := make([]byte, 8)
		_ = c.SetDeadline(end.Add(10 * time.Second))
		for {
			if _, err := c.Write([]byte("x")); err != nil {
				break
			}
			if _, err := c.Read(b); err != nil {
				break
			}
			last = time.Now()
		}
		echoed <- last
	}()
	seen, err := p.endsAt(ctx, end, late)
	if err != nil {
		return "", err
	}
	last := <-echoed
	if last.IsZero() || last.Sub(end) > late+p.unsure {
		return "", fmt.Errorf("the session went on: last echo %s the deadline", about(last, end))
	}
	return seen + "; a live session's last echo " + about(last, end), nil
}

// held looks at what kind of table this kernel gives.
func (p *proof) held(ctx context.Context) (string, error) {
	s, err := p.status(ctx)
	if err != nil {
		return "", err
	}
	p.owned = s.Host.OwnTable == "owner+persist"
	shown, err := p.ajar(ctx, "hosts", "show", "web1")
	if err != nil {
		return "", err
	}
	if !strings.Contains(shown, s.Host.OwnTable) {
		return "", fmt.Errorf("ajar hosts show says nothing of %q:\n%s", s.Host.OwnTable, shown)
	}
	return fmt.Sprintf("status and plane say %q; hang up: %s", s.Host.OwnTable, s.Host.HangUp), nil
}

// flushed flushes everything, again and again, with a stranger at the door.
func (p *proof) flushed(ctx context.Context) (string, error) {
	end, err := p.open(ctx, 5*time.Minute)
	if err != nil {
		return "", err
	}
	const times = 10
	from, err := p.m.do(ctx, "date +%s")
	if err != nil {
		return "", err
	}
	out := probe(stranger, guarded, 4*time.Millisecond, 2*time.Second)
	_, err = p.m.do(ctx, fmt.Sprintf("for i in $(seq %d); do nft flush ruleset; sleep 0.5; done", times))
	out.stop()
	if err != nil {
		return "", err
	}
	if err := p.shut(ctx); err != nil {
		return "", err
	}
	if !knock(ctx, asker, guarded) {
		return "", errors.New("the opening was lost")
	}
	journal, err := p.m.do(ctx, "journalctl -u ajar-agent -o cat --no-pager --since @"+from+` | sed -n 's/.*table repaired.* took=\(\S*\)$/\1/p'`)
	if err != nil {
		return "", err
	}
	var worst time.Duration
	took := strings.Fields(journal)
	for _, f := range took {
		d, err := time.ParseDuration(f)
		if err != nil {
			return "", err
		}
		worst = max(worst, d)
	}
	windows, longest := gaps(out.in)
	if p.owned != (len(took) == 0) || p.owned && windows > 0 {
		return "", fmt.Errorf("%d repairs, strangers came in in %d windows", len(took), windows)
	}
	if longest > time.Second {
		return "", fmt.Errorf("open to strangers for %s", longest)
	}
	_, err = p.ajar(ctx, "close", "web1", "7022", "--everyone")
	return fmt.Sprintf("%d times: %d repaired by the agent in %s at worst; of %d strangers %d came in, in %d windows, the longest %s; the opening stood, %s to go",
		times, len(took), ms(worst), out.knocks.Load(), len(out.in), windows, ms(longest), time.Until(end).Round(time.Second)), err
}

// gaps counts the times at which strangers came in, and how long the longest was.
func gaps(in []entry) (windows int, longest time.Duration) {
	var first, last time.Time
	for _, e := range in {
		if windows == 0 || e.began.Sub(last) > 200*time.Millisecond {
			windows++
			first = e.began
		}
		last = e.in
		longest = max(longest, last.Sub(first))
	}
	return windows, longest
}

// killed leaves an opening to the kernel alone.
func (p *proof) killed(ctx context.Context) (string, error) {
	end, err := p.open(ctx, 5*time.Second+p.pace/3)
	if err != nil {
		return "", err
	}
	if _, err := p.m.do(ctx, "systemctl kill -s KILL ajard ajar-agent; systemctl stop ajard ajar-agent; ! pgrep ajar"); err != nil {
		return "", err
	}
	seen := ""
	if time.Now().After(end.Add(-2 * time.Second)) {
		err = fmt.Errorf("%w: the opening was over before everything was dead", errSlow)
	} else {
		seen, err = p.endsAt(ctx, end, late)
	}
	_, again := p.m.do(ctx, "systemctl start ajar-agent ajard")
	if err := errors.Join(err, again, p.connected(ctx)); err != nil {
		return "", err
	}
	return "by the kernel alone: " + seen, nil
}

// killedOften sees that systemd never gives the agent up, and that no death opens anything.
func (p *proof) killedOften(ctx context.Context) (string, error) {
	out := probe(stranger, guarded, 10*time.Millisecond, 2*time.Second)
	const times = 15
	took, err := p.m.do(ctx, fmt.Sprintf(`from=$(date +%%s%%N)
for i in $(seq %d); do
	for n in $(seq 200); do pid=$(systemctl show -P MainPID ajar-agent); [ "$pid" != 0 ] && [ "$pid" != "$old" ] && break; sleep 0.05; done
	kill -9 $pid; old=$pid
done
for n in $(seq 200); do systemctl is-active -q ajar-agent && break; sleep 0.05; done
systemctl is-active -q ajar-agent || exit 1
echo $(( ($(date +%%s%%N) - from) / 1000000 ))`, times))
	out.stop()
	if err != nil {
		return "", err
	}
	if len(out.in) > 0 {
		return "", fmt.Errorf("a stranger got in %d times", len(out.in))
	}
	return fmt.Sprintf("%d times in %s ms, and it runs; strangers: 0 of %d", times, took, out.knocks.Load()), p.connected(ctx)
}

// upgraded does what the manual's "Upgrades" says.
func (p *proof) upgraded(ctx context.Context) (string, error) {
	if _, err := p.open(ctx, 5*time.Minute); err != nil {
		return "", err
	}
	in, out := probe(asker, guarded, 10*time.Millisecond, 2*time.Second), probe(stranger, guarded, 10*time.Millisecond, 2*time.Second)
	_, err := p.m.do(ctx, `set -e; cd /root/ajar
sudo install -m 755 bin/ajard bin/ajar /usr/local/bin/; sudo systemctl restart ajard
sudo install -m 755 bin/ajar-agent /usr/local/sbin/; sudo systemctl restart ajar-agent`)
	if err == nil {
		err = p.connected(ctx)
	}
	in.stop()
	out.stop()
	if err != nil {
		return "", err
	}
	if len(out.in) > 0 || in.refused.Load() > 0 {
		return "", fmt.Errorf("strangers got in %d times, who may was refused %d times", len(out.in), in.refused.Load())
	}
	_, err = p.ajar(ctx, "close", "web1", "7022", "--everyone")
	return fmt.Sprintf("refused: 0 of %d; strangers: 0 of %d", in.knocks.Load(), out.knocks.Load()), err
}
