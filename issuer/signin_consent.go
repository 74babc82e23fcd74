package issuer

import (
	"io"
	"net/http"
	"net/netip"
	"net/url"
)

// askFirst is what the page says before a client is given a code.
type askFirst struct {
	Client   Client
	Redirect string // where the code goes
	Device   bool   // it goes to the device that showed a code
}

// purpose binds the answer to what was asked.
func (a askFirst) purpose() string { return "continue\n" + a.Client.ID + "\n" + a.Redirect }

// confirmed reports whether the person said yes to a: r is the POST of the page that askTo shows, from this session.
func (s *Server) confirmed(r *http.Request, _ *session, a askFirst) bool {
	r.Body = io.NopCloser(io.LimitReader(r.Body, maxForm))
	if r.ParseForm() != nil || !s.sameOrigin(r) {
		return false
	}
	return s.visit(nil, r).holds(r.PostForm.Get("yes"), a.purpose())
}

// askTo shows the page "continue to {client} as {name}?": a form that posts the same query to the same address, with
// what confirmed looks for, and a way to sign in as somebody else. The answer to that post sends the browser to
// a.Redirect, which the page's form-action must allow, or some browsers stop there. Without it any page of the web could have a browser
// that is signed in hand a code to whatever listens on the person's machine (RFC 8252, section 8.6).
func (s *Server) askTo(w http.ResponseWriter, r *http.Request, who *session, a askFirst) {
	v := s.visit(w, r)
	v.who = who
	v.bind()
	here := r.URL.RequestURI()
	v.show(http.StatusOK, "continue", page{Title: "Continue to " + a.Client.Name + "?", target: target(a.Redirect), Data: struct {
		Client Client
		Local  bool
		To     string
		Here   string
		Other  string
		Yes    string
	}{a.Client, isLoopback(a.Redirect), hostOf(a.Redirect), here, "/signin?" + url.Values{"next": {here}, "again": {"1"}}.Encode(), v.token(a.purpose())}})
}

// target is a redirect's origin as a content security policy names it. There IPv6 addresses have no form.
func target(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil {
		return ""
	}
	if a, err := netip.ParseAddr(u.Hostname()); u.Host == "" || (err == nil && a.Is6()) {
		return u.Scheme + ":"
	}
	return u.Scheme + "://" + u.Host
}

func isLoopback(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && loopback(u)
}

func hostOf(redirect string) string {
	u, err := url.Parse(redirect)
	if err != nil {
		return ""
	}
	if u.Host == "" {
		return u.Scheme
	}
	return u.Host
}
