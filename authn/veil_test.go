package authn

import (
	"bytes"
	"testing"
)

// TestVeiledOpensUnderItsNameAlone, at every replica that has the key-encryption key.
func TestVeiledOpensUnderItsNameAlone(t *testing.T) {
	d := newDoor(t)
	kek := NewKEK()
	vault := func(kek []byte) *Vault {
		v, err := NewVault(d.Store, d.clock.now, kek)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v, text := vault(kek), []byte("where a list goes on")
	veiled := v.Veil("anna", text)
	if bytes.Contains(veiled, text) || !bytes.Equal(veiled, v.Veil("anna", text)) {
		t.Errorf("veiled: %q", veiled)
	}
	if got, ok := vault(kek).Unveil("anna", veiled); !ok || !bytes.Equal(got, text) {
		t.Errorf("another replica reads %q", got)
	}
	for what, open := range map[string]func() ([]byte, bool){
		"another name": func() ([]byte, bool) { return v.Unveil("bert", veiled) },
		"another key":  func() ([]byte, bool) { return vault(NewKEK()).Unveil("anna", veiled) },
		"cut":          func() ([]byte, bool) { return v.Unveil("anna", veiled[:len(veiled)-1]) },
		"very short":   func() ([]byte, bool) { return v.Unveil("anna", veiled[:3]) },
		"changed":      func() ([]byte, bool) { return v.Unveil("anna", append([]byte{veiled[0] ^ 1}, veiled[1:]...)) },
	} {
		if _, ok := open(); ok {
			t.Errorf("%s opens it", what)
		}
	}
	if got := v.Wrap("anna", text); bytes.Equal(got, v.Wrap("anna", text)) {
		t.Error("what is wrapped is the same twice")
	}
}
