package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// TestLoginTimingUnknownUser counts the work instead of reading clocks: every password costs exactly one hash, and
// every generated secret none, whoever it is for.
func TestLoginTimingUnknownUser(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	disabled := d.person("bob", secret)
	disabled.Disabled = true
	d.put(disabled)
	d.put(&ajar.Principal{ID: "5e5f1c5e-0000-4000-8000-000000000001", Kind: ajar.ServicePrincipal, Name: "robot"})
	generated, _, _ := NewSecret()
	for i, name := range []string{"alice", "bob", "nobody", "robot", "5e5f1c5e-0000-4000-8000-000000000002"} {
		from := fmt.Sprintf("203.0.113.%d", i+1)
		for _, c := range []struct {
			secret string
			hashes int64
		}{{"a wrong password", 1}, {generated, 0}} {
			before := d.Hasher.work.Load()
			_, err := d.try(name, c.secret, from)
			if !errors.Is(err, ajar.Unauthenticated) || err.Error() != "the name or the password is wrong" {
				t.Errorf("%s: the refusal tells something: %v", name, err)
			}
			if n := d.Hasher.work.Load() - before; n != c.hashes {
				t.Errorf("%s with %.4s…: %d hashes were computed, not %d", name, c.secret, n, c.hashes)
			}
		}
	}
}

func TestGuessingIsThrottled(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	n := 0
	for range 100 {
		before := d.Hasher.work.Load()
		_, err := d.try("alice", "a wrong password", "203.0.113.66")
		if d.Hasher.work.Load() > before {
			n++
		}
		var wait *Throttled
		if errors.As(err, &wait) && (wait.Wait < time.Second || wait.Wait > time.Minute || !errors.Is(err, ajar.TooMany)) {
			t.Fatalf("the throttle says %v, wait %s", err, wait.Wait)
		}
	}
	if n > int(pairRate.burst) {
		t.Errorf("%d of 100 guesses were looked at", n)
	}
	if _, err := d.try("alice", secret, "203.0.113.66"); !errors.Is(err, ajar.TooMany) {
		t.Errorf("even the right password must wait there: %v", err)
	}
	d.clock.step(pairRate.every)
	d.mustLogin("alice", secret, "203.0.113.66")
	_, refused := d.signIns()
	if len(refused) > n+2 {
		t.Errorf("%d refusals filled the log", len(refused))
	}
}

func TestThrottleDoesNotLockOutOthers(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	d.person("bob", secret)
	d.mustLogin("bob", secret, "203.0.113.66") // bob was here before the attacker moved in next door
	for i := range 500 {
		// Guesses at alice from a whole network, and at everybody from one address.
		if _, err := d.try("alice", "a wrong password", fmt.Sprintf("198.51.100.%d", i%256)); err == nil {
			t.Fatal("a guess was right")
		}
		if _, err := d.try(fmt.Sprintf("user%d", i), "a wrong password", "203.0.113.66"); err == nil {
			t.Fatal("a guess was right")
		}
	}
	d.mustLogin("alice", secret, "192.0.2.1")  // from elsewhere, where she never was
	d.mustLogin("bob", secret, "203.0.113.66") // from the same address, where he was
	d.mustLogin("bob", secret, "192.0.2.1")
	if _, err := d.try("alice", "a wrong password", "198.51.100.7"); !errors.Is(err, ajar.TooMany) {
		t.Errorf("the attacker is not throttled: %v", err)
	}
}

func TestKnownAddressesSurviveARestart(t *testing.T) {
	d := newDoor(t)
	d.person("bob", secret)
	d.mustLogin("bob", secret, "203.0.113.66")
	again := d.replica()
	for i := range 100 {
		if _, err := again.try(fmt.Sprintf("user%d", i), "a wrong password", "203.0.113.66"); err == nil {
			t.Fatal("a guess was right")
		}
	}
	again.mustLogin("bob", secret, "203.0.113.66")
}

func TestAddressesOfOneCustomerAreOne(t *testing.T) {
	if a, b := addressKey(netip.MustParseAddr("2001:db8:1:2::1")), addressKey(netip.MustParseAddr("2001:db8:1:2:ffff::9")); a != b {
		t.Errorf("%s and %s are throttled apart", a, b)
	}
	if a, b := addressKey(netip.MustParseAddr("203.0.113.1")), addressKey(netip.MustParseAddr("203.0.113.2")); a == b {
		t.Errorf("%s and %s are throttled together", a, b)
	}
}

