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
	"github.com/ajar-access/ajar/client"
)

func completionCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "a script that completes commands, machines, ports, policies, requests and leases in your shell",
		Example: `  source <(ajar completion bash)
  ajar completion fish > ~/.config/fish/completions/ajar.fish`,
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

// completeTargets offers what the command's line of usage asks for: machines, policies, requests, and a machine's ports;
// and the same for its flags.
func (a *app) completeTargets(c *cobra.Command) *cobra.Command {
	words := strings.Fields(c.Use)[1:]
	c.ValidArgsFunction = a.completing(func(ctx context.Context, cl *client.Client, args []string) (all []string) {
		if len(args) >= len(words) {
			return nil
		}
		word := words[len(args)]
		if strings.Contains(word, "POLICY") {
			all = append(all, policyNames(ctx, cl, args)...)
		}
		switch {
		case strings.Contains(word, "TARGET"):
			all = append(all, targetNames(ctx, cl, args)...)
		case strings.Contains(word, "REQUEST"):
			all = pendingRequests(ctx, cl, args)
		case strings.Contains(word, "PORT"):
			all = offeredPorts(ctx, cl, args)
		}
		return all
	})
	for name, of := range map[string]offer{"policy": policyNames, "lease": liveLeases, "request": liveRequests, "port": offeredPorts} {
		if c.Flags().Lookup(name) != nil {
			if err := c.RegisterFlagCompletionFunc(name, a.completing(of)); err != nil {
				panic(err) // a flag twice: a fault of the program
			}
		}
	}
	return c
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
