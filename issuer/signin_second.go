package issuer

import (
	"errors"
	"net/http"
	"slices"

	"github.com/ajar-access/ajar"
)

// The steps between the password and being signed in, each a page.
const (
	stepPassword = "/signin/password" // set one in place of a one-time one
	stepCode     = "/signin/code"     // prove a second factor
	stepEnrol    = "/signin/enrol"    // make one
)

// nextStep is what a half session still lacks; "" for nothing.
func nextStep(s *Server, doc *ajar.Session, list []*ajar.Factor) string {
	has := slices.ContainsFunc(list, func(f *ajar.Factor) bool { return f.Kind != ajar.Recovery })
	asks := s.Auth.Asks(list)
	switch {
	case asks && has && !doc.Second: // first: who has the one-time password alone changes nothing
		return stepCode
	case doc.MustSet:
		return stepPassword
	case !asks || has:
		return ""
	}
	return stepEnrol
}

// halfway is somebody who proved their password, or whom another provider knows.
type halfway struct {
	doc  *ajar.Session
	p    *ajar.Principal
	list []*ajar.Factor
}

// details are what is recorded of how they came so far.
func (h *halfway) details() map[string]string {
	if h.doc.Provider != "" {
		return map[string]string{"upstream": h.doc.Provider}
	}
	return map[string]string{"credential": string(ajar.Password)}
}

// half is do for whoever is at that step; others are sent to theirs.
func (s *Server) half(step string, do func(v *visit, h *halfway)) pageHandler {
	return func(v *visit) {
		h := &halfway{}
		var err error
		h.doc, h.p, err = s.readSession(v.r.Context(), cookie(v.r, halfCookie), ajar.SessionHalf)
		if errors.Is(err, ajar.NotFound) {
			v.redirect("/signin", "next", v.next())
			return
		}
		if err == nil {
			h.list, err = s.Auth.Factors(v.r.Context(), h.p.ID)
		}
		if err != nil {
			status, text := v.trouble(err)
			s.errorPage(v.w, v.r, status, text)
			return
		}
		if at := nextStep(s, h.doc, h.list); at != step {
			s.advance(v, h)
			return
		}
		do(v, h)
	}
}

// advance goes to what is still lacking, or signs in.
func (s *Server) advance(v *visit, h *halfway) {
	if at := nextStep(s, h.doc, h.list); at != "" {
		v.redirect(at, "next", v.next())
		return
	}
	err := v.enter(h.p, h.doc.Amr, h.doc, h.details(), h.still)
	if err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	v.goOn(v.next())
}

// still refuses once the half session has ended meanwhile.
func (h *halfway) still(tx ajar.Tx) error {
	_, err := ajar.Get[ajar.Session](tx, h.doc.Key)
	if errors.Is(err, ajar.NotFound) {
		return ajar.Errorf(ajar.Conflict, "this sign-in has ended; begin again")
	}
	return err
}

// caller is who is about to be signed in, as the broker knows them.
func (h *halfway) caller(v *visit) ajar.Caller {
	return ajar.Caller{Principal: h.p.ID, Name: h.p.Name, From: v.from, Via: via, Corr: v.corr, Session: h.doc.Key}
}

// codeData is what the page for the second factor shows.
type codeData struct {
	Name     string
	Codes    bool // there is an authenticator app
	Recovery bool
	Passkey  *question
}

func (s *Server) codePage(v *visit, h *halfway) { v.showCode(http.StatusOK, h, "") }

func (v *visit) showCode(status int, h *halfway, problem string) {
	has := func(kind ajar.FactorKind) bool {
		return slices.ContainsFunc(h.list, func(f *ajar.Factor) bool { return f.Kind == kind })
	}
	v.bind()
	d := codeData{Name: h.p.Name, Codes: has(ajar.TOTP), Recovery: has(ajar.Recovery)}
	if has(ajar.Passkey) {
		d.Passkey = v.askPasskey(h)
	}
	v.show(status, "code", page{Title: "One more step", Problem: problem, Next: v.next(), Data: d})
}

// useCode takes a code of an authenticator app, or a recovery code.
func (s *Server) useCode(v *visit, h *halfway) {
	code := v.r.PostForm.Get("code")
	if code == "" || len(code) > 64 {
		v.showCode(http.StatusBadRequest, h, "Type the six digits that your authenticator app shows, or a recovery code.")
		return
	}
	details := h.details()
	s.second(v, h.p, details, func() error {
		return s.proven(v, h, details, []string{"otp", "mfa"}, func(tx ajar.Tx) error {
			kind, err := s.Auth.UseCode(tx, h.p.ID, code, v.now)
			if err != nil {
				return err
			}
			details["factor"] = string(kind)
			return h.still(tx)
		})
	}, h.then(v), func(status int, problem string) { v.showCode(status, h, problem) })
}