// Whoever has a site's IPv6 network has 65,536 addresses in the throttle's sense. They are worth some more guesses than one,
// not 65,536 times as many, and do not fill the log.
func TestASitesAddressesAreNotManyGuessers(t *testing.T) {
	d := newDoor(t)
	d.person("alice", secret)
	looked := func(from func(int) string) (n int) {
		for i := range 400 {
			before := d.Hasher.work.Load()
			if _, err := d.try("alice", "a wrong password", from(i)); err == nil {
				t.Fatal("a guess was right")
			}
			if d.Hasher.work.Load() > before {
				n++
			}
		}
		return n
	}
	if n := looked(func(i int) string { return fmt.Sprintf("2001:db8:1:%x::1", i) }); n < int(addressRate.burst) || n > int(networkRate.burst) {
		t.Errorf("%d of 400 guesses from one site were looked at", n)
	}
	if _, refused := d.signIns(); len(refused) > int(networkRate.burst)+2 {
		t.Errorf("%d refusals filled the log", len(refused))
	}
	d.mustLogin("alice", secret, "2001:db8:2::1") // another site
	d.mustLogin("alice", secret, "192.0.2.1")
}

func TestThrottleDoesNotGrow(t *testing.T) {
	th, now := newThrottle(), time.Now()
	for i := range 3 * maxBuckets {
		a, _ := th.begin(t.Context(), fmt.Sprint(i), netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), false, false, now)
		if a != nil {
			a.end(true, false)
		}
	}
	if n := len(th.buckets); n > maxBuckets+3 {
		t.Errorf("%d buckets", n)
	}
	if len(th.busy) != 0 {
		t.Errorf("%d addresses are still busy", len(th.busy))
	}
}

// TestNamesNobodyHasAreNotRecorded: it may be a password in the wrong field.
func TestNamesNobodyHasAreNotRecorded(t *testing.T) {
	d := newDoor(t)
	if _, err := d.try(secret, "x", "203.0.113.1"); !errors.Is(err, ajar.Unauthenticated) {
		t.Fatal(err)
	}
	_, refused := d.signIns()
	if len(refused) != 1 || refused[0].Name != "" || strings.Contains(refused[0].Message, "horse") {
		t.Errorf("recorded: %+v", refused[0])
	}
}

func TestHasherWaitsItsTurn(t *testing.T) {
	h := cheap()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Check(ctx, "", "x"); !errors.Is(err, ajar.Unavailable) {
		t.Errorf("with all slots taken: %v", err)
	}
	h.queue.Store(maxQueue + int64(cap(h.slots)))
	if _, err := h.Check(t.Context(), "", "x"); !errors.Is(err, ajar.Unavailable) {
		t.Errorf("with everybody waiting: %v", err)
	}
	if h.work.Load() != 0 {
		t.Error("memory was taken all the same")
	}
}

func TestPasswords(t *testing.T) {
	h := cheap()
	generated, _, _ := NewSecret()
	for _, bad := range []string{"", "short", "elevenchars", strings.Repeat("x", maxPassword+1), strings.Repeat("a", 20), "with a \x00 in it....", "\xff\xfe not text at all", generated} {
		if _, err := h.Hash(t.Context(), bad); !errors.Is(err, ajar.Invalid) {
			t.Errorf("password %.20q got %v", bad, err)
		}
	}
	for _, good := range []string{secret, "пароль-из-букв", strings.Repeat("x", maxPassword-1) + "y"} {
		hash, err := h.Hash(t.Context(), good)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := h.Check(t.Context(), hash, good); !ok || err != nil {
			t.Errorf("%.20q does not match its own hash: %v", good, err)
		}
		if ok, _ := h.Check(t.Context(), hash, good+"x"); ok {
			t.Errorf("%.20q matches with something behind it", good)
		}
		if !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Errorf("kept as %s", hash)
		}
	}
	if d := NewHasher(1); d.Memory < 19*1024 || d.Time < 2 {
		t.Errorf("the defaults m=%d t=%d are below what OWASP asks for", d.Memory, d.Time)
	}
}

// FuzzStoredHash: whatever stands in the database, checking it neither panics nor takes more than its bounds.
func FuzzStoredHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=1$c2FsdA$")
	f.Fuzz(func(t *testing.T, s string) {
		m, n, salt, sum, err := parseHash(s)
		if err == nil && (m > maxMemory || n > maxTime || len(salt) < 8 || len(sum) != 32) {
			t.Errorf("%q gives m=%d t=%d, %d, %d", s, m, n, len(salt), len(sum))
		}
	})
}
