package issuer

import (
	"context"
	"net/http"

	"github.com/ajar-access/ajar"
)

// mountPages enters the pages for people: /signin, /signout, /device, /account, /static/.
func (s *Server) mountPages(*http.ServeMux) {}

// toSignIn remembers the address that r asks for (a GET), shows the sign-in page, and comes back to it. hint is the
// name that the client expects, to fill in; "" = none. Whatever session there is is left aside: who comes back has
// proved themselves anew.
func (s *Server) toSignIn(w http.ResponseWriter, _ *http.Request, _ string) {
	http.Error(w, "nobody is signed in here", http.StatusUnauthorized)
}

// askFirst is what the page says before a client is given a code.
type askFirst struct {
	Client   Client
	Redirect string // where the code goes
	Device   bool   // it goes to the device that showed a code
}

// confirmed reports whether the person said yes to a: r is the POST of the page that askTo shows, from this session.
func (s *Server) confirmed(*http.Request, *session, askFirst) bool { return false }

// askTo shows the page "continue to {client} as {name}?": a form that posts the same query to the same address, with
// what confirmed looks for, and a way to sign in as somebody else. The answer to that post sends the browser to
// a.Redirect, which the page's form-action must allow, or some browsers stop there. Without it any page of the web could have a browser
// that is signed in hand a code to whatever listens on the person's machine (RFC 8252, section 8.6).
func (s *Server) askTo(w http.ResponseWriter, _ *http.Request, _ *session, _ askFirst) {
	http.Error(w, "there is no page to ask on", http.StatusForbidden)
}

// errorPage tells a person what cannot go on, where no client can be told: status, and text in plain words.
func (s *Server) errorPage(w http.ResponseWriter, _ *http.Request, status int, text string) {
	http.Error(w, text, status)
}

// passwordIsEnough refuses, as Unauthenticated, unless p may sign in with a password alone.
func (s *Server) passwordIsEnough(context.Context, *ajar.Principal) error { return nil }
