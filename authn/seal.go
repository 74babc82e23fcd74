package authn

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/ajar-access/ajar"
)

// Vault keeps the secrets that the replicas of a plane share in the store, wrapped by a key that is not there: whoever
// gets the database, or a backup of it, gets no key of the plane.
type Vault struct {
	Store ajar.Store
	Clock ajar.Clock
	aead  cipher.AEAD
	veil  cipher.AEAD
	place []byte // key of veil's nonces
	names []byte // key of what hide gives
}

// NewVault makes a vault whose key-encryption key is kek: 32 bytes, as they are, in hex or in base64.
func NewVault(store ajar.Store, clock ajar.Clock, kek []byte) (*Vault, error) {
	key, err := parseKEK(kek)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	block, err = aes.NewCipher(derive(key, "veil"))
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	veil, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	return &Vault{Store: store, Clock: clock, aead: aead, veil: veil, place: derive(key, "veil nonce"), names: derive(key, "names")}, nil
}

// derive makes another key of a key, for one purpose.
func derive(key []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// Veil encrypts what goes out and comes back often and is no secret of the plane's, under a key of its own. The same is the
// same each time, so that as many can be made as there are to make: the nonce is made of the name and the text.
func (v *Vault) Veil(name string, text []byte) []byte {
	nonce := derive(v.place, name+"\n"+string(text))[:v.veil.NonceSize()]
	return v.veil.Seal(nonce, nonce, text, []byte(name))
}

// Unveil gives what Veil was given under that name; not ok for anything else.
func (v *Vault) Unveil(name string, veiled []byte) (text []byte, ok bool) {
	n := v.veil.NonceSize()
	if len(veiled) < n {
		return nil, false
	}
	text, err := v.veil.Open(nil, veiled[:n], veiled[n:], []byte(name))
	return text, err == nil
}

// hide gives a name for text that is always the same, and tells nobody what text it was.
func (v *Vault) hide(text string) string { return hex.EncodeToString(derive(v.names, text)[:16]) }

// NewKEK generates a key-encryption key as text for a file.
func NewKEK() []byte {
	var b [32]byte
	rand.Read(b[:])
	return []byte(base64.StdEncoding.EncodeToString(b[:]) + "\n")
}

// parseKEK never shows what it was given.
func parseKEK(kek []byte) ([]byte, error) {
	if len(kek) == 32 {
		return kek, nil
	}
	text := string(bytes.TrimSpace(kek))
	if b, err := hex.DecodeString(text); err == nil && len(b) == 32 {
		return b, nil
	}
	if b, err := base64.StdEncoding.DecodeString(text); err == nil && len(b) == 32 {
		return b, nil
	}
	return nil, ajar.Errorf(ajar.Invalid, "the key-encryption key must be 32 bytes, as they are, in hex or in base64 (make one: openssl rand -base64 32)")
}

func (v *Vault) wrap(name string, secret []byte) []byte {
	nonce := make([]byte, v.aead.NonceSize())
	rand.Read(nonce)
	return v.aead.Seal(nonce, nonce, secret, []byte(name))
}

func (v *Vault) unwrap(s *ajar.Sealed) ([]byte, error) {
	n := v.aead.NonceSize()
	if len(s.Wrapped) < n {
		return nil, fmt.Errorf("sealed %s is damaged", s.Name)
	}
	secret, err := v.aead.Open(nil, s.Wrapped[:n], s.Wrapped[n:], []byte(s.Name))
	if err != nil {
		return nil, fmt.Errorf("sealed %s does not open with this key-encryption key (another one made it, or it was changed)", s.Name)
	}
	return secret, nil
}

// get reads what is sealed under name, or makes it. Two replicas that start at once end with the same: the one whose
// Put comes second reads what the first put.
func (v *Vault) get(ctx context.Context, name string, create func() (public, secret []byte, err error)) (public, secret []byte, err error) {
	read := func() (s *ajar.Sealed, err error) {
		err = v.Store.View(ctx, func(tx ajar.Tx) error {
			s, err = ajar.Get[ajar.Sealed](tx, name)
			return err
		})
		return s, err
	}
	s, err := read()
	if errors.Is(err, ajar.NotFound) {
		if public, secret, err = create(); err != nil {
			return nil, nil, fmt.Errorf("make %s: %w", name, err)
		}
		err = v.Store.Update(ctx, func(tx ajar.Tx) error {
			return tx.Put(&ajar.Sealed{Name: name, Public: public, Wrapped: v.wrap(name, secret), Created: v.Clock()})
		})
		if err != nil && !errors.Is(err, ajar.Conflict) {
			return nil, nil, fmt.Errorf("keep %s: %w", name, err)
		}
		s, err = read()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", name, err)
	}
	if secret, err = v.unwrap(s); err != nil {
		return nil, nil, err
	}
	return s.Public, secret, nil
}

// Wrap encrypts secret under the key-encryption key; it opens under the same name alone.
func (v *Vault) Wrap(name string, secret []byte) []byte { return v.wrap(name, secret) }

// Unwrap gives what Wrap was given.
func (v *Vault) Unwrap(name string, wrapped []byte) ([]byte, error) {
	return v.unwrap(&ajar.Sealed{Name: name, Wrapped: wrapped})
}

// Read gives what is sealed under name, or NotFound.
func (v *Vault) Read(ctx context.Context, name string) (secret []byte, err error) {
	err = v.Store.View(ctx, func(tx ajar.Tx) error {
		s, err := ajar.Get[ajar.Sealed](tx, name)
		if err != nil {
			return err
		}
		secret, err = v.unwrap(s)
		return err
	})
	return secret, err
}

// Change replaces what is sealed under name by what fn makes of it, in one transaction: fn is given nil where there is
// nothing yet, and answers nil to leave it as it is. It may run again.
func (v *Vault) Change(ctx context.Context, name string, fn func(old []byte) ([]byte, error)) (secret []byte, err error) {
	err = v.Store.Update(ctx, func(tx ajar.Tx) error {
		s, err := ajar.Get[ajar.Sealed](tx, name)
		if errors.Is(err, ajar.NotFound) {
			s, err, secret = &ajar.Sealed{Name: name, Created: v.Clock()}, nil, nil
		} else if err == nil {
			secret, err = v.unwrap(s)
		}
		if err != nil {
			return err
		}
		made, err := fn(secret)
		if err != nil || made == nil {
			return err
		}
		secret, s.Wrapped = made, v.wrap(name, made)
		return tx.Put(s)
	})
	return secret, err
}

// Empty reports whether the store has nothing sealed yet: only then may a missing key-encryption key be made anew.
func Empty(ctx context.Context, store ajar.Store) (bool, error) {
	var n int64
	err := store.View(ctx, func(tx ajar.Tx) (err error) {
		n, err = tx.Count(ajar.KindSealed, ajar.Filter{})
		return err
	})
	return n == 0, err
}

// The names under which things are sealed.
const (
	sealedCA  = "ca"
	sealedLog = "log"
)

// LogKey is the key that signs the activity log.
func (v *Vault) LogKey(ctx context.Context) (ed25519.PrivateKey, error) {
	_, seed, err := v.get(ctx, sealedLog, func() ([]byte, []byte, error) {
		pub, key, err := ed25519.GenerateKey(rand.Reader)
		return pub, key.Seed(), err
	})
	if err != nil {
		return nil, err
	}
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("sealed %s is damaged", sealedLog)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// LogPublicKey is what the log's signatures are checked with; it needs no key-encryption key.
func LogPublicKey(ctx context.Context, store ajar.Store) (pub ed25519.PublicKey, err error) {
	err = store.View(ctx, func(tx ajar.Tx) error {
		s, err := ajar.Get[ajar.Sealed](tx, sealedLog)
		if err != nil {
			return err
		}
		pub = s.Public
		return nil
	})
	if err == nil && len(pub) != ed25519.PublicKeySize {
		err = fmt.Errorf("sealed %s is damaged", sealedLog)
	}
	return pub, err
}

// Fingerprint is how a certificate or key is named to people: "sha256:" and hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}
