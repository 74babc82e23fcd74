package issuer

import (
	"errors"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
)

// userinfo tells whoever brings an access token whose it is (OpenID Connect Core, section 5.3).
func (s *Server) userinfo(w http.ResponseWriter, r *http.Request, f form) {
	scheme, text, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if text = strings.TrimSpace(text); !strings.EqualFold(scheme, "Bearer") || text == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ajar"`)
		s.fail(w, r, fault(http.StatusUnauthorized, "invalid_token", 900144, "the request carries no access token"))
		return
	}
	who, err := s.Auth.Holder(r.Context(), text, f.userinfo())
	if errors.Is(err, ajar.Unauthenticated) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="ajar", error="invalid_token"`)
		err = fault(http.StatusUnauthorized, "invalid_token", 50013, "%s", ajar.Message(err))
	}
	var p *ajar.Principal
	if err == nil {
		err = s.Store.View(r.Context(), func(tx ajar.Tx) error {
			p, err = ajar.Get[ajar.Principal](tx, string(who.Principal))
			return err
		})
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := map[string]any{"sub": p.ID, "oid": p.ID, "name": display(p), "preferred_username": p.Name}
	if p.Kind == ajar.User && strings.Contains(p.Name, "@") {
		out["email"] = p.Name
	}
	reply(w, http.StatusOK, out)
}
