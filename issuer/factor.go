package issuer

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html/template"
	"strings"
	"time"

	"github.com/google/uuid"
	"rsc.io/qr"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// holder is who a factor is made for.
type holder struct {
	ID      ajar.PrincipalID
	Name    string
	Display string
}

// totpData is an authenticator app being set up: nothing is kept of it before a code of it has come.
type totpData struct {
	Sealed string       // the secret, sealed for this browser and person
	Text   string       // the secret, for typing
	URI    template.URL // ours, with every part escaped
	Size   int          // of the picture, with its border
	Path   string       // its dark squares, as SVG
	Name   string
}

// enrolFor is how long a secret shown can be confirmed.
const enrolFor = 30 * time.Minute

func (v *visit) newTOTP(who holder) *totpData {
	return v.totp(who, authn.NewTOTP(), v.now)
}

func (v *visit) totp(who holder, secret []byte, at time.Time) *totpData {
	issuer := v.s.Tenant.Name
	if issuer == "" {
		issuer = "Ajar"
	}
	d := &totpData{Text: spaced(authn.TOTPText(secret)), URI: template.URL(authn.TOTPURI(secret, issuer, who.Name)), Name: "Authenticator app"}
	d.Sealed = v.seal("totp", who.ID, append([]byte(at.UTC().Format(time.RFC3339)+"\n"), secret...))
	if code, err := qr.Encode(string(d.URI), qr.M); err == nil {
		d.Size, d.Path = code.Size+2*quiet, squares(code)
	}
	return d
}

// spaced puts a space after each four letters.
func spaced(s string) string {
	var b strings.Builder
	for i, c := range s {
		if i > 0 && i%4 == 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// quiet is the light border that readers need around a QR code.
const quiet = 4

// squares draws the dark squares of a QR code, a run at a time.
func squares(code *qr.Code) string {
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			from := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if n := x - from; n > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from+quiet, y+quiet, n, n)
			}
		}
	}
	return b.String()
}

// seal wraps what a page carries from one request to the next for one person in one browser, for one thing.
func (v *visit) seal(what string, who ajar.PrincipalID, text []byte) string {
	return base64.RawURLEncoding.EncodeToString(v.s.Vault.Wrap(v.sealName(what, who), text))
}

func (v *visit) unseal(what string, who ajar.PrincipalID, sealed string) ([]byte, error) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err == nil {
		b, err = v.s.Vault.Unwrap(v.sealName(what, who), b)
	}
	if err != nil {
		return nil, ajar.Because(ajar.Invalid, err, "the page is out of date; begin again")
	}
	return b, nil
}

func (v *visit) sealName(what string, who ajar.PrincipalID) string {
	return "page " + what + " " + string(who) + " " + authn.HashSecret(v.browser)
}

// keepTOTP adds the authenticator app that a page set up, once a code of it proves that it works. What it answers with
// an error is for showing the same picture again. The session with key spare goes on.
func (s *Server) keepTOTP(v *visit, who ajar.Caller, spare string) (*totpData, error) {
	form := v.r.PostForm
	text, err := v.unseal("totp", who.Principal, form.Get("sealed"))
	if err != nil {
		return nil, err
	}
	begun, secret, _ := strings.Cut(string(text), "\n")
	at, err := time.Parse(time.RFC3339, begun)
	if err != nil || v.now.Sub(at) > enrolFor {
		return nil, ajar.Errorf(ajar.Invalid, "the picture is too old; scan the new one")
	}
	again := v.totp(holder{ID: who.Principal, Name: who.Name}, []byte(secret), at)
	again.Name = clip(form.Get("label"), 64)
	code := strings.NewReplacer(" ", "", "-", "").Replace(form.Get("code"))
	step, ok := authn.CheckTOTP([]byte(secret), code, 0, v.now)
	if !ok {
		return again, ajar.Errorf(ajar.Invalid, "the code is not the one that the app should show now; check the clock of your phone and try the next code")
	}
	id := totpID([]byte(secret))
	_, err = s.Broker.PutFactor(v.r.Context(), who, ajar.Factor{
		ID: id, Kind: ajar.TOTP, Name: again.Name, Sealed: s.Vault.Wrap(authn.TOTPSeal(id), []byte(secret)), Step: step, Used: v.now,
	}, spare)
	s.Auth.Forget(who.Principal)
	return again, err
}

// totpID is what the factor of a secret is called: the same for the same, so that a form that is sent twice makes one
// factor of it, and each of its codes is good once.
func totpID(secret []byte) string {
	return uuid.NewHash(sha256.New(), uuid.NameSpaceOID, append([]byte("totp "), secret...), 8).String()
}
