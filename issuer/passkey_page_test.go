package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"html"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
)

// The flags of an authenticator's answer.
const (
	present  = 1
	verified = 4
	attested = 64
)

// securityKey is a passkey in software: what a test makes of its answers is its own affair.
type securityKey struct {
	t      *testing.T
	key    *ecdsa.PrivateKey
	id     []byte
	holder []byte
	count  uint32
	still  bool // it does not count, as those that are copied between machines do not
	flags  byte
	rp     string
	origin string
}

func newSecurityKey(t *testing.T) *securityKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fatal(t, err)
	s := &securityKey{t: t, key: k, id: make([]byte, 32), flags: present | verified, rp: "plane.example.org", origin: publicURL}
	rand.Read(s.id)
	return s
}

func inBase64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

var optionsText = regexp.MustCompile(`data-passkey="(?:get|create)" data-options="([^"]*)"`)

// asked reads what the page wants of a passkey.
func (k *securityKey) asked(b *browser) (challenge, user string) {
	k.t.Helper()
	m := optionsText.FindStringSubmatch(b.page.body)
	if m == nil {
		k.t.Fatalf("%s asks for no passkey:\n%s", b.at, b.page.body)
	}
	var o struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
			User      struct {
				ID string `json:"id"`
			} `json:"user"`
		} `json:"publicKey"`
	}
	fatal(k.t, json.Unmarshal([]byte(html.UnescapeString(m[1])), &o))
	return o.PublicKey.Challenge, o.PublicKey.User.ID
}

func (k *securityKey) data(flags byte) []byte {
	rp := sha256.Sum256([]byte(k.rp))
	return binary.BigEndian.AppendUint32(append(rp[:], flags), k.count)
}

func (k *securityKey) client(kind, challenge string) []byte {
	b, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": k.origin, "crossOrigin": false})
	fatal(k.t, err)
	return b
}

// made answers the page that registers a passkey.
func (k *securityKey) made(b *browser) string {
	challenge, user := k.asked(b)
	k.holder, _ = base64.RawURLEncoding.DecodeString(user)
	point, err := k.key.PublicKey.Bytes()
	fatal(k.t, err)
	auth := append(k.data(k.flags|attested), make([]byte, 16)...)
	auth = append(binary.BigEndian.AppendUint16(auth, uint16(len(k.id))), k.id...)
	auth = append(auth, 0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32)
	auth = append(auth, point[1:33]...)
	auth = append(append(auth, 0x22, 0x58, 32), point[33:]...)
	object := append([]byte("\xa3cfmtdnonegattStmt\xa0hauthData\x58"), byte(len(auth)))
	object = append(object, auth...)
	return k.json(map[string]any{"clientDataJSON": inBase64(k.client("webauthn.create", challenge)), "attestationObject": inBase64(object)})
}

