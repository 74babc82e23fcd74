package issuer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// via is what browsers' doings are recorded as coming by.
const via = "web"

// visit is one request of a browser for a page.
type visit struct {
	s       *Server
	w       http.ResponseWriter
	r       *http.Request
	from    netip.Addr
	corr    string
	now     time.Time
	browser string // what forms are bound to; made if the browser had none
	who     *session
}

func (s *Server) visit(w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{s: s, w: w, r: r, from: s.Auth.Proxies.Client(r), corr: corrOf(r), now: s.Clock().UTC().Truncate(time.Millisecond), browser: cookie(r, browserCookie)}
	v.who, _ = s.session(r)
	return v
}

// caller is who is signed in, as the broker knows them.
func (v *visit) caller() ajar.Caller {
	return ajar.Caller{Principal: v.who.Principal, Name: v.who.Name, Groups: v.who.Vouched.Groups, Until: v.who.Vouched.Until, From: v.from, Via: via, Corr: v.corr,
		AuthTime: v.who.AuthTime, Amr: v.who.AMR, Session: v.who.ID}
}

// login is an attempt of p's, as it is throttled and recorded.
func (v *visit) login(details map[string]string) authn.Login {
	return authn.Login{From: v.from, Via: via, Corr: v.corr, Details: details}
}

// pageHandler answers with a page.
type pageHandler func(v *visit)

// mount enters a page. No form of it is looked at that does not come from a page of ours, in the browser that it was
// given to.
func (s *Server) mount(mux *http.ServeMux, pattern string, do pageHandler) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		v := s.visit(w, r)
		if r.Method == http.MethodPost {
			r.Body = http.MaxBytesReader(w, r.Body, maxForm)
			if err := r.ParseForm(); err != nil {
				s.errorPage(w, r, http.StatusBadRequest, "The request is not a form, or it is too long.")
				return
			}
			if !s.sameOrigin(r) || !v.holds(r.PostForm.Get("csrf"), "") {
				s.errorPage(w, r, http.StatusForbidden, "The form is out of date, or it came from another page. Nothing was done. Go back, load the page again, and try once more.")
				return
			}
		}
		do(v)
	})
}

// signedIn is do for whoever is signed in; others sign in first.
func signedIn(do pageHandler) pageHandler {
	return func(v *visit) {
		if v.who == nil {
			v.first("")
			return
		}
		do(v)
	}
}

// fresh is do for whoever proved lately who they are: a browser left alone, or a stolen cookie, does not change how
// somebody signs in.
func fresh(do pageHandler) pageHandler {
	return signedIn(func(v *visit) {
		if v.now.Sub(v.who.AuthTime) > freshFor {
			v.first(v.who.Name)
			return
		}
		do(v)
	})
}

// first has somebody sign in before the page that they asked for; what they posted is not carried on.
func (v *visit) first(name string) {
	r := v.r
	if r.Method == http.MethodPost {
		r = r.Clone(r.Context())
		r.URL = &url.URL{Path: "/account"}
		if strings.HasPrefix(v.r.URL.Path, "/device") {
			r.URL.Path = "/device"
		}
	}
	v.s.toSignIn(v.w, r, name)
}

// sameOrigin refuses what the browser says comes from another site, or from nowhere.
func (s *Server) sameOrigin(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	return strings.EqualFold(origin, s.origin) || strings.EqualFold(origin, "https://"+r.Host)
}

// originOf is scheme and host of a URL.
func originOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// token is what a form of this browser must bring back: it is bound to the browser, to who is signed in there, and to
// what the form is for.
func (v *visit) token(purpose string) string {
	mac := hmac.New(sha256.New, []byte(v.browser))
	io.WriteString(mac, "form\n"+cookie(v.r, sessionCookie)+"\n"+cookie(v.r, halfCookie)+"\n"+purpose) //nolint:errcheck // a hash takes everything
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// holds reports whether a form brought its token.
func (v *visit) holds(token, purpose string) bool {
	return len(v.browser) >= 40 && subtle.ConstantTimeCompare([]byte(token), []byte(v.token(purpose))) == 1
}

// safeNext is where a browser may be sent after signing in: a path of this host, or "".
func safeNext(next string) string {
	if len(next) > 16<<10 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\#") {
		return ""
	}
	for _, c := range []byte(next) {
		if c <= ' ' || c >= 0x7f { // browsers drop tabs and line ends, and what is left may be another host
			return ""
		}
	}
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || strings.HasPrefix(u.Path, "//") {
		return ""
	}
	if first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/"); first == "signin" || first == "signout" || first == "static" {
		return ""
	}
	return next
}

// next is where the page's form goes on to.
func (v *visit) next() string {
	if v.r.Method == http.MethodPost {
		return safeNext(v.r.PostForm.Get("next"))
	}
	return safeNext(v.r.URL.Query().Get("next"))
}

// redirect sends the browser to a path of ours, with pairs of a query; empty values are left out.
func (v *visit) redirect(path string, pairs ...string) {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	h := v.w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Location", path)
	v.w.WriteHeader(http.StatusSeeOther)
}

// isPage reports whether next is one of the pages for people.
func isPage(next string) bool {
	u, err := url.Parse(next)
	if err != nil {
		return false
	}
	first, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return slices.Contains(pageRoots, first)
}
