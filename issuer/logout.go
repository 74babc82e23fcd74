package issuer

import (
	"net/http"
	"net/url"
	"strings"
)

// logout signs the browser out for a client that asks (OpenID Connect RP-Initiated Logout). With an id token of the
// person who is signed in it does so at once; without, a page asks first, since any page of the web can send somebody
// here. It goes back only to where the client is registered.
func (s *Server) logout(w http.ResponseWriter, r *http.Request, _ form) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.errorPage(w, r, http.StatusBadRequest, "The request is not a form.")
		return
	}
	clientID, subject := r.Form.Get("client_id"), ""
	if hint := r.Form.Get("id_token_hint"); hint != "" {
		c, err := s.Auth.Tokens.CheckIDHint(r.Context(), hint)
		if err != nil || (clientID != "" && !strings.EqualFold(clientID, c.Audience[0])) {
			s.errorPage(w, r, http.StatusBadRequest, "The id token that the application sent is none of ours.")
			return
		}
		clientID, subject = c.Audience[0], c.Subject
	}
	to := s.PublicURL + "/signin"
	if back := r.Form.Get("post_logout_redirect_uri"); back != "" {
		client, ok := s.client(clientID)
		u, err := url.Parse(back)
		if !ok || err != nil || !client.redirects(back) {
			s.errorPage(w, r, http.StatusBadRequest, "The application asks to go back to an address that it is not registered with.")
			return
		}
		if state := r.Form.Get("state"); state != "" {
			q := u.Query()
			q.Set("state", state)
			u.RawQuery = q.Encode()
		}
		to = u.String()
	}
	who, ok := s.session(r)
	if ok && string(who.Principal) != subject {
		http.Redirect(w, r, "/signout", http.StatusSeeOther)
		return
	}
	if ok {
		if err := s.endSession(w, r); err != nil {
			s.errorPage(w, r, http.StatusServiceUnavailable, "Signing out did not work; try again.")
			return
		}
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusSeeOther)
}
