package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

// Who somebody is at a provider of single sign-on: issuer and subject, never a name.

func (k principalKind) linkCmd(a *app) *cobra.Command {
	var link client.Upstream
	c := command("link NAME", "say who one is at a provider of single sign-on", fmt.Sprintf(`  ajar %[1]s link %[2]s --issuer https://login.example.com --subject 2c1f…
  ajar %[1]s links --refused        # who came and is not linked yet`, k.word, k.example()), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		was := p.Upstream
		if p, err = c.Link(ctx, string(p.ID), link); err != nil {
			return err
		}
		if was != nil && *was != link {
			a.say("before, %s was %s at %s", plain(p.Name), plain(was.Subject), plain(was.Issuer))
		}
		return a.done(p, "%s is %s at %s", plain(p.Name), plain(link.Subject), plain(link.Issuer))
	})
	c.Long = `Says who somebody is at a provider of single sign-on that the plane knows (upstreams in its configuration): by the issuer
as the provider writes it and the subject that it gives them, never by a name. Who signs in there for the first time
and is not linked is refused, and the refusal has both: ajar ` + k.word + ` links --refused lists them.`
	c.Flags().StringVar(&link.Issuer, "issuer", "", "the provider's issuer, as the plane's configuration has it")
	c.Flags().StringVar(&link.Subject, "subject", "", "the subject that the provider gives them")
	for _, name := range []string{"issuer", "subject"} {
		_ = c.MarkFlagRequired(name) // the flag was just made
	}
	return c
}

func (k principalKind) unlinkCmd(a *app) *cobra.Command {
	c := command("unlink NAME", "take the link to single sign-on away, and sign one out", fmt.Sprintf("  ajar %s unlink %s", k.word, k.example()), cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		if p.Upstream == nil {
			return exits(exitConflict, hint(fmt.Errorf("%s is linked to nobody", plain(p.Name)), "ajar %s links", k.word))
		}
		was := *p.Upstream
		if p, err = c.Link(ctx, string(p.ID), client.Upstream{}); err != nil {
			return err
		}
		return a.done(p, "%s is not %s at %s any longer, and is signed out", plain(p.Name), plain(was.Subject), plain(was.Issuer))
	})
	return c
}

func (k principalKind) linksCmd(a *app) *cobra.Command {
	var refused bool
	c := command("links", "who is who at providers of single sign-on", fmt.Sprintf("  ajar %[1]s links\n  ajar %[1]s links --refused -o json", k.word), cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		if refused {
			return a.strangers(ctx, c, k)
		}
		all := []client.Principal{}
		for p, err := range c.Principals(ctx, k.kind) {
			if err != nil {
				return err
			}
			if p.Upstream != nil {
				all = append(all, p)
			}
		}
		return list(a, all, "nobody is linked", []string{"NAME", "ISSUER", "SUBJECT", "ID"}, func(p client.Principal) []string {
			return []string{p.Name, p.Upstream.Issuer, p.Upstream.Subject, string(p.ID)}
		})
	})
	c.Flags().BoolVar(&refused, "refused", false, "those who came lately and were refused because nobody is linked to them")
	return withCSV(c)
}

// stranger is somebody who proved themselves at a provider and is linked to nobody here.
type stranger struct {
	At       ajar.Event `json:"event"` // the newest
	Provider string     `json:"provider"`
	Issuer   string     `json:"issuer"`
	Subject  string     `json:"subject"`
	Called   string     `json:"called,omitempty"` // at the provider
	Times    int        `json:"times"`
}

// lookedBack is how many refused sign-ins are searched for strangers, the newest first.
const lookedBack = 1000

// strangers lists those who were refused and are still linked to nobody.
func (a *app) strangers(ctx context.Context, c *client.Client, k principalKind) error {
	linked := map[client.Upstream]bool{}
	for p, err := range c.Principals(ctx, "") {
		if err != nil {
			return err
		}
		if p.Upstream != nil {
			linked[*p.Upstream] = true
		}
	}
	tries, _, err := some(c.Events(ctx, client.EventQuery{Action: ajar.SignIn, Outcome: ajar.Refused, Limit: lookedBack}), lookedBack)
	if err != nil {
		return err
	}
	all := []stranger{}
	for _, e := range tries {
		link := client.Upstream{Issuer: e.Details["issuer"], Subject: e.Details["subject"]}
		if e.Code != client.NotLinked || linked[link] {
			continue
		}
		i := slices.IndexFunc(all, func(s stranger) bool { return s.Issuer == link.Issuer && s.Subject == link.Subject })
		if i < 0 {
			i = len(all)
			all = append(all, stranger{At: e, Provider: e.Details["upstream"], Issuer: link.Issuer, Subject: link.Subject, Called: e.Details["name"]})
		}
		all[i].Times++
	}
	err = list(a, all, "nobody who came lately was refused for that", []string{"LAST", "PROVIDER", "CALLED THERE", "TRIES", "ISSUER", "SUBJECT"}, func(s stranger) []string {
		return []string{a.when(s.At.Time), s.Provider, or(s.Called, "-"), fmt.Sprint(s.Times), s.Issuer, s.Subject}
	})
	if err == nil && len(all) > 0 && a.output == "table" {
		a.say("what they are called there proves nothing; to let one in: ajar %s link NAME --issuer … --subject …", k.word)
	}
	return err
}
