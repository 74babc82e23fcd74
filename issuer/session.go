package issuer

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// The cookies there are. The prefix has browsers take them over TLS alone, from this host alone, for all of it: nobody
// else's page, on a neighbouring host or in clear text, can plant one.
const (
	sessionCookie = "__Host-ajar-session" // somebody is signed in
	halfCookie    = "__Host-ajar-signin"  // somebody is about to be
	browserCookie = "__Host-ajar-browser" // what forms are bound to, signed in or not
)

// How long sessions last that the configuration says nothing of, and what is asked for again sooner.
const (
	defaultIdle     = time.Hour
	defaultLifetime = 12 * time.Hour
	halfLife        = 10 * time.Minute
	mustSetLife     = time.Hour       // after a one-time password: long enough to think of another
	freshFor        = 5 * time.Minute // after which changing how one signs in takes signing in again
	seenEvery       = time.Minute     // how often it is written down that a session is used
	maxAgent        = 200
)

// session is a person who signed in with this browser.
type session struct {
	ID        string
	Principal ajar.PrincipalID
	Name      string
	AuthTime  time.Time // when they proved who they are
	AMR       []string  // how: pwd, otp, hwk, mfa, fed …
	Vouched   ajar.Vouched
}

// session is whose browser r comes from; not ok if nobody is signed in there. It is read from the store each time, so
// that a session ended anywhere is ended here.
func (s *Server) session(r *http.Request) (*session, bool) {
	doc, p, err := s.readSession(r.Context(), cookie(r, sessionCookie), ajar.SessionWhole)
	if err != nil {
		if !errors.Is(err, ajar.NotFound) {
			s.log.WarnContext(r.Context(), "session not read", "err", err)
		}
		return nil, false
	}
	s.seen(r.Context(), doc)
	return &session{ID: doc.Key, Principal: p.ID, Name: p.Name, AuthTime: doc.AuthTime, AMR: doc.Amr, Vouched: doc.Vouched}, true
}

// recent reports whether the person proved who they are within d, or what is given in their name ends with another
// provider's word anyway.
func (who *session) recent(now time.Time, d time.Duration) bool {
	return !who.Vouched.Until.IsZero() || now.Sub(who.AuthTime) <= d
}

// still refuses who was signed out since they were read, in the transaction that gives something in their name: what ends
// a session, such as a change of a stolen password, ends what was given before, and cannot end what is given after.
func still(tx ajar.Tx, who *session) error {
	doc, err := ajar.Get[ajar.Session](tx, who.ID)
	if errors.Is(err, ajar.NotFound) || (err == nil && (doc.State != ajar.SessionWhole || doc.Principal != who.Principal)) {
		return ajar.Errorf(ajar.Forbidden, "the sign-in has ended; begin again")
	}
	return err
}

// readSession finds the session that a cookie stands for, and whose it is; NotFound unless it is good now.
func (s *Server) readSession(ctx context.Context, text string, state ajar.SessionState) (doc *ajar.Session, p *ajar.Principal, err error) {
	none := ajar.Errorf(ajar.NotFound, "nobody is signed in here")
	if len(text) < 40 || len(text) > 100 {
		return nil, nil, none
	}
	now := s.Clock()
	err = s.Store.View(ctx, func(tx ajar.Tx) (err error) {
		if doc, err = ajar.Get[ajar.Session](tx, authn.HashSecret(text)); err != nil {
			return err
		}
		if doc.State != state || !now.Before(doc.Entry().Until) {
			return none
		}
		if p, err = ajar.Get[ajar.Principal](tx, string(doc.Principal)); err == nil && p.Disabled {
			err = none
		}
		return err
	})
	return doc, p, err
}

// seen writes down, now and then, that a session is used.
func (s *Server) seen(ctx context.Context, doc *ajar.Session) {
	now := s.Clock().UTC().Truncate(time.Millisecond)
	if now.Sub(doc.Seen) < seenEvery {
		return
	}
	err := s.Store.Update(ctx, func(tx ajar.Tx) error {
		d, err := ajar.Get[ajar.Session](tx, doc.Key)
		if err != nil {
			return err
		}
		d.Seen, d.Idle = now, now.Add(s.SessionIdle)
		return tx.Put(d)
	})
	if err != nil && !errors.Is(err, ajar.NotFound) {
		s.log.WarnContext(ctx, "session not refreshed", "err", err)
	}
}

// entry is a session being made: its cookie, what is kept of it, and which sessions of this browser it replaces.
type entry struct {
	cookie string
	text   string
	doc    *ajar.Session
	drop   []string
}

// newEntry makes a session of p's, whole or half. Its cookie is a new one, whatever the browser had.
func (v *visit) newEntry(p *ajar.Principal, state ajar.SessionState, amr ...string) *entry {
	e := &entry{cookie: sessionCookie, text: random("", 32)}
	e.doc = &ajar.Session{
		Key: authn.HashSecret(e.text), State: state, Principal: p.ID, Amr: amr, AuthTime: v.now, From: v.from, Agent: clip(v.r.UserAgent(), maxAgent),
		Created: v.now, Seen: v.now, Idle: v.now.Add(v.s.SessionIdle), Expires: v.now.Add(v.s.SessionLifetime),
	}
	if state == ajar.SessionHalf {
		e.cookie = halfCookie
		e.doc.Expires = v.now.Add(halfLife)
	} else if had := cookie(v.r, sessionCookie); had != "" {
		e.drop = append(e.drop, authn.HashSecret(had))
	}
	if had := cookie(v.r, halfCookie); had != "" {
		e.drop = append(e.drop, authn.HashSecret(had))
	}
	return e
}

