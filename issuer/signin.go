package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// mountPages enters the pages for people: /signin, /signout, /device, /account, /static/.
func (s *Server) mountPages(mux *http.ServeMux) {
	mux.HandleFunc("GET /static/", s.static)
	s.mount(mux, "GET /signin", s.signInPage)
	s.mount(mux, "POST /signin", s.signIn)
	s.mount(mux, "POST /signin/passkey", s.passkeyAlone)
	s.mount(mux, "GET /signin/code", s.half(stepCode, s.codePage))
	s.mount(mux, "POST /signin/code", s.half(stepCode, s.useCode))
	s.mount(mux, "POST /signin/code/passkey", s.half(stepCode, s.passkeySecond))
	s.mount(mux, "GET /signin/password", s.half(stepPassword, s.mustSetPage))
	s.mount(mux, "POST /signin/password", s.half(stepPassword, s.mustSet))
	s.mount(mux, "GET /signin/enrol", s.half(stepEnrol, s.enrolPage))
	s.mount(mux, "POST /signin/enrol/totp", s.half(stepEnrol, s.enrolTOTP))
	s.mount(mux, "POST /signin/enrol/passkey", s.half(stepEnrol, s.enrolPasskey))
	s.mount(mux, "GET /signout", s.signOutPage)
	s.mount(mux, "POST /signout", s.signOut)
	s.mountDevice(mux)
	s.mountAccount(mux)
	s.mount(mux, "/", func(v *visit) {
		s.errorPage(v.w, v.r, http.StatusNotFound, "There is no such page.")
	})
}

// toSignIn remembers the address that r asks for (a GET), shows the sign-in page, and comes back to it. hint is the
// name that the client expects, to fill in; "" = none. Whatever session there is is left aside: who comes back has
// proved themselves anew.
func (s *Server) toSignIn(w http.ResponseWriter, r *http.Request, hint string) {
	v := &visit{s: s, w: w, r: r}
	v.redirect("/signin", "next", r.URL.RequestURI(), "name", clip(hint, 256))
}

// signInData is what the sign-in page shows.
type signInData struct {
	Name    string
	Again   bool // somebody is signed in already
	Passkey *question
	Others  []upstreamButton
}

func (s *Server) signInPage(v *visit) {
	if v.who != nil && v.next() == "" && v.r.URL.Query().Get("again") == "" {
		v.redirect("/account")
		return
	}
	p := page{}
	if v.r.URL.Query().Get("out") != "" {
		p.Notice = "You are signed out."
	}
	v.showSignIn(http.StatusOK, clip(v.r.URL.Query().Get("name"), 256), p)
}

func (v *visit) showSignIn(status int, name string, p page) {
	p.Title, p.Next = "Sign in", v.next()
	d := signInData{Name: name, Again: v.who != nil, Others: v.s.upstreams()}
	if v.who != nil && d.Name == "" {
		d.Name = v.who.Name
	}
	v.bind()
	d.Passkey = v.askPasskey(nil)
	p.Data = d
	v.show(status, "signin", p)
}

// bind sees to it that the browser has what its forms are bound to.
func (v *visit) bind() {
	if len(v.browser) < 40 {
		v.browser = random("", 32)
		setCookie(v.w, browserCookie, v.browser)
	}
}

