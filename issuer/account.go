package issuer

import (
	"net/http"
	"slices"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

func (s *Server) mountAccount(mux *http.ServeMux) {
	s.mount(mux, "GET /account", signedIn(s.accountPage))
	s.mount(mux, "GET /account/password", fresh(s.local(s.passwordPage)))
	s.mount(mux, "POST /account/password", fresh(s.local(s.changePassword)))
	s.mount(mux, "GET /account/factor", fresh(s.local(s.addFactorPage)))
	s.mount(mux, "POST /account/factor/totp", fresh(s.local(s.addTOTP)))
	s.mount(mux, "POST /account/factor/passkey", fresh(s.local(s.addPasskey)))
	s.mount(mux, "GET /account/factor/edit", fresh(s.editFactorPage))
	s.mount(mux, "POST /account/factor/rename", fresh(s.renameFactor))
	s.mount(mux, "POST /account/factor/remove", fresh(s.removeFactor))
	s.mount(mux, "GET /account/recovery", fresh(s.recoveryPage))
	s.mount(mux, "POST /account/recovery", fresh(s.newRecovery))
	s.mount(mux, "POST /account/session/end", signedIn(s.endOther))
	s.mount(mux, "POST /account/token/end", signedIn(s.endToken))
}

// local is do for whoever has a password here. Who signs in at a provider of their own organization makes no way in beside it:
// it would go on when that one ends.
func (s *Server) local(do pageHandler) pageHandler {
	return func(v *visit) {
		has, err := s.hasPassword(v)
		if err == nil && !has {
			err = ajar.Errorf(ajar.Forbidden, "you sign in at another provider, and have no password here; passwords and second factors are looked after there")
		}
		if err != nil {
			status, text := v.trouble(err)
			s.errorPage(v.w, v.r, status, text)
			return
		}
		do(v)
	}
}

func (s *Server) hasPassword(v *visit) (bool, error) {
	list, err := s.Broker.Credentials(v.r.Context(), v.caller(), v.who.Principal)
	return slices.ContainsFunc(list, func(c *ajar.Credential) bool { return c.Kind == ajar.Password }), err
}

// notices are what the account page says of what was just done, by the word in its address.
var notices = map[string]string{
	"password":      "Your password is changed. Your other browsers and your tokens are signed out.",
	"totp":          "The authenticator app is set up. You will be asked for its code when you sign in.",
	"passkey":       "The passkey is registered. You can sign in with it alone.",
	"first-totp":    "The authenticator app is set up. You will be asked for its code when you sign in. Your other browsers, your programs and your tokens are signed out.",
	"first-passkey": "The passkey is registered. You can sign in with it alone. Your other browsers, your programs and your tokens are signed out.",
	"renamed":       "It has its new name.",
	"removed":       "It is removed.",
	"session":       "That browser is signed out.",
	"sessions":      "All your other browsers are signed out.",
	"token":         "The token is revoked.",
}

// accountData is what the account page shows.
type accountData struct {
	Name     string
	Local    bool // they have a password here
	Factors  []*ajar.Factor
	Left     int  // recovery codes
	Codes    bool // there are recovery codes, or were
	Can      bool // factors mean something here
	Required bool
	Sessions []sessionRow
	Tokens   []tokenRow
	More     bool // there are more tokens than are shown
}

type sessionRow struct {
	*ajar.Session
	Short string
	Here  bool
}

type tokenRow struct {
	*ajar.Token
	Short  string
	Client string
}

// mostTokens is how many the account page shows.
const mostTokens = 100

func (s *Server) accountPage(v *visit) {
	p := page{Title: "Your account", Wide: true, Notice: notices[v.r.URL.Query().Get("done")]}
	d, err := s.account(v)
	if err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	p.Data = d
	v.show(http.StatusOK, "account", p)
}

func (s *Server) account(v *visit) (*accountData, error) {
	ctx := v.r.Context()
	d := &accountData{Name: v.who.Name, Can: s.Auth.SecondFactor != authn.SecondOff, Required: s.Auth.SecondFactor == authn.SecondRequired}
	list, err := s.Auth.Factors(ctx, v.who.Principal)
	if err == nil {
		d.Local, err = s.hasPassword(v)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b *ajar.Factor) int { return a.Created.Compare(b.Created) })
	for _, f := range list {
		if f.Kind == ajar.Recovery {
			d.Codes, d.Left = true, len(f.Hashes)
			continue
		}
		d.Factors = append(d.Factors, f)
	}
	sessions, err := s.Broker.Sessions(ctx, v.caller())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(sessions, func(a, b *ajar.Session) int { return b.Seen.Compare(a.Seen) })
	for _, b := range sessions {
		d.Sessions = append(d.Sessions, sessionRow{b, authn.ShortHash(b.Key), b.Key == v.who.ID})
	}
	tokens, next, err := s.Broker.Tokens(ctx, v.caller(), v.who.Principal, broker.Page{Limit: mostTokens})
	if err != nil {
		return nil, err
	}
	d.More = next != ""
	for _, t := range tokens {
		if !t.Revoked.IsZero() || !v.now.Before(t.Expires) {
			continue
		}
		row := tokenRow{Token: t, Short: authn.ShortHash(t.Hash), Client: t.Name}
		if c, ok := s.client(t.Client); ok && t.Client != "" {
			row.Client = c.Name
		}
		d.Tokens = append(d.Tokens, row)
	}
	return d, nil
}

func (s *Server) passwordPage(v *visit) { v.showPassword(http.StatusOK, "") }

func (v *visit) showPassword(status int, problem string) {
	v.show(status, "password", page{Title: "Change your password", Problem: problem, Data: passwordData{Name: v.who.Name, Action: "/account/password"}})
}

func (s *Server) changePassword(v *visit) {
	if err := s.newPassword(v, v.caller(), v.who.ID); err != nil {
		v.showPassword(v.trouble(err))
		return
	}
	v.redirect("/account", "done", "password")
}

func (s *Server) endOther(v *visit) {
	key, done := v.r.PostForm.Get("session"), "session"
	if key == "all" {
		key, done = "", "sessions"
	} else if key == "" {
		s.errorPage(v.w, v.r, http.StatusBadRequest, "The form does not say which session to end.")
		return
	}
	if err := s.Broker.EndSession(v.r.Context(), v.caller(), key, v.who.ID); err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	v.redirect("/account", "done", done)
}

func (s *Server) endToken(v *visit) {
	_, err := s.Broker.RevokeToken(v.r.Context(), v.caller(), v.who.Principal, v.r.PostForm.Get("token"))
	s.Auth.Forget(v.who.Principal)
	if err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	v.redirect("/account", "done", "token")
}
