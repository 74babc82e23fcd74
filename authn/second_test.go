package authn

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/ajar-access/ajar"
)

// TestTOTPAgainstTheStandard uses RFC 6238's own vectors, the last six of their eight digits.
func TestTOTPAgainstTheStandard(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]string{59: "287082", 1111111109: "081804", 1111111111: "050471", 1234567890: "005924", 2000000000: "279037", 20000000000: "353130"} {
		if got := TOTPCode(secret, time.Unix(at, 0)); got != want {
			t.Errorf("at %d: %s, want %s", at, got, want)
		}
	}
	if u := TOTPURI(secret, "A jar:x", "anna&b"); u != "otpauth://totp/A%20jar%20x:anna&b?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=A+jar+x" {
		t.Error(u)
	}
}

// TestTOTPOneStepOffAndNoFurther: a phone's clock may be off by a step, and a code is good once.
func TestTOTPOneStepOffAndNoFurther(t *testing.T) {
	secret, now := NewTOTP(), time.Unix(1_700_000_000, 0)
	for off, want := range map[int]bool{-2: false, -1: true, 0: true, 1: true, 2: false} {
		if _, ok := CheckTOTP(secret, TOTPCode(secret, now.Add(time.Duration(off)*totpStep)), 0, now); ok != want {
			t.Errorf("%d steps off: %v", off, ok)
		}
	}
	step, _ := CheckTOTP(secret, TOTPCode(secret, now), 0, now)
	for _, off := range []int{-1, 0} {
		if _, ok := CheckTOTP(secret, TOTPCode(secret, now.Add(time.Duration(off)*totpStep)), step, now); ok {
			t.Errorf("the code of step %d is taken after that of now", off)
		}
	}
}

const (
	home  = "203.0.113.7"
	wrong = "000000"
)

// guarded is somebody with a password, an authenticator app and recovery codes.
func (d *door) guarded(name string) (p *ajar.Principal, secret []byte, codes []string) {
	d.t.Helper()
	if d.Vault == nil {
		v, err := NewVault(d.Store, d.clock.now, NewKEK())
		if err != nil {
			d.t.Fatal(err)
		}
		d.Vault = v
	}
	hash, err := d.Hasher.Hash(d.t.Context(), "a password for tests")
	if err != nil {
		d.t.Fatal(err)
	}
	p = &ajar.Principal{ID: ajar.PrincipalID(uuid.NewString()), Kind: ajar.User, Name: name}
	id := uuid.NewString()
	secret = NewTOTP()
	codes, hashes := NewRecoveryCodes()
	d.put(p, &ajar.Credential{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Password, Hash: hash, Created: d.clock.now()},
		&ajar.Factor{ID: id, Principal: p.ID, Kind: ajar.TOTP, Sealed: d.Vault.Wrap(TOTPSeal(id), secret)},
		&ajar.Factor{ID: uuid.NewString(), Principal: p.ID, Kind: ajar.Recovery, Hashes: hashes})
	return p, secret, codes
}

func (d *door) enter(name, code, from string) error {
	_, err := d.SignIn(d.t.Context(), Login{Name: name, Secret: "a password for tests", Code: code, From: netip.MustParseAddr(from), Via: "arm"})
	return err
}

// TestSecondFactorIsAskedFor: the right password alone gives no token, and is no guess; a code is good once, and so is a
// recovery code.
func TestSecondFactorIsAskedFor(t *testing.T) {
	d := newDoor(t)
	_, secret, codes := d.guarded("anna")
	for range 12 {
		var e *ajar.Error
		if err := d.enter("anna", "", home); !errors.As(err, &e) || e.Code != SecondFactorRequired || e.Kind != ajar.Unauthenticated || !strings.Contains(e.Msg, "--browser") {
			t.Fatalf("the password alone: %v", err)
		}
	}
	code := TOTPCode(secret, d.clock.now())
	if err := d.enter("anna", code[:3]+" "+code[3:], home); err != nil {
		t.Fatalf("with the code: %v", err)
	}
	if err := d.enter("anna", code, home); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the same code again: %v", err)
	}
	if err := d.enter("anna", strings.ToUpper(codes[3]), home); err != nil {
		t.Errorf("a recovery code: %v", err)
	}
	if err := d.enter("anna", codes[3], home); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("the same recovery code again: %v", err)
	}
	d.SecondFactor = SecondOff
	if err := d.enter("anna", "", home); err != nil {
		t.Errorf("switched off: %v", err)
	}
}

// TestSecondFactorRequired: who has none gets no token by a password.
func TestSecondFactorRequired(t *testing.T) {
	d := newDoor(t)
	d.SecondFactor = SecondRequired
	d.guarded("anna")
	p, _, _ := d.guarded("bert")
	list, err := d.Factors(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Update(t.Context(), func(tx ajar.Tx) error {
		for _, f := range list {
			if err := tx.Delete(ajar.KindFactor, f.ID); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := d.enter("bert", "", home); err == nil || !strings.Contains(err.Error(), "none yet") {
		t.Errorf("without any: %v", err)
	}
	if err := d.enter("bert", "123456", home); err == nil {
		t.Error("a code of nothing was taken")
	}
}

// TestGuessedCodesLockNobodyElseOut: whoever knows the password guesses a few codes and then waits, from however many
// addresses; the owner, where they signed in before, does not.
func TestGuessedCodesLockNobodyElseOut(t *testing.T) {
	d := newDoor(t)
	_, secret, _ := d.guarded("anna")
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), home); err != nil {
		t.Fatal(err)
	}
	guesses := 0
	for i := range 60 {
		from := netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()
		for range 6 {
			if errors.Is(d.enter("anna", wrong, from), ajar.Unauthenticated) {
				guesses++
			}
		}
	}
	if guesses > int(secondAccount.burst) {
		t.Errorf("sixty addresses could guess %d codes", guesses)
	}
	d.clock.step(totpStep)
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), "198.51.100.200"); !errors.Is(err, ajar.TooMany) {
		t.Errorf("from an address that she never came from: %v", err)
	}
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), home); err != nil {
		t.Errorf("from home: %v", err)
	}
	for range 8 {
		d.enter("anna", wrong, home) //nolint:errcheck // a guess
	}
	d.clock.step(totpStep)
	if err := d.enter("anna", TOTPCode(secret, d.clock.now()), home); !errors.Is(err, ajar.TooMany) {
		t.Errorf("guessing from home is not slowed down: %v", err)
	}
	if err := d.replica().enter("anna", "", home); !errors.Is(err, ajar.Unauthenticated) {
		t.Errorf("replica: %v", err)
	}
}

// TestCodeIsTakenOnceAtTheSameTime, on two replicas.
func TestCodeIsTakenOnceAtTheSameTime(t *testing.T) {
	d := newDoor(t)
	_, secret, _ := d.guarded("anna")
	far := d.replica()
	far.Vault = d.Vault
	code := TOTPCode(secret, d.clock.now())
	var wait sync.WaitGroup
	var in atomic.Int32
	for i := range 8 {
		wait.Go(func() {
			at := d
			if i%2 == 1 {
				at = far
			}
			if at.enter("anna", code, netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}).String()) == nil {
				in.Add(1)
			}
		})
	}
	wait.Wait()
	if n := in.Load(); n != 1 {
		t.Errorf("%d of 8 got in by one code", n)
	}
}
