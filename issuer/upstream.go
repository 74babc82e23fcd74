package issuer

import "net/http"

// upstreamButton is a provider that people can sign in with, on the sign-in page.
type upstreamButton struct {
	Name  string // in the path /signin/with/{name}
	Title string
}

// upstreams are the buttons to show; none without providers.
func (s *Server) upstreams() []upstreamButton { return nil }

// mountUpstreams enters /signin/with/{name} and /signin/callback/{name}.
func (s *Server) mountUpstreams(*http.ServeMux) {}
