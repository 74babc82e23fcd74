package main

import (
	"context"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/activity"
	"github.com/ajar-access/ajar/client"
)

func completionCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "a script that completes commands, machines, ports, policies, requests and leases in your shell",
		Example: `  source <(ajar completion bash)                                        # bash: in ~/.bashrc
  ajar completion zsh > "${fpath[1]}/_ajar"                              # zsh
  ajar completion fish > ~/.config/fish/completions/ajar.fish`,
		Long: `Prints a script that makes Tab complete commands, machines, ports, policies, people, requests and leases. In bash it needs
the package bash-completion.`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	c.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
			return hint(usage("say which shell: %s", join(cmd.ValidArgs, "")), "such as: source <(ajar completion bash)")
		}
		return nil
	}
	c.RunE = func(cmd *cobra.Command, args []string) error {
		root := cmd.Root()
		switch args[0] {
		case "zsh":
			return root.GenZshCompletion(a.out)
		case "fish":
			return root.GenFishCompletion(a.out, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(a.out)
		}
		return root.GenBashCompletionV2(a.out, true)
	}
	return c
}

// offer is what is offered for the next word, after those that stand already.
type offer func(ctx context.Context, c *client.Client, args []string) []string

// mostOffered bounds what is read for one Tab.
const mostOffered = 1000

// completing asks the plane what to offer. It gives up soon: nobody waits for Tab.
func (a *app) completing(of offer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		c, _, err := a.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return of(ctx, c, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// complete teaches c and what is below it what to offer: for arguments, what the line of usage calls them; for flags, what
// their names say.
func (a *app) complete(c *cobra.Command) {
	words := strings.Fields(c.Use)[1:]
	if c.ValidArgsFunction == nil && c.ValidArgs == nil && c.Name() != "help" {
		c.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) >= len(words) && (len(words) == 0 || !strings.HasSuffix(words[len(words)-1], "...")) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			of := offers(cmd, words[min(len(args), len(words)-1)])
			if of == nil {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return a.completing(of)(cmd, args, typed)
		}
	}
	for name, of := range map[string]offer{
		"policy": policyNames, "lease": liveLeases, "request": liveRequests, "port": offeredPorts, "scope": targetNames,
		"caller": principalNames(""), "who": principalNames(""), "of": principalNames(""),
	} {
		a.completeFlag(c, name, a.completing(of))
	}
	for name, all := range map[string][]string{
		"state": lowered(ajar.RequestStates), "outcome": lowered([]ajar.Outcome{ajar.Accepted, ajar.Refused, ajar.Happened}),
		"end": {"cut", "drain", "warn"}, "unguard": {"lift", "keep"}, "break-glass": {"on", "off"}, "os": {"Linux", "Windows"}, "from": {"me"},
		"action": actionWords(c.Name() == "log"),
	} {
		a.completeFlag(c, name, cobra.FixedCompletions(all, cobra.ShellCompDirectiveNoFileComp))
	}
	for _, s := range c.Commands() {
		a.complete(s)
	}
}

func (a *app) completeFlag(c *cobra.Command, name string, of cobra.CompletionFunc) {
	if c.LocalNonPersistentFlags().Lookup(name) == nil {
		return
	}
	if err := c.RegisterFlagCompletionFunc(name, of); err != nil {
		panic(err) // a flag twice: a fault of the program
	}
}

// offers is what is offered where a line of usage has word; nil = files.
func offers(cmd *cobra.Command, word string) offer {
	kind, ofKind := map[string]ajar.PrincipalKind{"user": ajar.User, "group": ajar.Group, "sp": ajar.ServicePrincipal}[familyOf(cmd)]
	var all []offer
	for part, of := range map[string]offer{
		"POLICY": policyNames, "TARGET": targetNames, "REQUEST": pendingRequests, "PORT": offeredPorts, "ROLE": roleNames, "WHO": principalNames(""), "GROUP": principalNames(ajar.Group),
	} {
		if strings.Contains(word, part) {
			all = append(all, of)
		}
	}
	isNew := cmd.Name() == "add" && !cmd.Parent().Parent().HasParent() // nobody has that name yet
	if strings.Contains(word, "NAME") && ofKind && !isNew {
		all = append(all, principalNames(kind))
	}
	if len(all) == 0 {
		return nil
	}
	return func(ctx context.Context, c *client.Client, args []string) (words []string) {
		for _, of := range all {
			words = append(words, of(ctx, c, args)...)
		}
		return words
	}
}

// familyOf is the word after ajar.
func familyOf(cmd *cobra.Command) string {
	for cmd.HasParent() && cmd.Parent().HasParent() {
		cmd = cmd.Parent()
	}
	return cmd.Name()
}

func lowered[S ~string](all []S) []string {
	words := make([]string, len(all))
	for i, s := range all {
		words[i] = strings.ToLower(string(s))
	}
	return words
}

// actionWords are actions as the log shows them, or in full.
func actionWords(short bool) []string {
	all := activity.Actions()
	words := make([]string, len(all))
	for i, x := range all {
		if words[i] = string(x); short {
			words[i] = actionWord(x)
		}
	}
	return words
}

// gather reads seq as far as there is time.
func gather[T any](seq iter.Seq2[T, error], text func(T) string) (all []string) {
	for v, err := range seq {
		if err != nil || len(all) == mostOffered {
			break
		}
		if s := text(v); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

func targetNames(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Targets(ctx, client.TargetQuery{}), func(t client.Target) string { return t.ID.Name() })
}

func policyNames(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Policies(ctx, ajar.Root), func(p client.Policy) string { return p.ID.ResourceGroup() + "/" + p.ID.Name() })
}

func roleNames(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Roles(ctx), func(r client.Role) string { return r.Name })
}

func principalNames(kind ajar.PrincipalKind) offer {
	return func(ctx context.Context, c *client.Client, _ []string) []string {
		return gather(c.Principals(ctx, kind), func(p client.Principal) string { return p.Name })
	}
}

// offeredPorts are those that policies offer on the machine that stands first.
func offeredPorts(ctx context.Context, c *client.Client, args []string) (all []string) {
	if len(args) == 0 {
		return nil
	}
	t, err := target(ctx, c, args[0])
	if err != nil {
		return nil
	}
	for _, p := range t.Policies {
		for _, q := range p.Ports {
			s := strconv.Itoa(int(q.Number))
			if q.Protocol == ajar.UDP {
				s += "/udp"
			}
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// IDs come with what they stand for, which shells show beside them.

func pendingRequests(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Requests(ctx, client.RequestQuery{State: ajar.Pending}), func(r client.Request) string {
		return tail(r.ID) + "\t" + plain(r.Name+": "+asked(r))
	})
}

func liveLeases(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Leases(ctx, client.LeaseQuery{Live: true}), func(l client.Lease) string {
		return tail(l.ID) + "\t" + plain(l.Name+": "+port(l.Number, l.Protocol)+" on "+l.Target.Name())
	})
}

func liveRequests(ctx context.Context, c *client.Client, _ []string) []string {
	return gather(c.Leases(ctx, client.LeaseQuery{Live: true}), func(l client.Lease) string {
		return tail(l.Request) + "\t" + plain(l.Name+": "+l.Target.Name())
	})
}
