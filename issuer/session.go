package issuer

import (
	"net/http"
	"time"

	"github.com/ajar-access/ajar"
)

// session is a person who signed in with this browser.
type session struct {
	ID        string
	Principal ajar.PrincipalID
	Name      string
	AuthTime  time.Time // when they proved who they are
	AMR       []string  // how: pwd, otp, hwk, mfa, fed …
}

// session is whose browser r comes from; not ok if nobody is signed in there.
func (s *Server) session(*http.Request) (*session, bool) { return nil, false }

// endSession signs the browser out: the session ends in the store, and its cookie goes.
func (s *Server) endSession(http.ResponseWriter, *http.Request) error { return nil }