// signIn takes a name and a password. Whoever needs a second factor, or came with a one-time password, is half in.
func (s *Server) signIn(v *visit) {
	form := v.r.PostForm
	in := v.login(map[string]string{})
	in.Name, in.Secret, in.Kind, in.Half = form.Get("name"), form.Get("password"), ajar.User, true
	if in.Name == "" || in.Secret == "" {
		v.showSignIn(http.StatusBadRequest, in.Name, page{Problem: "Type your name and your password."})
		return
	}
	var e *entry
	var list []*ajar.Factor
	_, err := s.Auth.Enter(v.r.Context(), in, func(p *ajar.Principal, c *ajar.Credential) (write func(ajar.Tx) error, err error) {
		if list, err = s.Auth.Factors(v.r.Context(), p.ID); err != nil {
			return nil, err
		}
		if once := authn.OneTime(c); once || s.Auth.Asks(list) {
			e = v.newEntry(p, ajar.SessionHalf, "pwd")
			if e.doc.MustSet = once; once {
				e.doc.Expires = v.now.Add(mustSetLife)
			}
			in.Details["then"] = nextStep(s, e.doc, list)[len("/signin/"):]
			return e.put, nil
		}
		e = v.newEntry(p, ajar.SessionWhole, "pwd")
		in.Details["session"] = authn.ShortHash(e.doc.Key)
		return func(tx ajar.Tx) error {
			if err := s.Auth.StillEnough(tx, p); err != nil {
				return err
			}
			if err := e.put(tx); err != nil {
				return err
			}
			return s.Auth.Remember(tx, p, v.from, v.now)
		}, nil
	})
	if err != nil {
		status, text := v.trouble(err)
		v.showSignIn(status, in.Name, page{Problem: text})
		return
	}
	v.hand(e)
	if e.doc.State == ajar.SessionHalf {
		v.redirect(nextStep(s, e.doc, list), "next", v.next())
		return
	}
	v.goOn(v.next())
}

// trouble is how a page tells a person of err. What the caller may not read goes to the log.
func (v *visit) trouble(err error) (status int, text string) {
	var slow *authn.Throttled
	switch kind := ajar.KindOf(err); {
	case errors.As(err, &slow):
		secs := max(1, int((slow.Wait+time.Second-1)/time.Second))
		v.w.Header().Set("Retry-After", strconv.Itoa(secs))
		return http.StatusTooManyRequests, fmt.Sprintf("Too many attempts failed. Wait %s before the next.", inWords(secs))
	case kind == ajar.TooMany:
		return http.StatusTooManyRequests, sentence(ajar.Message(err))
	case kind == ajar.Unauthenticated, kind == ajar.Forbidden:
		return http.StatusForbidden, sentence(ajar.Message(err))
	case kind == ajar.Invalid:
		return http.StatusBadRequest, sentence(ajar.Message(err))
	case kind == ajar.Conflict:
		return http.StatusConflict, sentence(ajar.Message(err))
	case kind == ajar.NotFound:
		return http.StatusNotFound, sentence(ajar.Message(err))
	}
	v.s.log.ErrorContext(v.r.Context(), "page failed", "path", v.r.URL.Path, "corr", v.corr, "err", err)
	return http.StatusServiceUnavailable, "It does not work just now. Try again; if it stays so, the operator finds the cause in the log under " + v.corr + "."
}

func inWords(secs int) string {
	switch {
	case secs == 1:
		return "a second"
	case secs < 90:
		return strconv.Itoa(secs) + " seconds"
	}
	return strconv.Itoa((secs+59)/60) + " minutes"
}

// goOn sends the browser to where it wanted to go. An address outside these pages may send it on to another site, which
// browsers do not allow the answer to a form: there a page stands between.
func (v *visit) goOn(next string) {
	switch {
	case next == "":
		v.redirect("/account")
	case isPage(next):
		v.redirect(next)
	default:
		v.write(http.StatusOK, "on", page{Title: "You are signed in", Refresh: next, Assets: assetNames})
	}
}

func (s *Server) signOutPage(v *visit) {
	if v.who == nil {
		v.redirect("/signin")
		return
	}
	v.show(http.StatusOK, "signout", page{Title: "Sign out"})
}

func (s *Server) signOut(v *visit) {
	there := s.signOutThere(v)
	if err := s.endSession(v.w, v.r); err != nil {
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	if there != "" {
		v.write(http.StatusOK, "on", page{Title: "You are signed out here", Refresh: there, Assets: assetNames})
		return
	}
	v.redirect("/signin", "out", "1")
}

// passwordIsEnough refuses, as Unauthenticated, unless p may sign in with a password alone.
func (s *Server) passwordIsEnough(ctx context.Context, p *ajar.Principal) error {
	return s.Auth.PasswordIsEnough(ctx, p)
}
