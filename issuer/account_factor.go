package issuer

import (
	"net/http"
	"slices"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

func (s *Server) addFactorPage(v *visit) { s.showAddFactor(v, http.StatusOK, nil, "") }

func (s *Server) showAddFactor(v *visit, status int, totp *totpData, problem string) {
	who := holder{ID: v.who.Principal, Name: v.who.Name}
	list, err := s.Auth.Factors(v.r.Context(), who.ID)
	if err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	v.bind()
	if totp == nil {
		totp = v.newTOTP(who)
	}
	v.show(status, "factor", page{Title: "Add a second factor", Problem: problem, Data: enrolData{TOTP: totp, Passkey: v.newPasskey(who, list), Action: "/account/factor"}})
}

func (s *Server) addTOTP(v *visit) {
	totp, err := s.keepTOTP(v, v.caller(), v.who.ID)
	if err != nil {
		status, text := v.trouble(err)
		s.showAddFactor(v, status, totp, text)
		return
	}
	s.added(v, "totp", "otp")
}

// added goes on after a factor was added. With the first everything else was signed out; this browser, where it was just
// proven, goes on with another cookie: whoever has a copy of the one before is out, too.
func (s *Server) added(v *visit, done, amr string) {
	if slices.Contains(v.who.AMR, "mfa") {
		v.redirect("/account", "done", done)
		return
	}
	if err := v.renew(amr, "mfa"); err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	v.redirect("/account", "done", "first-"+done)
}

func (s *Server) addPasskey(v *visit) {
	if err := s.keepPasskey(v, v.caller(), v.who.ID); err != nil {
		status, text := v.trouble(err)
		s.showAddFactor(v, status, nil, text)
		return
	}
	s.added(v, "passkey", "hwk")
}

// factor is the caller's own that the request names.
func (s *Server) factor(v *visit, id string) *ajar.Factor {
	list, err := s.Auth.Factors(v.r.Context(), v.who.Principal)
	i := slices.IndexFunc(list, func(f *ajar.Factor) bool { return f.ID == id && f.Kind != ajar.Recovery })
	if err == nil && i < 0 {
		err = ajar.Errorf(ajar.NotFound, "you have no such factor; it may be removed already")
	}
	if err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return nil
	}
	return list[i]
}

func (s *Server) editFactorPage(v *visit) {
	if f := s.factor(v, v.r.URL.Query().Get("id")); f != nil {
		v.showFactor(http.StatusOK, f, "")
	}
}

func (v *visit) showFactor(status int, f *ajar.Factor, problem string) {
	v.show(status, "edit", page{Title: f.Name, Problem: problem, Data: f})
}

func (s *Server) renameFactor(v *visit) {
	f := s.factor(v, v.r.PostForm.Get("id"))
	if f == nil {
		return
	}
	if _, err := s.Broker.PutFactor(v.r.Context(), v.caller(), ajar.Factor{ID: f.ID, Name: v.r.PostForm.Get("label")}); err != nil {
		status, text := v.trouble(err)
		v.showFactor(status, f, text)
		return
	}
	v.redirect("/account", "done", "renamed")
}

// removeFactor removes one. Where one is required and it was the last, the next sign-in takes making another.
func (s *Server) removeFactor(v *visit) {
	f := s.factor(v, v.r.PostForm.Get("id"))
	if f == nil {
		return
	}
	if err := s.Broker.DeleteFactor(v.r.Context(), v.caller(), f.ID); err != nil {
		status, text := v.trouble(err)
		v.showFactor(status, f, text)
		return
	}
	v.redirect("/account", "done", "removed")
}

func (s *Server) recoveryPage(v *visit) {
	v.show(http.StatusOK, "recovery", page{Title: "Recovery codes"})
}

// newRecovery makes codes in place of those before, and shows them this once.
func (s *Server) newRecovery(v *visit) {
	list, err := s.Auth.Factors(v.r.Context(), v.who.Principal)
	if err == nil && !authn.HasFactor(list) {
		err = ajar.Errorf(ajar.Conflict, "recovery codes stand in for an authenticator app or a passkey; set one up first")
	}
	codes, hashes := authn.NewRecoveryCodes()
	if err == nil {
		_, err = s.Broker.PutFactor(v.r.Context(), v.caller(), ajar.Factor{Kind: ajar.Recovery, Name: "Recovery codes", Hashes: hashes})
	}
	if err != nil {
		status, text := v.trouble(err)
		v.show(status, "recovery", page{Title: "Recovery codes", Problem: text})
		return
	}
	v.show(http.StatusOK, "recovery", page{Title: "Your recovery codes", Data: codes})
}
