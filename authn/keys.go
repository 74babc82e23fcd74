package authn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/ajar-access/ajar"
)

// Keys are the keys that sign tokens, one at a time: sealed in the store, shared by all replicas, and replaced by age.
// A new key is published for a while before it signs, and an old one for as long as a token that it signed can be good.
type Keys struct {
	Vault    *Vault
	Lifetime time.Duration // how long a key signs; 0 = 30 days
	Longest  time.Duration // the life of the longest token; 0 = 24 hours

	mu   sync.Mutex
	text []byte      // as it was read
	ring []*tokenKey // what that says, the oldest first
	read time.Time
}

// tokenKey is one of them.
type tokenKey struct {
	id      string
	created time.Time
	key     *ecdsa.PrivateKey
	access  jose.Signer
	person  jose.Signer
}

// storedKey is how a key stands in the sealed document.
type storedKey struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Key     []byte    `json:"key"` // PKCS #8
}

const (
	sealedTokens = "tokens"
	keysFresh    = time.Second      // how old what is known of the keys may be
	keysLead     = 15 * time.Minute // how long a key is published before it signs
)

// The types of what is signed, as the header says them: one is not taken for the other.
const (
	typeAccess = "at+jwt"
	typeID     = "JWT"
)

func (k *Keys) lifetime() time.Duration {
	if k.Lifetime == 0 {
		return 30 * 24 * time.Hour
	}
	return k.Lifetime
}

func (k *Keys) longest() time.Duration {
	if k.Longest == 0 {
		return 24 * time.Hour
	}
	return k.Longest
}

// current is what there is of keys, the oldest first, read anew if that was a while ago, and with a new one at its end if
// it is time.
func (k *Keys) current(ctx context.Context) ([]*tokenKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Vault.Clock()
	if since := now.Sub(k.read); k.ring != nil && since >= 0 && since < keysFresh {
		return k.ring, nil
	}
	text, err := k.Vault.Read(ctx, sealedTokens)
	var stored []storedKey
	if err == nil {
		err = json.Unmarshal(text, &stored)
	}
	if errors.Is(err, ajar.NotFound) || (err == nil && k.due(stored, now)) {
		if text, err = k.rotate(ctx, now, false); err == nil {
			err = json.Unmarshal(text, &stored)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("keys that sign tokens: %w", err)
	}
	if k.ring == nil || !bytes.Equal(text, k.text) {
		if k.ring, err = k.open(stored); err != nil {
			return nil, err
		}
	}
	k.text, k.read = text, now
	return k.ring, nil
}

// due reports whether a key must be made: there is none, or the newest will stop signing soon.
func (k *Keys) due(stored []storedKey, now time.Time) bool {
	return len(stored) == 0 || now.Sub(stored[len(stored)-1].Created) >= k.lifetime()-keysLead
}

// Withdraw makes a new key at once and lets the others go, and ends all that they signed: for when one was stolen.
func (k *Keys) Withdraw(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Vault.Clock()
	if _, err := k.rotate(ctx, now, true); err != nil {
		return err
	}
	k.ring = nil
	return endAll(ctx, k.Vault.Store, func(t *ajar.Token) bool {
		good := t.Kind == ajar.Access && t.Revoked.IsZero() && now.Before(t.Expires)
		t.Revoked = now
		return good
	})
}

// rotate adds a key unless another replica was faster, and drops those that nothing good is signed with.
func (k *Keys) rotate(ctx context.Context, now time.Time, alone bool) ([]byte, error) {
	fresh, err := newTokenKey(now)
	if err != nil {
		return nil, err
	}
	return k.Vault.Change(ctx, sealedTokens, func(text []byte) ([]byte, error) {
		var stored []storedKey
		if text != nil && !alone {
			if err := json.Unmarshal(text, &stored); err != nil {
				return nil, err
			}
		}
		if !k.due(stored, now) {
			return nil, nil
		}
		var keep []storedKey
		for i, s := range stored {
			// The newest signed until now, however long that is after its time.
			if i == len(stored)-1 || now.Sub(s.Created) < k.lifetime()+keysLead+k.longest() {
				keep = append(keep, s)
			}
		}
		return json.Marshal(append(keep, fresh))
	})
}

func newTokenKey(now time.Time) (s storedKey, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return s, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return s, err
	}
	thumb, err := (&jose.JSONWebKey{Key: &key.PublicKey}).Thumbprint(jwkHash)
	if err != nil {
		return s, err
	}
	return storedKey{ID: base64.RawURLEncoding.EncodeToString(thumb), Created: now.UTC().Truncate(time.Millisecond), Key: der}, nil
}

func (k *Keys) open(stored []storedKey) (ring []*tokenKey, err error) {
	for _, s := range stored {
		parsed, err := x509.ParsePKCS8PrivateKey(s.Key)
		key, ok := parsed.(*ecdsa.PrivateKey)
		if err != nil || !ok {
			return nil, fmt.Errorf("sealed %s is damaged", sealedTokens)
		}
		t := &tokenKey{id: s.ID, created: s.Created, key: key}
		signing := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: s.ID}}
		if t.access, err = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType(typeAccess)); err != nil {
			return nil, err
		}
		if t.person, err = jose.NewSigner(signing, (&jose.SignerOptions{}).WithType(typeID)); err != nil {
			return nil, err
		}
		ring = append(ring, t)
	}
	return ring, nil
}

// signing is the key that signs now: the newest that has been published long enough, or the only one.
func signing(ring []*tokenKey, now time.Time) *tokenKey {
	for i := len(ring) - 1; i > 0; i-- {
		if now.Sub(ring[i].created) >= keysLead {
			return ring[i]
		}
	}
	return ring[0]
}

// SignAccess signs the claims of an access token.
func (k *Keys) SignAccess(ctx context.Context, claims any) (string, error) {
	ring, err := k.current(ctx)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signing(ring, k.Vault.Clock()).access).Claims(claims).Serialize()
}

// SignID signs the claims of an id token.
func (k *Keys) SignID(ctx context.Context, claims any) (string, error) {
	ring, err := k.current(ctx)
	if err != nil {
		return "", err
	}
	return jwt.Signed(signing(ring, k.Vault.Clock()).person).Claims(claims).Serialize()
}

// Public is what others check signatures with.
func (k *Keys) Public(ctx context.Context) (jose.JSONWebKeySet, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	ring, err := k.current(ctx)
	for _, t := range ring {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: &t.key.PublicKey, KeyID: t.id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set, err
}

// find gets the public key that is called id.
func (k *Keys) find(ctx context.Context, id string) (*ecdsa.PublicKey, error) {
	ring, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range ring {
		if t.id == id {
			return &t.key.PublicKey, nil
		}
	}
	return nil, errBadToken()
}
