package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// askFor is how long a question for a passkey can be answered.
const askFor = 10 * time.Minute

// newPasskeys knows whose passkeys these are: the plane's name. At an address alone there are none.
func newPasskeys(publicURL, name string) *webauthn.WebAuthn {
	u, err := url.Parse(publicURL)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return nil
	}
	if name == "" {
		name = "Ajar"
	}
	w, err := webauthn.New(&webauthn.Config{RPID: u.Hostname(), RPDisplayName: name, RPOrigins: []string{u.Scheme + "://" + u.Host}})
	if err != nil {
		return nil
	}
	return w
}

// question is what a page asks a browser for: options for the script, and what the plane has to know again, sealed.
type question struct {
	Options string
	Sealed  string
}

// asked is what is sealed.
type asked struct {
	At      time.Time
	Session webauthn.SessionData
}

func (v *visit) question(what string, who ajar.PrincipalID, options any, data *webauthn.SessionData, err error) *question {
	var text, sealed []byte
	if err == nil {
		text, err = json.Marshal(options)
	}
	if err == nil {
		sealed, err = json.Marshal(asked{v.now, *data})
	}
	if err != nil {
		v.s.log.WarnContext(v.r.Context(), "passkeys cannot be asked for", "corr", v.corr, "err", err)
		return nil
	}
	return &question{string(text), v.seal(what, who, sealed)}
}

// answered opens what was asked.
func (v *visit) answered(what string, who ajar.PrincipalID) (*webauthn.SessionData, error) {
	text, err := v.unseal(what, who, v.r.PostForm.Get("sealed"))
	if err != nil {
		return nil, err
	}
	var a asked
	if err := json.Unmarshal(text, &a); err != nil || v.now.Sub(a.At) > askFor {
		return nil, ajar.Errorf(ajar.Invalid, "that took too long; begin again")
	}
	return &a.Session, nil
}

// once has a question be answered a single time, whichever replica it comes to.
func (v *visit) once(tx ajar.Tx, data *webauthn.SessionData) error {
	err := tx.Put(&ajar.Session{Key: authn.HashSecret("passkey " + data.Challenge), State: ajar.SessionUsed, Created: v.now, Expires: v.now.Add(2 * askFor)})
	if errors.Is(err, ajar.Conflict) {
		return ajar.Errorf(ajar.Unauthenticated, "the answer of the passkey was used before; begin again")
	}
	return err
}

// keyring is a person's passkeys, as the library reads them.
type keyring struct {
	holder
	keys []webauthn.Credential
}

// WebAuthnID is what passkeys keep of whose they are.
func (k *keyring) WebAuthnID() []byte { return []byte(k.ID) }

// WebAuthnName is the name to sign in with.
func (k *keyring) WebAuthnName() string { return k.Name }

// WebAuthnDisplayName is shown when a passkey is chosen.
func (k *keyring) WebAuthnDisplayName() string {
	if k.Display != "" {
		return k.Display
	}
	return k.Name
}

// WebAuthnCredentials are the passkeys.
func (k *keyring) WebAuthnCredentials() []webauthn.Credential { return k.keys }

func newKeyring(who holder, list []*ajar.Factor) (*keyring, error) {
	k := &keyring{holder: who}
	for _, f := range list {
		if f.Kind != ajar.Passkey {
			continue
		}
		var c webauthn.Credential
		if err := json.Unmarshal(f.Public, &c); err != nil {
			return nil, err
		}
		k.keys = append(k.keys, c)
	}
	return k, nil
}

// handle is how a passkey is found by its credential id.
func handle(id []byte) string {
	sum := sha256.Sum256(id)
	return hex.EncodeToString(sum[:])
}

