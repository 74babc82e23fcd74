package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/ajar-access/ajar"
)

// Limits on what a provider says of somebody.
const (
	maxIDToken  = 64 << 10
	maxTheirs   = 1000 // groups
	clocksApart = 5 * time.Minute
)

// said is what a provider says of somebody.
type said struct {
	subject  string
	name     string
	display  string
	amr      []string
	authTime time.Time
	theirs   []string // their groups, as the provider names them
}

// read takes out of what a provider says what is needed, and refuses what is not as it should be.
func (p *provider) read(id *oidc.IDToken, claims map[string]json.RawMessage) (*said, error) {
	now := p.clock()
	text := func(name string) (s string) {
		if json.Unmarshal(claims[name], &s) != nil {
			return ""
		}
		return s
	}
	azp, has := claims["azp"]
	switch {
	case has && text("azp") != p.ClientID:
		return nil, fmt.Errorf("the id token was made for another client, %s", azp)
	case len(id.Audience) > 1 && !has:
		return nil, errors.New("the id token is for several, and does not say for whom it was made")
	case id.Subject == "" || len(id.Subject) > 255:
		return nil, errors.New("the id token has no subject of 1 to 255 characters")
	case id.IssuedAt.IsZero() || id.IssuedAt.After(now.Add(clocksApart)):
		return nil, errors.New("the id token is of a time to come, or of none")
	}
	out := &said{subject: id.Subject, name: text(p.NameClaim), display: clip(text("name"), 256), amr: []string{"fed"}, authTime: signedInAt(claims, now)}
	// Some say it as text. Who does not say it at all is taken at their word: the name gives nobody's account.
	if v := strings.Trim(string(claims["email_verified"]), `"`); p.NameClaim == "email" && v != "" && v != "true" {
		out.name = ""
	}
	var amr []string
	if json.Unmarshal(claims["amr"], &amr) == nil && slices.Contains(amr, "mfa") {
		out.amr = append(out.amr, "mfa")
	}
	var err error
	out.theirs, err = p.readGroups(claims)
	return out, err
}

// signedInAt is when somebody signed in there. Where that is not said, perhaps nobody proved anything just now, and the
// provider went on by itself: so it is too long ago to be fresh.
func signedInAt(claims map[string]json.RawMessage, now time.Time) time.Time {
	at := 0.0
	if json.Unmarshal(claims["auth_time"], &at) != nil || at <= 0 || at > float64(now.Add(clocksApart).Unix()) {
		return now.Add(-freshFor - time.Second).UTC().Truncate(time.Millisecond)
	}
	if at < float64(now.Unix()) {
		now = time.Unix(int64(at), 0)
	}
	return now.UTC().Truncate(time.Millisecond)
}

// readGroups reads the groups claim: a list of words, or one. A list that is not there is empty; one that cannot be
// read, or that the provider cut, is refused, since being in a group can also mean to be denied something.
func (p *provider) readGroups(claims map[string]json.RawMessage) ([]string, error) {
	if p.GroupsClaim == "" {
		return nil, nil
	}
	var elsewhere map[string]json.RawMessage
	if claims["_claim_names"] != nil && json.Unmarshal(claims["_claim_names"], &elsewhere) != nil {
		return nil, errGroups("says in no readable way which claims it left out")
	}
	if _, cut := elsewhere[p.GroupsClaim]; cut || string(claims["hasgroups"]) == "true" {
		return nil, errGroups("leaves groups out, since there are too many; have it send those alone that are assigned to this application")
	}
	raw := claims[p.GroupsClaim]
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	var list []string
	var one string
	if json.Unmarshal(raw, &one) == nil {
		list = []string{one}
	} else if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errGroups("sends groups that are no list of words")
	}
	if len(list) > maxTheirs {
		return nil, errGroups(fmt.Sprintf("sends more than %d groups", maxTheirs))
	}
	return list, nil
}

// errGroups is a refusal that the person can be told of.
func errGroups(what string) error {
	return ajar.Errorf(ajar.Forbidden, "the provider %s", what)
}

// ours finds the groups here that theirs stand for. One that is not here gives nothing.
func (s *Server) ours(ctx context.Context, p *provider, theirs []string) (out []ajar.PrincipalID, err error) {
	var names []string
	for _, t := range theirs {
		if name := p.Groups[t]; name != "" && !slices.Contains(names, strings.ToLower(name)) {
			names = append(names, strings.ToLower(name))
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	err = s.Store.View(ctx, func(tx ajar.Tx) error {
		out = nil
		for _, name := range names {
			found, _, err := ajar.List[ajar.Principal](tx, ajar.Filter{Ref: name, Limit: 1})
			if err != nil {
				return err
			}
			if len(found) == 0 || found[0].Kind != ajar.Group {
				s.log.WarnContext(ctx, "upstream names a group that is not here", "upstream", p.Name, "group", name)
				continue
			}
			out = append(out, found[0].ID)
		}
		return nil
	})
	slices.Sort(out)
	return out, err
}
