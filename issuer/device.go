package issuer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/authn"
)

// How long a device's code is good, and how often the device may ask whether somebody typed it.
const (
	deviceLife   = 15 * time.Minute
	pollEvery    = 5 * time.Second
	pollEarly    = time.Second // not too fast yet: networks deliver unevenly
	maxPolls     = 10_000
	userCodeLen  = 8
	userCodeText = "BCDFGHJKLMNPQRSTVWXZ" // no vowels, so no words; nothing that looks like a digit
)

// What somebody may ask for, or guess wrong, without waiting.
var (
	deviceRate = authn.Limit{Burst: 30, Every: 2 * time.Second}
	guessRate  = authn.Limit{Burst: 10, Every: 30 * time.Second}
)

// poll is when a device asked last, and how long it has to wait between.
type poll struct {
	at    time.Time
	every time.Duration
}

// deviceBody is the answer of RFC 8628, section 3.2.
type deviceBody struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"`
	Interval   int64  `json:"interval"`
	Message    string `json:"message"`
}

// deviceCode gives a device that has no browser a code for a person to type elsewhere.
func (s *Server) deviceCode(w http.ResponseWriter, r *http.Request, f form) {
	out, err := s.newDevice(r, f)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	reply(w, http.StatusOK, out)
}

func (s *Server) newDevice(r *http.Request, f form) (*deviceBody, error) {
	a, err := s.ask(r, f)
	if err != nil {
		return nil, err
	}
	a.grant = grantDevice
	if wait := s.Auth.Spend("device", a.from, deviceRate, 1); wait > 0 {
		return nil, &oauthError{status: http.StatusTooManyRequests, code: "temporarily_unavailable", number: 50196, text: "too many device codes were asked for from this address", wait: wait}
	}
	client, _, err := s.prove(r.Context(), a)
	if err != nil {
		return nil, err
	}
	asked, audience, err := s.wanted(a)
	if err != nil {
		return nil, err
	}
	device, user := random(devicePrefix, 32), newUserCode()
	g := &ajar.Grant{
		Key: authn.HashSecret(device), Kind: ajar.GrantDevice, State: ajar.GrantOpen, Client: client.ID, Audience: audience, Scopes: asked.asked,
		UserCode: userCodeKey(user), From: a.from, Created: a.now, Expires: a.now.Add(deviceLife), Until: a.now.Add(2 * deviceLife),
	}
	if err := s.Store.Update(r.Context(), func(tx ajar.Tx) error {
		g.Rev = 0
		return tx.Put(g)
	}); err != nil {
		return nil, err
	}
	page := s.PublicURL + "/device"
	return &deviceBody{
		DeviceCode: device, UserCode: user, URI: page, Complete: page + "?user_code=" + user, ExpiresIn: int64(deviceLife / time.Second), Interval: int64(pollEvery / time.Second),
		Message: fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, user),
	}, nil
}

// newUserCode is a code that people can read out and type: 34 bits of chance, good for minutes, guessed a few times.
func newUserCode() string {
	var b strings.Builder
	for i := range userCodeLen {
		if i == userCodeLen/2 {
			b.WriteByte('-')
		}
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(userCodeText))))
		if err != nil {
			panic(err) // crypto/rand ends the program rather than fail
		}
		b.WriteByte(userCodeText[n.Int64()])
	}
	return b.String()
}

// userCodeKey is what is kept of a user code, however it was typed; "" for what cannot be one.
func userCodeKey(typed string) string {
	if len(typed) > 4*userCodeLen {
		return ""
	}
	code := strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' || r == '\t' {
			return -1
		}
		return r
	}, strings.ToUpper(typed))
	if len(code) != userCodeLen || strings.Trim(code, userCodeText) != "" {
		return ""
	}
	return authn.HashSecret("user code " + code)
}

// exchangeDevice answers a device that asks whether somebody has typed its code.
func (s *Server) exchangeDevice(ctx context.Context, a *ask) (*tokens, error) {
	client, acr, err := s.prove(ctx, a)
	if err != nil {
		return nil, err
	}
	code := a.get("device_code")
	if code == "" {
		code = a.get("code") // ADFS's name for it
	}
	if !strings.HasPrefix(code, devicePrefix) || len(code) > 100 {
		return nil, badGrant(70018, "the device code is malformed")
	}
	grant, err := s.grant(ctx, authn.HashSecret(code))
	if err != nil {
		return nil, err
	}
	switch {
	case grant.Kind != ajar.GrantDevice || !strings.EqualFold(grant.Client, client.ID):
		return nil, badGrant(70018, "the device code was given to another client")
	case grant.State == ajar.GrantUsed || grant.State == ajar.GrantEnded:
		return nil, badGrant(70000, "the device code was redeemed or revoked")
	case grant.State == ajar.GrantDenied:
		return nil, fault(http.StatusBadRequest, "access_denied", 65004, "the person said no")
	case !a.now.Before(grant.Expires):
		return nil, fault(http.StatusBadRequest, "expired_token", 70019, "the device code has expired; start again")
	case !s.mayPoll(grant.Key, a.now):
		return nil, fault(http.StatusBadRequest, "slow_down", 70016, "the device asks too often; wait five seconds longer between")
	case grant.State == ajar.GrantOpen:
		return nil, fault(http.StatusBadRequest, "authorization_pending", 70016, "nobody has typed the code yet; keep asking")
	}
	return s.redeem(ctx, a, grant, ajar.GrantAllowed, acr)
}

