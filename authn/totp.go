package authn

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6238 as every authenticator app does it; HMAC-SHA-1 is sound for this
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// How codes that change with time are made (RFC 6238): as every authenticator app does by default.
const (
	totpStep   = 30 * time.Second
	totpDigits = 6
	totpSlack  = 1 // steps that a phone's clock may be off, either way
	totpBytes  = 20
)

// NewTOTP generates the secret that an authenticator app and the plane share.
func NewTOTP() []byte {
	b := make([]byte, totpBytes)
	rand.Read(b)
	return b
}

// TOTPText is a secret as people type it.
func TOTPText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// TOTPURI is a secret as authenticator apps read it from a picture.
func TOTPURI(secret []byte, issuer, account string) string {
	clean := strings.NewReplacer(":", " ")
	issuer, account = clean.Replace(issuer), clean.Replace(account)
	return "otpauth://totp/" + url.PathEscape(issuer) + ":" + url.PathEscape(account) + "?secret=" + TOTPText(secret) + "&issuer=" + url.QueryEscape(issuer)
}

// TOTPCode is the code of secret at a time.
func TOTPCode(secret []byte, at time.Time) string { return totpAt(secret, totpStepAt(at)) }

func totpStepAt(t time.Time) int64 { return t.Unix() / int64(totpStep/time.Second) }

func totpAt(secret []byte, step int64) string {
	var msg [8]byte
	binary.BigEndian.PutUint64(msg[:], uint64(step))
	mac := hmac.New(sha1.New, secret)
	mac.Write(msg[:])
	sum := mac.Sum(nil)
	off := sum[len(sum)-1] & 15
	n := binary.BigEndian.Uint32(sum[off:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// CheckTOTP finds the step whose code it is, later than last and near now; not ok for a wrong code and for one that was
// used before.
func CheckTOTP(secret []byte, code string, last int64, now time.Time) (step int64, ok bool) {
	at := totpStepAt(now)
	for s := at - totpSlack; s <= at+totpSlack; s++ {
		if subtle.ConstantTimeCompare([]byte(totpAt(secret, s)), []byte(code)) == 1 && s > last {
			step, ok = s, true
		}
	}
	return step, ok
}
