package authn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/ajar-access/ajar"
)

// Passwords are measured in characters at the short end and in bytes at the long end.
const (
	minPassword = 12
	maxPassword = 1024
)

// What stored hashes may ask for; a damaged or planted row must not make a log-in eat the machine.
const (
	maxMemory = 256 * 1024 // KiB
	maxTime   = 16
)

// Hasher makes and checks argon2id hashes, a few at a time: each takes Memory, and log-ins must not exhaust it.
type Hasher struct {
	Memory uint32 // KiB
	Time   uint32
	slots  chan struct{}
	queue  atomic.Int64 // who waits for a slot
	work   atomic.Int64 // hashes computed; tests count it instead of reading clocks
}

// NewHasher allows n hashes at a time. Memory and Time may be changed before first use; those of a new Hasher follow
// the OWASP password storage advice with some room.
func NewHasher(n int) *Hasher {
	return &Hasher{Memory: 32 * 1024, Time: 3, slots: make(chan struct{}, max(1, n))}
}

// Hash makes the text that is kept of password. It waits for its turn or until ctx ends.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	if err := checkNewPassword(password); err != nil {
		return "", err
	}
	return h.hash(ctx, password)
}

func (h *Hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: crypto/rand ends the program rather than return weak bytes
	sum, err := h.sum(ctx, password, salt, h.Memory, h.Time)
	if err != nil {
		return "", err
	}
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, h.Memory, h.Time, b64.EncodeToString(salt), b64.EncodeToString(sum)), nil
}

// Check reports whether password is the one encoded was made of. With an empty encoded it does the same work and
// answers no.
func (h *Hasher) Check(ctx context.Context, encoded, password string) (bool, error) {
	known := encoded != ""
	memory, time, salt, want := h.Memory, h.Time, make([]byte, 16), make([]byte, 32)
	if known {
		var err error
		if memory, time, salt, want, err = parseHash(encoded); err != nil {
			return false, err
		}
	}
	got, err := h.sum(ctx, password, salt, memory, time)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

// maxQueue is how many may wait for their turn: a few seconds' worth.
const maxQueue = 64

func (h *Hasher) sum(ctx context.Context, password string, salt []byte, memory, time uint32) ([]byte, error) {
	defer h.queue.Add(-1)
	if h.queue.Add(1) > maxQueue+int64(cap(h.slots)) {
		return nil, ajar.Errorf(ajar.Unavailable, "too many log-ins at once; try again")
	}
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return nil, ajar.Because(ajar.Unavailable, context.Cause(ctx), "too many log-ins at once; try again")
	}
	h.work.Add(1)
	return argon2.IDKey([]byte(password), salt, time, memory, 1, 32), nil
}

func parseHash(s string) (memory, time uint32, salt, sum []byte, err error) {
	bad := func(why error) (uint32, uint32, []byte, []byte, error) {
		return 0, 0, nil, nil, fmt.Errorf("stored password hash: %w", why)
	}
	part := strings.Split(s, "$")
	if len(part) != 6 || part[0] != "" || part[1] != "argon2id" || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad(fmt.Errorf("not argon2id version %d", argon2.Version))
	}
	if n, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=1", &memory, &time); err != nil || n != 2 {
		return bad(fmt.Errorf("parameters are unreadable"))
	}
	if memory < 8 || memory > maxMemory || time < 1 || time > maxTime {
		return bad(fmt.Errorf("parameters m=%d,t=%d are out of bounds", memory, time))
	}
	b64 := base64.RawStdEncoding.Strict()
	if salt, err = b64.DecodeString(part[4]); err != nil || len(salt) < 8 {
		return bad(fmt.Errorf("salt is unreadable"))
	}
	if sum, err = b64.DecodeString(part[5]); err != nil || len(sum) != 32 {
		return bad(fmt.Errorf("sum is unreadable"))
	}
	return memory, time, salt, sum, nil
}

func checkNewPassword(p string) error {
	switch {
	case !utf8.ValidString(p) || strings.ContainsRune(p, 0):
		return ajar.Errorf(ajar.Invalid, "the password is not plain text (UTF-8 without NUL)")
	case utf8.RuneCountInString(p) < minPassword:
		return ajar.Errorf(ajar.Invalid, "the password is too short; at least %d characters", minPassword)
	case len(p) > maxPassword:
		return ajar.Errorf(ajar.Invalid, "the password is too long; at most %d bytes", maxPassword)
	case isGenerated(p):
		return ajar.Errorf(ajar.Invalid, "the password has the form of a generated secret; choose another")
	case strings.Count(p, p[:1]) == len(p):
		return ajar.Errorf(ajar.Invalid, "the password is one character repeated")
	}
	return nil
}

// The forms of what is generated here. The prefix tells people, and scanners of leaked text, what they look at.
const (
	tokenPrefix  = "ajt_" // bearer token
	secretPrefix = "ajs_" // secret of a service principal
	oncePrefix   = "ajo_" // one-time administrator credential
	generatedLen = 4 + 43 // prefix and 32 bytes in base64url
)

// NewSecret generates the secret of a service principal: what to show once, what to keep, and a hint to tell secrets
// apart by.
func NewSecret() (secret, hash, hint string) { return generate(secretPrefix) }

// NewOnce generates a one-time administrator credential. It is kept as a password is.
func (h *Hasher) NewOnce(ctx context.Context) (secret, hash string, err error) {
	secret, _, _ = generate(oncePrefix)
	hash, err = h.hash(ctx, secret)
	return secret, hash, err
}

func generate(prefix string) (text, hash, hint string) {
	var b [32]byte
	rand.Read(b[:])
	text = prefix + base64.RawURLEncoding.EncodeToString(b[:])
	return text, HashSecret(text), text[:len(prefix)+4]
}

// HashSecret is what is kept of something generated: hex SHA-256. The 256 random bits in it need no slow hash.
func HashSecret(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// isGenerated reports whether s has the form of something generated here.
func isGenerated(s string) bool {
	if len(s) != generatedLen || (s[:4] != secretPrefix && s[:4] != oncePrefix && s[:4] != tokenPrefix) {
		return false
	}
	_, err := base64.RawURLEncoding.Strict().DecodeString(s[4:])
	return err == nil
}