// mayPoll notes that a device asks, and reports whether it waited long enough. It is known to this
// replica alone: what is asked too often gets no answer sooner, and to share it each poll would be a write.
func (s *Server) mayPoll(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.polls[key]
	if !ok {
		if len(s.polls) >= maxPolls {
			clear(s.polls)
		}
		p.every = pollEvery
	}
	early := ok && now.Sub(p.at) < p.every-pollEarly
	if early {
		p.every += pollEvery
	}
	p.at = now
	s.polls[key] = p
	return !early
}

// deviceView is what the person who types a device's code is shown before they decide.
type deviceView struct {
	Client  Client
	From    netip.Addr // of the device: somebody who does not know it should say no
	Asked   time.Time
	Expires time.Time
}

// errNoCode does not tell a wrong code from an old one.
var errNoCode = ajar.Errorf(ajar.NotFound, "there is no such code, or it has expired")

// pendingDevice finds what waits for userCode, which may be typed in either case, with or without dash and spaces.
// NotFound if nothing does; TooMany after too many wrong codes from one address or by one person.
func (s *Server) pendingDevice(ctx context.Context, userCode string, who *session, from netip.Addr) (*deviceView, error) {
	var g *ajar.Grant
	err := s.guess(ctx, who, from, func() error {
		return s.Store.View(ctx, func(tx ajar.Tx) (err error) {
			g, err = findDevice(tx, userCode, s.Clock())
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	client, ok := s.client(g.Client)
	if !ok {
		client = Client{ID: g.Client, Name: g.Client}
	}
	return &deviceView{Client: client, From: g.From, Asked: g.Created, Expires: g.Expires}, nil
}

// guess runs find, and counts it where it finds nothing. It is counted before, and taken back after: however many come at
// once, no more of them look than may be wrong.
func (s *Server) guess(ctx context.Context, who *session, from netip.Addr, find func() error) error {
	end, wait, err := s.Auth.Guess(ctx, "user code", who.Principal, from, guessRate)
	if err != nil {
		return err
	}
	if wait > 0 {
		return ajar.Errorf(ajar.TooMany, "too many wrong codes; wait %s", wait.Round(time.Second))
	}
	err = find()
	end(errors.Is(err, ajar.NotFound))
	return err
}

func findDevice(tx ajar.Tx, userCode string, now time.Time) (*ajar.Grant, error) {
	key := userCodeKey(userCode)
	if key == "" {
		return nil, errNoCode
	}
	list, _, err := ajar.List[ajar.Grant](tx, ajar.Filter{Ref: key, States: []string{string(ajar.GrantDevice) + "/" + string(ajar.GrantOpen)}})
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || !now.Before(list[0].Expires) {
		return nil, errNoCode
	}
	return list[0], nil
}

// decideDevice lets the device that shows userCode sign in as who, or tells it no.
func (s *Server) decideDevice(ctx context.Context, userCode string, who *session, from netip.Addr, corr string, allow bool) error {
	return s.guess(ctx, who, from, func() error {
		return s.Store.Update(ctx, func(tx ajar.Tx) error {
			if err := still(tx, who); err != nil {
				return err
			}
			now := s.Clock().UTC().Truncate(time.Millisecond)
			g, err := findDevice(tx, userCode, now)
			if err != nil {
				return err
			}
			if allow && strings.EqualFold(g.Client, OwnClient) && !who.recent(now, 2*freshFor) {
				return ajar.Errorf(ajar.Forbidden, "you signed in too long ago; type the code again")
			}
			p, err := ajar.Get[ajar.Principal](tx, string(who.Principal))
			if err != nil {
				return err
			}
			if p.Disabled {
				return ajar.Errorf(ajar.Forbidden, "the account is disabled")
			}
			a := &ask{grant: grantDevice, from: from, corr: corr, now: now}
			e := s.event(a, p, g.Client)
			e.Via = "web"
			if g.State, e.Details["decision"] = ajar.GrantDenied, "denied"; allow {
				g.State, e.Details["decision"] = ajar.GrantAllowed, "allowed"
				g.Principal, g.Amr, g.AuthTime, g.Vouched = p.ID, who.AMR, who.AuthTime, who.Vouched
			}
			if g.From.IsValid() {
				e.Details["device"] = g.From.String()
			}
			if err := tx.Put(g); err != nil {
				return err
			}
			return tx.Append(e)
		})
	})
}