// newPasskey asks the browser to make one; nil where there can be none. It is to be found without a name, and to know
// its holder by itself, if it can.
func (v *visit) newPasskey(who holder, list []*ajar.Factor) *question {
	if v.s.passkeys == nil {
		return nil
	}
	k, err := newKeyring(who, list)
	if err != nil {
		return v.question("", "", nil, nil, err)
	}
	options, data, err := v.s.passkeys.BeginRegistration(k,
		webauthn.WithExclusions(webauthn.Credentials(k.keys).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred}))
	return v.question("new passkey", who.ID, options, data, err)
}

// keepPasskey adds the passkey that the browser made. The session with key spare goes on.
func (s *Server) keepPasskey(v *visit, who ajar.Caller, spare string) error {
	if s.passkeys == nil {
		return ajar.Errorf(ajar.Invalid, "there can be no passkeys here: the plane's address is not a name")
	}
	data, err := v.answered("new passkey", who.Principal)
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(v.r.PostForm.Get("response")))
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "the browser's answer cannot be read; try again")
	}
	c, err := s.passkeys.CreateCredential(&keyring{holder: holder{ID: who.Principal, Name: who.Name}}, *data, parsed)
	if err != nil {
		return ajar.Because(ajar.Invalid, err, "the passkey is not what was asked for; try again")
	}
	c.Attestation = webauthn.CredentialAttestation{}
	public, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := s.Store.Update(v.r.Context(), func(tx ajar.Tx) error { return v.once(tx, data) }); err != nil {
		return err
	}
	_, err = s.Broker.PutFactor(v.r.Context(), who, ajar.Factor{
		Kind: ajar.Passkey, Name: clip(v.r.PostForm.Get("label"), 64), Handle: handle(c.ID), Public: public,
	}, spare)
	s.Auth.Forget(who.Principal)
	return err
}

// askPasskey asks for a passkey: of whoever has one for this plane, who then proves themselves to it as well, or, after
// the password, of h's.
func (v *visit) askPasskey(h *halfway) *question {
	if v.s.passkeys == nil || v.s.Vault == nil {
		return nil
	}
	if h == nil {
		options, data, err := v.s.passkeys.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
		return v.question("passkey", "", options, data, err)
	}
	k, err := newKeyring(holder{ID: h.p.ID, Name: h.p.Name}, h.list)
	if err != nil {
		return v.question("", "", nil, nil, err)
	}
	options, data, err := v.s.passkeys.BeginLogin(k, webauthn.WithUserVerification(protocol.VerificationPreferred))
	return v.question("second passkey", h.p.ID, options, data, err)
}

// errPasskey does not say what was wrong: the log does.
func errPasskey(err error) error {
	return ajar.Because(ajar.Unauthenticated, err, "that passkey is not known here, or it did not prove who you are")
}

// passkeyAlone signs in whoever the passkey says it belongs to, without a password.
func (s *Server) passkeyAlone(v *visit) {
	again := func(status int, problem string) { v.showSignIn(status, "", page{Problem: problem}) }
	fail := func(err error) {
		status, text := v.trouble(err)
		again(status, text)
	}
	if s.passkeys == nil {
		again(http.StatusBadRequest, "There are no passkeys here.")
		return
	}
	data, err := v.answered("passkey", "")
	if err != nil {
		fail(err)
		return
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(v.r.PostForm.Get("response")))
	if err != nil {
		fail(ajar.Because(ajar.Invalid, err, "the browser's answer cannot be read; try again"))
		return
	}
	p, list, err := s.holderOf(v, parsed)
	if err != nil {
		if wait := s.Auth.Spend("passkey", v.from, guessRate, 1); wait > 0 {
			err = ajar.Errorf(ajar.TooMany, "too many attempts failed from this address; wait a minute")
		}
		fail(err)
		return
	}
	details := map[string]string{"credential": string(ajar.Passkey)}
	s.second(v, p, details, func() error {
		k, err := newKeyring(holder{ID: p.ID, Name: p.Name}, list)
		if err != nil {
			return err
		}
		_, c, err := s.passkeys.ValidatePasskeyLogin(func([]byte, []byte) (webauthn.User, error) { return k, nil }, *data, parsed)
		if err != nil {
			return errPasskey(err)
		}
		return v.enter(p, []string{amrOf(c), "user", "mfa"}, nil, details, func(tx ajar.Tx) error { return v.used(tx, p, c, data, details) })
	}, func() { v.goOn(v.next()) }, again)
}

