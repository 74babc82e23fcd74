package issuer

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
)

// upstreamButton is a provider that people can sign in with, on the sign-in page.
type upstreamButton struct {
	Name  string // in the path /signin/with/{name}
	Title string
}

// upstreams are the buttons to show; none without providers.
func (s *Server) upstreams() (out []upstreamButton) {
	for _, p := range s.others {
		out = append(out, upstreamButton{p.Name, p.Title})
	}
	return out
}

// mountUpstreams enters /signin/with/{name} and /signin/callback/{name}.
func (s *Server) mountUpstreams(mux *http.ServeMux) {
	s.mount(mux, "GET /signin/with/{name}", s.toUpstream)
	s.mount(mux, "GET /signin/callback/{name}", s.fromUpstream)
}

const (
	awayCookie  = "__Host-ajar-away" // a browser is at a provider
	awayFor     = 10 * time.Minute
	maxAway     = 3500 // what browsers keep as a cookie, with its name and attributes
	maxCallback = 8 << 10
)

// awayRate bounds what comes back and leads nowhere, by address: each asks the provider something.
var awayRate = authn.Limit{Burst: 20, Every: 3 * time.Second}

// away is a browser that was sent to a provider. It is kept by the browser alone, sealed: strangers who come and do not
// go on leave nothing here.
type away struct {
	At       time.Time
	State    string
	Nonce    string
	Verifier string // of PKCE
	Next     string
}

func awaySeal(p *provider) string { return "upstream " + p.Name + "\n" + p.Issuer + "\n" + p.ClientID }

