package authn

import (
	"context"
	"time"

	"github.com/ajar-access/ajar"
)

// sweepAfter is how long what ended stays: opaque tokens for people to look at, and signed ones, of which there are many,
// a moment.
var sweepAfter = []struct {
	kind   ajar.DocKind
	states []string
	after  time.Duration
}{
	{ajar.KindToken, []string{string(ajar.Access)}, time.Hour},
	{ajar.KindToken, nil, rememberGood},
	{ajar.KindCredential, nil, rememberGood},
	{ajar.KindGrant, nil, 0},
	{ajar.KindFamiliar, nil, 0},
	{ajar.KindSession, nil, 0},
}

// Sweep removes what ended: tokens, credentials, grants, and the addresses that nobody came from for long.
func (a *Authn) Sweep(ctx context.Context) error {
	for _, s := range sweepAfter {
		f := ajar.Filter{UntilBefore: a.Clock().Add(-s.after), States: s.states, Limit: 500}
		for more := true; more; {
			err := a.Store.Update(ctx, func(tx ajar.Tx) error {
				var keys []string
				_, err := tx.ListDocs(s.kind, f, func(decode func(ajar.Doc) error) error {
					d := blank(s.kind)
					err := decode(d)
					keys = append(keys, d.Entry().Key)
					return err
				})
				more = len(keys) == f.Limit
				for i := 0; err == nil && i < len(keys); i++ {
					err = tx.Delete(s.kind, keys[i])
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func blank(kind ajar.DocKind) ajar.Doc {
	switch kind {
	case ajar.KindToken:
		return new(ajar.Token)
	case ajar.KindCredential:
		return new(ajar.Credential)
	case ajar.KindGrant:
		return new(ajar.Grant)
	case ajar.KindSession:
		return new(ajar.Session)
	default:
		return new(ajar.Familiar)
	}
}

// RevokeAll ends every token and session there is, and every grant that would give another: after a restore nobody knows
// which of them were revoked since the backup.
func RevokeAll(ctx context.Context, store ajar.Store, now time.Time) error {
	if err := endAll(ctx, store, func(s *ajar.Session) bool {
		good := s.State != ajar.SessionUsed && now.Before(s.Expires)
		s.Expires = now
		return good
	}); err != nil {
		return err
	}
	if err := endAll(ctx, store, func(t *ajar.Token) bool {
		good := t.Revoked.IsZero()
		t.Revoked = now
		return good
	}); err != nil {
		return err
	}
	return endAll(ctx, store, func(g *ajar.Grant) bool {
		good := g.Kind != ajar.GrantAssertion && g.State != ajar.GrantEnded
		g.State = ajar.GrantEnded
		return good
	})
}

// endAll writes back, a page at a time, what change says it changed.
func endAll[D any, P interface {
	*D
	ajar.Doc
}](ctx context.Context, store ajar.Store, change func(P) bool) error {
	f := ajar.Filter{Limit: 500}
	for {
		var next string
		err := store.Update(ctx, func(tx ajar.Tx) (err error) {
			var docs []P
			docs, next, err = ajar.List[D, P](tx, f)
			for i := 0; err == nil && i < len(docs); i++ {
				if change(docs[i]) {
					err = tx.Put(docs[i])
				}
			}
			return err
		})
		if err != nil || next == "" {
			return err
		}
		f.Cursor = next
	}
}
