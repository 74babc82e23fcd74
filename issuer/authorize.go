package issuer

import (
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// How long a code is good: a browser brings it to the client at once.
const codeLife = 2 * time.Minute

// wish is what a client asks of a person's browser (RFC 6749, section 4.1.1).
type wish struct {
	ask
	client   Client
	redirect string
	mode     string // how the answer goes back
	scopes   scopes
	audience string
	prompt   []string
	maxAge   time.Duration // how long ago the person may have signed in; negative = however long
}

// authorize has a person sign in, and sends the client a code for it.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, f form) {
	if r.Method == http.MethodPost && r.URL.Query().Get("client_id") == "" {
		s.asGet(w, r)
		return
	}
	h, err := s.wish(r, f)
	if err != nil {
		s.errorPage(w, r, asFault(err).status, asFault(err).text)
		return
	}
	if err := s.refine(h); err != nil {
		s.sendBack(w, r, h, asFault(err).params())
		return
	}
	who, ok := s.session(r)
	old := ok && h.maxAge >= 0 && h.now.Sub(who.AuthTime) > h.maxAge
	switch {
	case h.prompts("none") && (!ok || old):
		text := "nobody is signed in with this browser"
		if old {
			text = "the person signed in longer ago than max_age"
		}
		s.sendBack(w, r, h, map[string]string{"error": "login_required", "error_description": text})
		return
	case !ok, h.prompts("login"), old:
		s.toSignIn(w, withoutPrompt(r, "login"), h.get("login_hint"))
		return
	}
	// Public clients are whoever listens at the address, so a person says yes to each; others are known by theirs.
	if question := (askFirst{Client: h.client, Redirect: h.redirect}); h.client.Public || h.prompts("consent") || h.prompts("select_account") {
		switch {
		case h.prompts("none"):
			s.sendBack(w, r, h, map[string]string{"error": "interaction_required", "error_description": "the person has to agree on a page"})
			return
		case r.Method != http.MethodPost || !s.confirmed(r, who, question):
			s.askTo(w, r, who, question)
			return
		}
	}
	code, err := s.newCode(r, h, who)
	if err != nil {
		s.sendBack(w, r, h, asFault(err).params())
		return
	}
	s.sendBack(w, r, h, map[string]string{"code": code})
}

// asGet turns a form that a client's page posted into an address that can be come back to.
func (s *Server) asGet(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		s.errorPage(w, r, http.StatusBadRequest, "The request is not a form.")
		return
	}
	to := url.URL{Path: r.URL.Path, RawQuery: r.PostForm.Encode()}
	if r.PostForm.Get("client_id") == "" || len(to.RawQuery) > 8<<10 {
		s.errorPage(w, r, http.StatusBadRequest, "The request does not say which application it is of.")
		return
	}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

// wish reads who asks and where the answer goes. As long as that is not sure, nothing is sent anywhere.
func (s *Server) wish(r *http.Request, f form) (*wish, error) {
	params, err := parseForm(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	h := &wish{ask: ask{form: f, params: params, grant: grantCode, from: s.Auth.Proxies.Client(r), corr: corrOf(r), now: s.Clock().UTC().Truncate(time.Millisecond)}}
	var ok bool
	if h.client, ok = s.client(params.Get("client_id")); !ok {
		return nil, fault(http.StatusBadRequest, "unauthorized_client", 700016, "the application %.60q is not known here", params.Get("client_id"))
	}
	if h.redirect = params.Get("redirect_uri"); !h.client.redirects(h.redirect) {
		return nil, fault(http.StatusBadRequest, "invalid_request", 50011, "the redirect URI %.100q is not one that is registered for %s", h.redirect, h.client.Name)
	}
	return h, nil
}

// refine reads the rest. What is wrong here the client is told.
func (s *Server) refine(h *wish) (err error) {
	switch h.mode = h.get("response_mode"); h.mode {
	case "", "query", "form_post":
	default:
		mode := h.mode
		h.mode = ""
		return badRequest("the response_mode %.30q is not supported; query and form_post are", mode)
	}
	if t := h.get("response_type"); t != "code" {
		return fault(http.StatusBadRequest, "unsupported_response_type", 700051, "the response_type %.40q is not supported; code is", t)
	}
	if h.get("request") != "" {
		return fault(http.StatusBadRequest, "request_not_supported", 900144, "request objects are not supported")
	}
	if h.get("request_uri") != "" {
		return fault(http.StatusBadRequest, "request_uri_not_supported", 900144, "request objects are not supported")
	}
	challenge, method := h.get("code_challenge"), h.get("code_challenge_method")
	switch {
	case challenge == "" && h.client.Public:
		return badRequest("proof key for code exchange is required: send code_challenge")
	case challenge == "" && h.get("nonce") == "":
		// A code that somebody else's browser got must not be good in this one (RFC 9700, section 2.1.1).
		return badRequest("a proof key (code_challenge) or a nonce is required, so that nobody is handed another's code")
	case challenge != "" && method != "S256":
		return badRequest("the code_challenge_method must be S256")
	case challenge != "" && !verifierForm(challenge, 43, 43):
		return badRequest("the code_challenge is not a SHA-256 in base64url")
	case len(h.get("state")) > maxURL || len(h.get("nonce")) > maxURL:
		return badRequest("state and nonce can have at most %d bytes", maxURL)
	}
	h.maxAge = -1
	if v := h.get("max_age"); v != "" {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return badRequest("the max_age %.20q is not a number of seconds", v)
		}
		h.maxAge = time.Duration(n) * time.Second
	}
	h.prompt = strings.Fields(h.get("prompt"))
	if h.prompts("none") && len(h.prompt) > 1 {
		return badRequest("prompt=none goes with no other")
	}
	h.scopes, h.audience, err = s.wanted(&h.ask)
	return err
}