// proof answers the page that asks for a passkey.
func (k *securityKey) proof(b *browser) string {
	challenge, _ := k.asked(b)
	if !k.still {
		k.count++
	}
	auth, client := k.data(k.flags), k.client("webauthn.get", challenge)
	of := sha256.Sum256(client)
	sum := sha256.Sum256(append(append([]byte{}, auth...), of[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, k.key, sum[:])
	fatal(k.t, err)
	return k.json(map[string]any{"clientDataJSON": inBase64(client), "authenticatorData": inBase64(auth), "signature": inBase64(sig), "userHandle": inBase64(k.holder)})
}

func (k *securityKey) json(response map[string]any) string {
	b, err := json.Marshal(map[string]any{"id": inBase64(k.id), "rawId": inBase64(k.id), "type": "public-key", "response": response, "clientExtensionResults": map[string]any{}})
	fatal(k.t, err)
	return string(b)
}

// withPasskey is somebody who registered one.
func (g *rig) withPasskey(name string) (*ajar.Principal, *securityKey) {
	g.t.Helper()
	p, k := g.newPerson(name), newSecurityKey(g.t)
	b := g.browser().signIn(name).open("/account/factor")
	b.fill("/account/factor/passkey", "response", k.made(b), "label", "key of "+name).shows(http.StatusOK, "The passkey is registered", "key of "+name)
	return p, k
}

// TestPasskeyAloneAndAsSecondFactor: it signs in by itself, and after the password; the password alone no longer does.
func TestPasskeyAloneAndAsSecondFactor(t *testing.T) {
	g := newPages(t)
	alice, k := g.withPasskey("alice")
	b := g.browser().open("/signin?next=/device")
	b.fill("/signin/passkey", "response", k.proof(b)).shows(http.StatusOK, "Type the code")
	if who, _ := b.s.session(b.asking()); who == nil || who.Principal != alice.ID || strings.Join(who.AMR, " ") != "hwk user mfa" {
		t.Errorf("%+v", who)
	}
	b = g.browser().signIn("alice").shows(http.StatusOK, "One more step")
	if b.signedIn() != "" {
		t.Fatal("by the password alone")
	}
	b.fill("/signin/code/passkey", "response", k.proof(b)).shows(http.StatusOK, "Your account", "last used")
	if accepted, _ := g.signIns(); accepted[0].Details["factor"] != "passkey" || accepted[0].Details["credential"] != "password" || accepted[0].Details["name"] != "key of alice" {
		t.Errorf("recorded: %+v", accepted[0])
	}
}

// TestPasskeyAnswerIsTakenOnce: neither in another browser, nor in the same, nor on another replica.
func TestPasskeyAnswerIsTakenOnce(t *testing.T) {
	g := newPages(t)
	_, k := g.withPasskey("alice")
	k.still = true
	b := g.browser().open("/signin")
	form := append(b.fields("/signin/passkey"), "response", k.proof(b))
	thief := g.browser().open("/signin")
	own := thief.fields("/signin/passkey")
	thief.send("/signin/passkey", append(form, own[0], own[1])...) // with a token of their own
	if thief.page.status == http.StatusSeeOther || thief.signedIn() != "" {
		t.Errorf("taken in another browser: %d", thief.page.status)
	}
	b.send("/signin/passkey", form...)
	if b.signedIn() != "alice" {
		t.Fatalf("%d %s", b.page.status, b.page.body)
	}
	delete(b.jar, sessionCookie)
	b.s = g.plane(g.Store)
	b.send("/signin/passkey", form...)
	if b.page.status != http.StatusForbidden || b.signedIn() != "" {
		t.Errorf("taken twice: %d", b.page.status)
	}
}

// TestPasskeyThatCountsBackwardsIsRefused, since somebody has a copy of it; and it is recorded.
func TestPasskeyThatCountsBackwardsIsRefused(t *testing.T) {
	g := newPages(t)
	_, k := g.withPasskey("alice")
	k.count = 40
	b := g.browser().open("/signin")
	b.fill("/signin/passkey", "response", k.proof(b)).shows(http.StatusOK, "Your account")
	for _, count := range []uint32{40, 3} {
		k.count = count
		b := g.browser().open("/signin")
		b.fill("/signin/passkey", "response", k.proof(b)).shows(http.StatusForbidden, "counted backwards")
	}
	if _, refused := g.signIns(); len(refused) != 2 || refused[0].Name != "alice" || !strings.Contains(refused[0].Message, "counted backwards") {
		t.Errorf("recorded: %+v", refused)
	}
	k.count = 50
	b = g.browser().open("/signin")
	b.fill("/signin/passkey", "response", k.proof(b)).shows(http.StatusOK, "Your account")
}

// TestPasskeyProvesItsHolder and no less: for this plane, with its own key, knowing its holder where it stands alone.
func TestPasskeyProvesItsHolder(t *testing.T) {
	g := newPages(t)
	_, k := g.withPasskey("alice")
	_, bert := g.withPasskey("bert")
	for what, spoil := range map[string]func(*securityKey){
		"of another site":           func(k *securityKey) { k.origin = "https://evil.example" },
		"for another name":          func(k *securityKey) { k.rp = "evil.example" },
		"without a touch":           func(k *securityKey) { k.flags = 0 },
		"not knowing its holder":    func(k *securityKey) { k.flags = present },
		"saying it is somebody":     func(k *securityKey) { k.holder = bert.holder },
		"signed by another":         func(k *securityKey) { k.key = bert.key },
		"with an id nobody has":     func(k *securityKey) { k.id = make([]byte, 32) },
		"with the id of somebody":   func(k *securityKey) { k.id = bert.id },
		"of the same, said of bert": func(k *securityKey) { k.id, k.holder = bert.id, bert.holder },
	} {
		g.step(10 * time.Minute) // whoever guesses waits
		bad := *k
		bad.count += 1000
		spoil(&bad)
		b := g.browser().open("/signin")
		if b.fill("/signin/passkey", "response", bad.proof(b)); b.page.status != http.StatusForbidden || b.signedIn() != "" {
			t.Errorf("a passkey %s: %d, %q", what, b.page.status, b.signedIn())
		}
	}
	g.step(10 * time.Minute)
	other := g.browser().signIn("alice")
	other.fill("/signin/code/passkey", "response", bert.proof(other)).shows(http.StatusForbidden)
	k.flags = present // after the password it need not know its holder
	other.fill("/signin/code/passkey", "response", k.proof(other)).shows(http.StatusOK, "Your account")
	if other.signedIn() != "alice" {
		t.Errorf("%q", other.signedIn())
	}
	late := g.browser().open("/signin")
	form := append(late.fields("/signin/passkey"), "response", k.proof(late))
	g.step(askFor + time.Second)
	late.send("/signin/passkey", form...).shows(http.StatusBadRequest, "too long")
	g.newPerson("mallory")
	b := g.browser().signIn("mallory").open("/account/factor")
	b.fill("/account/factor/passkey", "response", k.made(b), "label", "mine").shows(http.StatusConflict, "registered already")
}

// TestNoPasskeysAtAnAddress: they belong to a name.
func TestNoPasskeysAtAnAddress(t *testing.T) {
	g := newPages(t, func(c *Config) { c.PublicURL = "https://192.0.2.1:8443" })
	g.newPerson("alice")
	b := g.browser()
	b.header.Set("Origin", "https://192.0.2.1:8443")
	b.open("/signin")
	if strings.Contains(b.page.body, "passkey") {
		t.Error("asked for all the same")
	}
	b.signIn("alice").open("/account/factor").shows(http.StatusOK, "An authenticator app")
	if strings.Contains(b.page.body, "Register a passkey") {
		t.Error("offered all the same")
	}
}