// put writes it down, in place of what this browser had.
func (e *entry) put(tx ajar.Tx) error {
	for _, key := range e.drop {
		if err := tx.Delete(ajar.KindSession, key); err != nil && !errors.Is(err, ajar.NotFound) {
			return err
		}
	}
	e.doc.Rev = 0
	return tx.Put(e.doc)
}

// hand gives the browser its cookie, once the session is written down.
func (v *visit) hand(e *entry) {
	setCookie(v.w, e.cookie, e.text)
	if e.cookie == sessionCookie && cookie(v.r, halfCookie) != "" {
		dropCookie(v.w, halfCookie)
	}
}

// like has the session be of the same sign-in elsewhere as another, or as what the provider said; nil = of none.
func (e *entry) like(other *ajar.Session) {
	if other == nil || other.Provider == "" {
		return
	}
	e.doc.Provider, e.doc.Vouched, e.doc.Hint = other.Provider, other.Vouched, other.Hint
	if e.doc.Vouched.Until = e.doc.Expires; other.State == "" {
		e.doc.AuthTime = other.AuthTime
	}
}

// enter signs p in with this browser; elsewhere is what a provider had to do with it, if one had. also is written in the same transaction, or nothing is. What is in details is
// recorded.
func (v *visit) enter(p *ajar.Principal, amr []string, elsewhere *ajar.Session, details map[string]string, also func(tx ajar.Tx) error) error {
	e := v.newEntry(p, ajar.SessionWhole, amr...)
	e.like(elsewhere)
	err := v.s.Store.Update(v.r.Context(), func(tx ajar.Tx) error {
		now, err := ajar.Get[ajar.Principal](tx, string(p.ID))
		if errors.Is(err, ajar.NotFound) || (err == nil && now.Disabled) {
			return ajar.Errorf(ajar.Forbidden, "the account is disabled or gone")
		} else if err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		if err := e.put(tx); err != nil {
			return err
		}
		if err := v.s.Auth.Remember(tx, p, v.from, v.now); err != nil {
			return err
		}
		details["session"] = authn.ShortHash(e.doc.Key)
		return tx.Append(ajar.Event{
			Time: v.now, Action: ajar.SignIn, Outcome: ajar.Accepted, Caller: p.ID, Name: p.Name, From: v.from, Via: via, Corr: v.corr, Details: details,
		})
	})
	if err == nil {
		v.hand(e)
	}
	return err
}

// renew gives the browser another cookie for the session that it has, which was proven by amr, too: whoever has a copy of
// the one before is out.
func (v *visit) renew(amr ...string) error {
	text := random("", 32)
	err := v.s.Store.Update(v.r.Context(), func(tx ajar.Tx) error {
		if err := still(tx, v.who); err != nil {
			return err
		}
		doc, err := ajar.Get[ajar.Session](tx, v.who.ID)
		if err != nil {
			return err
		}
		if err := tx.Delete(ajar.KindSession, doc.Key); err != nil {
			return err
		}
		doc.Stamp, doc.Key, doc.Amr = ajar.Stamp{}, authn.HashSecret(text), append(slices.Clone(doc.Amr), amr...)
		return tx.Put(doc)
	})
	if err == nil {
		setCookie(v.w, sessionCookie, text)
	}
	return err
}

// endSession signs the browser out: the session ends in the store, and its cookie goes.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	text := cookie(r, sessionCookie)
	doc, p, err := s.readSession(r.Context(), text, ajar.SessionWhole)
	if err == nil {
		now := s.Clock().UTC().Truncate(time.Millisecond)
		err = s.Store.Update(r.Context(), func(tx ajar.Tx) error {
			if err := tx.Delete(ajar.KindSession, doc.Key); err != nil {
				return err
			}
			return tx.Append(ajar.Event{
				Time: now, Action: ajar.SignOut, Outcome: ajar.Accepted, Caller: p.ID, Name: p.Name, From: s.Auth.Proxies.Client(r), Via: via, Corr: corrOf(r),
				Details: map[string]string{"session": authn.ShortHash(doc.Key)},
			})
		})
	}
	if err != nil && !errors.Is(err, ajar.NotFound) {
		return err
	}
	for _, name := range []string{sessionCookie, halfCookie, browserCookie} {
		if cookie(r, name) != "" {
			dropCookie(w, name)
		}
	}
	return nil
}

// cookie is what r brings under that name; "" for none, and for more than one, which no browser of ours has.
func cookie(r *http.Request, name string) string {
	all := r.CookiesNamed(name)
	if len(all) != 1 {
		return ""
	}
	return all[0].Value
}

// setCookie gives the browser a cookie that scripts do not see and other sites' requests do not bring, but for their
// links. The store knows how long it is good; the browser forgets it when it is closed.
func setCookie(w http.ResponseWriter, name, value string) {
	http.SetCookie(w, &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

func dropCookie(w http.ResponseWriter, name string) {
	http.SetCookie(w, &http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// clip is s on one line, of at most n bytes.
func clip(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}