func (h *wish) prompts(what string) bool {
	for _, p := range h.prompt {
		if p == what {
			return true
		}
	}
	return false
}

// withoutPrompt is r as it shall be come back to: who signed in anew is not asked to again.
func withoutPrompt(r *http.Request, what string) *http.Request {
	q := r.URL.Query()
	var rest []string
	for _, p := range strings.Fields(q.Get("prompt")) {
		if p != what {
			rest = append(rest, p)
		}
	}
	q.Del("prompt")
	if len(rest) > 0 {
		q.Set("prompt", strings.Join(rest, " "))
	}
	q.Del("max_age") // who comes back signed in just now
	again := r.Clone(r.Context())
	again.URL.RawQuery = q.Encode()
	return again
}

// newCode keeps what who agreed to, under a code.
func (s *Server) newCode(r *http.Request, h *wish, who *session) (string, error) {
	code := random(codePrefix, 32)
	g := &ajar.Grant{
		Key: authn.HashSecret(code), Kind: ajar.GrantCode, State: ajar.GrantOpen, Client: h.client.ID, Principal: who.Principal,
		Audience: h.audience, Scopes: h.scopes.asked, Nonce: h.get("nonce"), Redirect: h.redirect, Challenge: h.get("code_challenge"),
		Amr: who.AMR, AuthTime: who.AuthTime, Vouched: who.Vouched, From: h.from, Created: h.now, Expires: h.now.Add(codeLife), Until: h.now.Add(s.RefreshLifetime),
	}
	err := s.Store.Update(r.Context(), func(tx ajar.Tx) error {
		if err := still(tx, who); errors.Is(err, ajar.Forbidden) {
			return fault(http.StatusForbidden, "access_denied", 50173, "%s", ajar.Message(err))
		} else if err != nil {
			return err
		}
		p, err := ajar.Get[ajar.Principal](tx, string(who.Principal))
		if errors.Is(err, ajar.NotFound) || (err == nil && p.Disabled) {
			return fault(http.StatusForbidden, "access_denied", 50057, "the account is disabled or gone")
		} else if err != nil {
			return err
		}
		g.Rev = 0
		return tx.Put(g)
	})
	return code, err
}

// params is a refusal as a client's redirect is told of it.
func (e *oauthError) params() map[string]string {
	code := e.code
	if code == "invalid_grant" || code == "invalid_client" {
		code = "access_denied"
	}
	return map[string]string{"error": code, "error_description": "AADSTS" + strconv.Itoa(e.number) + ": " + e.text}
}

// sendBack tells the client, through the browser. iss says who answers, so that a client of several issuers is not
// fooled about whose code it has (RFC 9207).
func (s *Server) sendBack(w http.ResponseWriter, r *http.Request, h *wish, params map[string]string) {
	params["iss"] = h.issuer
	if state := h.get("state"); state != "" {
		params["state"] = state
	}
	w.Header().Set("Cache-Control", "no-store")
	if h.mode == "form_post" {
		s.postBack(w, h.redirect, params)
		return
	}
	to, err := url.Parse(h.redirect)
	if err != nil {
		s.errorPage(w, r, http.StatusBadRequest, "the redirect URI cannot be read")
		return
	}
	q := to.Query()
	for name, v := range params {
		q.Set(name, v)
	}
	to.RawQuery = q.Encode()
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusSeeOther)
}

// postPage posts by itself where scripts run, and by a button where they do not.
var postPage = template.Must(template.New("post").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Going back</title></head>
<body><form method="post" action="{{.To}}">{{range $k, $v := .Params}}<input type="hidden" name="{{$k}}" value="{{$v}}">{{end}}
<p>You are being taken back to the application.</p><button>Continue</button></form>
<script nonce="{{.Nonce}}">document.forms[0].submit()</script></body></html>
`))

// postBack sends params with the body of a form (OAuth 2.0 Form Post Response Mode).
func (s *Server) postBack(w http.ResponseWriter, to string, params map[string]string) {
	u, err := url.Parse(to)
	if err != nil {
		http.Error(w, "the redirect URI cannot be read", http.StatusBadRequest)
		return
	}
	nonce := random("", 16)
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+nonce+"'; form-action "+u.Scheme+"://"+u.Host+"; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	// template.URL: it is registered, so it has a scheme that a code may go to.
	err = postPage.Execute(w, map[string]any{"To": template.URL(to), "Params": params, "Nonce": nonce}) //nolint:gosec // see above
	if err != nil {
		s.log.Warn("answer broke off", "err", err)
	}
}

// verifierForm reports whether s has the form of RFC 7636, section 4.1, and from lo to hi characters.
func verifierForm(s string, lo, hi int) bool {
	return len(s) >= lo && len(s) <= hi && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~") == ""
}