// holderOf finds whose passkey it is. It is not proven yet.
func (s *Server) holderOf(v *visit, parsed *protocol.ParsedCredentialAssertionData) (p *ajar.Principal, list []*ajar.Factor, err error) {
	err = s.Store.View(v.r.Context(), func(tx ajar.Tx) error {
		found, _, err := ajar.List[ajar.Factor](tx, ajar.Filter{Ref: handle(parsed.RawID), Limit: 1})
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].Kind != ajar.Passkey {
			return errPasskey(nil)
		}
		if p, err = ajar.Get[ajar.Principal](tx, string(found[0].Principal)); err != nil {
			return err
		}
		list, _, err = ajar.List[ajar.Factor](tx, ajar.Filter{Owner: p.ID})
		return err
	})
	if errors.Is(err, ajar.NotFound) || (err == nil && p.Disabled) {
		err = errPasskey(err)
	}
	return p, list, err
}

// passkeySecond takes a passkey after the password.
func (s *Server) passkeySecond(v *visit, h *halfway) {
	details := map[string]string{"credential": string(ajar.Password)}
	s.second(v, h.p, details, func() error {
		if s.passkeys == nil {
			return errPasskey(nil)
		}
		data, err := v.answered("second passkey", h.p.ID)
		if err != nil {
			return err
		}
		parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(v.r.PostForm.Get("response")))
		if err != nil {
			return ajar.Because(ajar.Invalid, err, "the browser's answer cannot be read; try again")
		}
		k, err := newKeyring(holder{ID: h.p.ID, Name: h.p.Name}, h.list)
		if err != nil {
			return err
		}
		c, err := s.passkeys.ValidateLogin(k, *data, parsed)
		if err != nil {
			return errPasskey(err)
		}
		return s.proven(v, h, details, []string{amrOf(c), "mfa"}, func(tx ajar.Tx) error {
			if err := h.still(tx); err != nil {
				return err
			}
			return v.used(tx, h.p, c, data, details)
		})
	}, h.then(v), func(status int, problem string) { v.showCode(status, h, problem) })
}

// amrOf is how a passkey is called among methods (RFC 8176): one that is copied between machines is software's.
func amrOf(c *webauthn.Credential) string {
	if c.Flags.BackupEligible {
		return "swk"
	}
	return "hwk"
}

// used writes down that a passkey answered: its question is not asked again, and its counter goes up. One whose counter
// does not was copied, and is refused.
func (v *visit) used(tx ajar.Tx, p *ajar.Principal, c *webauthn.Credential, data *webauthn.SessionData, details map[string]string) error {
	if err := v.once(tx, data); err != nil {
		return err
	}
	found, _, err := ajar.List[ajar.Factor](tx, ajar.Filter{Ref: handle(c.ID), Limit: 1})
	if err != nil {
		return err
	}
	if len(found) == 0 || found[0].Principal != p.ID {
		return errPasskey(nil)
	}
	f := found[0]
	var before webauthn.Credential
	if err := json.Unmarshal(f.Public, &before); err != nil {
		return err
	}
	count := c.Authenticator.SignCount
	details["factor"], details["name"] = string(ajar.Passkey), f.Name
	if c.Authenticator.CloneWarning || (count <= before.Authenticator.SignCount && (count != 0 || before.Authenticator.SignCount != 0)) {
		return ajar.Errorf(ajar.Unauthenticated, "the passkey %q counted backwards, so there may be a copy of it; it is not taken", f.Name)
	}
	c.Attestation = webauthn.CredentialAttestation{}
	if f.Public, err = json.Marshal(c); err != nil {
		return err
	}
	f.Used = v.now
	return tx.Put(f)
}
