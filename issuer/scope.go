package issuer

import (
	"net/http"
	"slices"
	"strings"
)

// scopes is what a client asks for.
type scopes struct {
	resource string   // whom the access token shall be for, as it was written; "" = nobody was named
	asked    []string // all that was understood, as it was written
}

// has reports whether name was asked for.
func (s scopes) has(name string) bool { return slices.Contains(s.asked, name) }

const maxScopes = 32

// parseScopes reads a scope parameter. Words that mean nothing here are left out, as RFC 6749, section 3.3 has it; two
// resources are one too many.
func parseScopes(text string) (scopes, error) {
	var out scopes
	words := strings.Fields(text)
	if len(words) > maxScopes || len(text) > maxURL {
		return out, fault(http.StatusBadRequest, "invalid_scope", 70011, "at most %d scopes can be asked for", maxScopes)
	}
	for _, word := range words {
		if slices.Contains(out.asked, word) {
			continue
		}
		switch word {
		case "openid", "profile", "email", "offline_access":
			out.asked = append(out.asked, word)
			continue
		}
		i := strings.LastIndexByte(word, '/')
		if i <= 0 || (word[i:] != "/.default" && word[i:] != "/user_impersonation") {
			continue
		}
		resource := word[:i]
		if out.resource != "" && trimSlashes(resource) != trimSlashes(out.resource) {
			return out, fault(http.StatusBadRequest, "invalid_scope", 28000, "a token is for one resource; %.100q and %.100q are two", out.resource, resource)
		}
		if out.resource == "" {
			out.resource = resource
		}
		out.asked = append(out.asked, word)
	}
	return out, nil
}

func trimSlashes(s string) string { return strings.TrimRight(s, "/") }

// audience is what aud shall say for a resource: the one that is known, with the slash at the end that was asked for.
// Nothing is known by a name that is not configured.
func (s *Server) audience(resource string) (string, error) {
	plain := trimSlashes(resource)
	for _, known := range append([]string{s.PublicURL}, s.Audiences...) {
		if known = trimSlashes(known); strings.EqualFold(known, plain) {
			if plain != resource {
				known += "/"
			}
			return known, nil
		}
	}
	return "", fault(http.StatusBadRequest, "invalid_scope", 500011, "the resource %.200q is not known here; this plane is %s", resource, s.PublicURL)
}