// proven signs in who proved a second factor, or notes it where they have a password to set first.
func (s *Server) proven(v *visit, h *halfway, details map[string]string, amr []string, prove func(ajar.Tx) error) error {
	amr = append(slices.Clone(h.doc.Amr), amr...)
	if !h.doc.MustSet {
		return v.enter(h.p, amr, h.doc, details, prove)
	}
	return s.Store.Update(v.r.Context(), func(tx ajar.Tx) error {
		if err := prove(tx); err != nil {
			return err
		}
		d, err := ajar.Get[ajar.Session](tx, h.doc.Key)
		if err != nil {
			return err
		}
		d.Second, d.Amr, d.Expires = true, amr, v.now.Add(mustSetLife)
		return tx.Put(d)
	})
}

// then is where who proved a second factor goes on to.
func (h *halfway) then(v *visit) func() {
	if h.doc.MustSet {
		return func() { v.redirect(stepPassword, "next", v.next()) }
	}
	return func() { v.goOn(v.next()) }
}

// second runs one attempt to prove a second factor or a passkey of p's: counted, and recorded where it is refused.
func (s *Server) second(v *visit, p *ajar.Principal, details map[string]string, prove func() error, done func(), again func(status int, problem string)) {
	in := v.login(details)
	try, err := s.Auth.Second(v.r.Context(), p, in)
	if err == nil {
		err = prove()
		wrong := errors.Is(err, ajar.Unauthenticated)
		try.End(wrong)
		if wrong {
			err = s.Auth.Refuse(v.r.Context(), p, in, err)
		}
	}
	if err != nil {
		status, text := v.trouble(err)
		again(status, text)
		return
	}
	done()
}

func (s *Server) mustSetPage(v *visit, h *halfway) { v.showMustSet(http.StatusOK, h, "") }

func (v *visit) showMustSet(status int, h *halfway, problem string) {
	v.show(status, "password", page{Title: "Choose a password", Problem: problem, Next: v.next(), Data: passwordData{Name: h.p.Name, First: true, Action: stepPassword}})
}

// passwordData is what the page for another password shows.
type passwordData struct {
	Name   string
	First  bool // there was a one-time one
	Action string
}

// mustSet exchanges a one-time password for one of the person's own.
func (s *Server) mustSet(v *visit, h *halfway) {
	who := h.caller(v)
	if err := s.newPassword(v, who, h.doc.Key); err != nil {
		status, text := v.trouble(err)
		v.showMustSet(status, h, text)
		return
	}
	err := s.Store.Update(v.r.Context(), func(tx ajar.Tx) error {
		d, err := ajar.Get[ajar.Session](tx, h.doc.Key)
		if err != nil {
			return err
		}
		d.MustSet, d.Expires = false, v.now.Add(halfLife)
		h.doc = d
		return tx.Put(d)
	})
	if err != nil {
		v.redirect("/signin", "next", v.next()) // with the new password
		return
	}
	s.advance(v, h)
}

// newPassword takes the two fields of a form. The session with key spare goes on.
func (s *Server) newPassword(v *visit, who ajar.Caller, spare string) error {
	text := v.r.PostForm.Get("new")
	if text != v.r.PostForm.Get("again") {
		return ajar.Errorf(ajar.Invalid, "the two passwords are not the same; type it twice")
	}
	hash, err := s.Auth.Hasher.Hash(v.r.Context(), text)
	if err != nil {
		return err
	}
	_, err = s.Broker.PutCredential(v.r.Context(), who, ajar.Credential{Principal: who.Principal, Kind: ajar.Password, Hash: hash}, spare)
	s.Auth.Forget(who.Principal)
	return err
}

// enrolData is what the page for a first factor shows.
type enrolData struct {
	TOTP    *totpData
	Passkey *question
	Action  string // what the addresses of its forms begin with
	Forced  bool
}

func (s *Server) enrolPage(v *visit, h *halfway) {
	s.showEnrol(v, h, http.StatusOK, nil, "")
}

func (s *Server) showEnrol(v *visit, h *halfway, status int, totp *totpData, problem string) {
	who := holder{h.p.ID, h.p.Name, h.p.Display}
	v.bind()
	if totp == nil {
		totp = v.newTOTP(who)
	}
	v.show(status, "factor", page{Title: "Set up a second factor", Problem: problem, Next: v.next(), Data: enrolData{TOTP: totp, Passkey: v.newPasskey(who, h.list), Action: stepEnrol, Forced: true}})
}

func (s *Server) enrolTOTP(v *visit, h *halfway) {
	who := h.caller(v)
	totp, err := s.keepTOTP(v, who, h.doc.Key)
	s.enrolled(v, h, totp, err, "otp", ajar.TOTP)
}

func (s *Server) enrolPasskey(v *visit, h *halfway) {
	who := h.caller(v)
	err := s.keepPasskey(v, who, h.doc.Key)
	s.enrolled(v, h, nil, err, "hwk", ajar.Passkey)
}

// enrolled signs in who just made their first factor, and so proved it.
func (s *Server) enrolled(v *visit, h *halfway, totp *totpData, err error, amr string, kind ajar.FactorKind) {
	if err == nil {
		details := h.details()
		details["factor"] = string(kind)
		err = v.enter(h.p, append(slices.Clone(h.doc.Amr), amr, "mfa"), h.doc, details, h.still)
	}
	if err != nil {
		status, text := v.trouble(err)
		s.showEnrol(v, h, status, totp, text)
		return
	}
	v.goOn(v.next())
}