func (s *Server) upstream(name string) *provider {
	for _, p := range s.others {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (p *provider) callback(s *Server) string { return s.PublicURL + "/signin/callback/" + p.Name }

// toUpstream sends a browser to a provider.
func (s *Server) toUpstream(v *visit) {
	p := s.upstream(v.r.PathValue("name"))
	if p == nil || s.Vault == nil {
		s.errorPage(v.w, v.r, http.StatusNotFound, "There is no such provider.")
		return
	}
	t, err := p.discover(v.r.Context())
	if err != nil {
		s.log.WarnContext(v.r.Context(), "upstream not reached", "upstream", p.Name, "corr", v.corr, "err", err)
		s.errorPage(v.w, v.r, http.StatusServiceUnavailable, p.Title+" cannot be reached just now, so nobody can sign in with it. Try again.")
		return
	}
	a := away{At: v.now, State: random("", 32), Nonce: random("", 32), Verifier: oauth2.GenerateVerifier(), Next: v.next()}
	sealed := s.seal(p, &a)
	if len(sealed) > maxAway {
		a.Next = "" // the person finds the way from the account page; the sign-in goes before
		sealed = s.seal(p, &a)
	}
	setCookie(v.w, awayCookie, sealed)
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if v.who != nil { // to show that it is still them, which the provider's own session does not
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	}
	v.w.Header().Set("Cache-Control", "no-store")
	v.w.Header().Set("Location", p.config(t, p.callback(s)).AuthCodeURL(a.State, options...))
	v.w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) seal(p *provider, a *away) string {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // text and a time have JSON
	}
	return base64.RawURLEncoding.EncodeToString(s.Vault.Wrap(awaySeal(p), b))
}

// errAway does not say which of the checks failed.
var errAway = ajar.Errorf(ajar.Forbidden, "this sign-in was not begun in this browser, it is over, or it took too long; begin again")

// back is what a browser was sent away with, if it is the one that comes back: the state is known to it and the provider
// alone.
func (v *visit) back(p *provider) (*away, error) {
	b, err := base64.RawURLEncoding.DecodeString(cookie(v.r, awayCookie))
	if err == nil {
		b, err = v.s.Vault.Unwrap(awaySeal(p), b)
	}
	a := &away{}
	if err == nil {
		err = json.Unmarshal(b, a)
	}
	q := v.r.URL.Query()
	if err != nil || len(q["state"]) != 1 || subtle.ConstantTimeCompare([]byte(a.State), []byte(q.Get("state"))) != 1 || v.now.Sub(a.At) > awayFor || v.now.Before(a.At.Add(-time.Minute)) {
		return nil, errAway
	}
	return a, nil
}

// fromUpstream takes a browser that comes back from a provider, and signs in whom that knows.
func (s *Server) fromUpstream(v *visit) {
	p := s.upstream(v.r.PathValue("name"))
	if p == nil || s.Vault == nil || len(v.r.URL.RawQuery) > maxCallback {
		s.errorPage(v.w, v.r, http.StatusNotFound, "There is no such provider.")
		return
	}
	if wait := s.Auth.Spend("upstream", v.from, awayRate, 0); wait > 0 {
		v.w.Header().Set("Retry-After", strconv.Itoa(int(wait/time.Second)+1))
		s.errorPage(v.w, v.r, http.StatusTooManyRequests, "Too many sign-ins from this address led nowhere. Wait a minute.")
		return
	}
	to, err := s.arrive(v, p)
	if err != nil {
		s.Auth.Spend("upstream", v.from, awayRate, 1)
		s.log.WarnContext(v.r.Context(), "upstream sign-in refused", "upstream", p.Name, "corr", v.corr, "err", err)
		status, text := v.trouble(err)
		s.errorPage(v.w, v.r, status, text)
		return
	}
	dropCookie(v.w, awayCookie)
	to()
}

// arrive checks who came back, and signs them in, wholly or half; to leads on.
func (s *Server) arrive(v *visit, p *provider) (to func(), err error) {
	a, err := v.back(p)
	if err != nil {
		return nil, err
	}
	ctx := v.r.Context()
	t, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	q := v.r.URL.Query()
	if is := q["iss"]; len(is) > 1 || (len(is) == 1 && is[0] != p.Issuer) || (len(is) == 0 && t.SaysIssuer) {
		return nil, ajar.Errorf(ajar.Forbidden, "the answer is another provider's than %s", p.Title)
	}
	if code := q.Get("error"); code != "" {
		return nil, ajar.Because(ajar.Forbidden, errors.New(clip(code, 100)), "%s did not sign you in", p.Title)
	}
	if len(q["code"]) != 1 {
		return nil, errAway
	}
	refuse := func(err error) error {
		if ajar.KindOf(err) != ajar.Internal {
			return err
		}
		return ajar.Because(ajar.Forbidden, err, "%s did not prove who you are; begin again", p.Title)
	}
	who, raw, err := p.exchange(ctx, t, p.callback(s), q.Get("code"), a)
	if err != nil {
		return nil, refuse(err)
	}
	name := who.name
	if name == "" {
		name = who.subject
	}
	principal, err := s.Broker.Arrive(ctx, broker.Arrival{
		Link: ajar.Link{Issuer: p.Issuer, Subject: who.subject}, Provider: p.Name, Name: name, Display: who.display, Create: p.Create, From: v.from, Via: via, Corr: v.corr,
	})
	if err != nil {
		return nil, err
	}
	groups, err := s.ours(ctx, p, who.theirs)
	if err != nil {
		return nil, err
	}
	like := &ajar.Session{Provider: p.Name, Vouched: ajar.Vouched{Groups: groups}, AuthTime: who.authTime}
	if len(raw) <= maxHint {
		like.Hint = s.Vault.Wrap(hintSeal(p, principal.ID), []byte(raw))
	}
	return s.letIn(v, p, principal, who.amr, like, a)
}

// letIn signs in who arrived, or asks them for more first. What they went away with is used up with it.
func (s *Server) letIn(v *visit, p *provider, who *ajar.Principal, amr []string, like *ajar.Session, a *away) (to func(), err error) {
	details := map[string]string{"upstream": p.Name, "groups": strconv.Itoa(len(like.Vouched.Groups))}
	once := func(tx ajar.Tx) error {
		mac := hmac.New(sha256.New, []byte(a.State))
		mac.Write([]byte(awaySeal(p)))
		err := tx.Put(&ajar.Session{Key: authn.HashSecret("away " + string(mac.Sum(nil))), State: ajar.SessionUsed, Created: v.now, Expires: v.now.Add(2 * awayFor)})
		if errors.Is(err, ajar.Conflict) {
			return errAway
		}
		return err
	}
	if who.Kind != ajar.User {
		return nil, ajar.Errorf(ajar.Forbidden, "programs do not sign in with a browser")
	}
	if who.Disabled {
		return nil, s.Auth.Refuse(v.r.Context(), who, v.login(details), ajar.Errorf(ajar.Forbidden, "the account is disabled"))
	}
	if p.Ours {
		list, err := s.Auth.Factors(v.r.Context(), who.ID)
		if err != nil {
			return nil, err
		}
		if s.Auth.Asks(list) {
			e := v.newEntry(who, ajar.SessionHalf, amr...)
			e.like(like)
			err := s.Store.Update(v.r.Context(), func(tx ajar.Tx) error { return errors.Join(once(tx), e.put(tx)) })
			if err != nil {
				return nil, err
			}
			v.hand(e)
			return func() { v.redirect(nextStep(s, e.doc, list), "next", a.Next) }, nil
		}
	}
	if err := v.enter(who, amr, like, details, once); err != nil {
		return nil, err
	}
	return func() { v.goOn(a.Next) }, nil
}

// maxHint is how long an id token may be that is kept for signing out: it goes in an address.
const maxHint = 4 << 10

func hintSeal(p *provider, who ajar.PrincipalID) string {
	return "hint " + p.Name + "\n" + p.Issuer + "\n" + string(who)
}

// signOutThere is where a browser signs out at the provider that it signed in with; "" for nowhere. That the provider
// does not answer keeps nobody signed in here.
func (s *Server) signOutThere(v *visit) string {
	doc, who, err := s.readSession(v.r.Context(), cookie(v.r, sessionCookie), ajar.SessionWhole)
	if err != nil || doc.Provider == "" {
		return ""
	}
	p := s.upstream(doc.Provider)
	if p == nil {
		return ""
	}
	t, err := p.discover(v.r.Context())
	if err != nil || t.EndSession == "" {
		return ""
	}
	to, err := url.Parse(t.EndSession)
	if err != nil {
		return ""
	}
	q := to.Query()
	q.Set("client_id", p.ClientID)
	q.Set("post_logout_redirect_uri", s.PublicURL+"/signin")
	if len(doc.Hint) > 0 {
		if hint, err := s.Vault.Unwrap(hintSeal(p, who.ID), doc.Hint); err == nil {
			q.Set("id_token_hint", string(hint))
		}
	}
	to.RawQuery = q.Encode()
	return to.String()
}
