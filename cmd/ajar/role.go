package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func roleCmd(a *app) *cobra.Command {
	return family("role", "who may do what: list, show, assign, unassign, create, delete", `  ajar role list
  ajar role assign "Just-in-time Requester" anna --scope prod
  ajar role list --assignments --of anna`,
		roleListCmd(a), roleShowCmd(a), roleAssignCmd(a), roleUnassignCmd(a), roleCreateCmd(a), roleDeleteCmd(a))
}

func roleListCmd(a *app) *cobra.Command {
	var assignments bool
	var of, scope string
	c := command("list", "roles, or who has which", `  ajar role list
  ajar role list --assignments
  ajar role list --assignments --of anna --scope web1`, cobra.NoArgs, func(ctx context.Context, _ []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		if !assignments && of == "" && scope == "" {
			all, err := client.Collect(c.Roles(ctx))
			if err != nil {
				return err
			}
			return list(a, all, "there are no roles that you may see", []string{"ROLE", "ID", "KIND", "DESCRIPTION"}, func(r client.Role) []string {
				kind := "custom"
				if r.BuiltIn {
					kind = "built-in"
				}
				about := r.Description
				if !a.csv() {
					about = clip(about)
				}
				return []string{r.Name, string(r.ID), kind, about}
			})
		}
		in, err := scopeOf(ctx, c, scope)
		if err != nil {
			return err
		}
		found := c.Assignments(ctx, of, "")
		if in != "" {
			found = c.AssignmentsAt(ctx, of, in)
		}
		all, err := client.Collect(found)
		if err != nil {
			return err
		}
		return list(a, all, "there are no such assignments", []string{"ASSIGNMENT", "WHO", "ROLE", "SCOPE"}, func(x client.Assignment) []string {
			return []string{x.ID, or(x.PrincipalName, string(x.Principal)), or(x.RoleName, string(x.Role)), string(x.Scope)}
		})
	})
	c.Flags().BoolVar(&assignments, "assignments", false, "who has which role where")
	c.Flags().StringVar(&of, "of", "", "only assignments of this person, group or service principal")
	c.Flags().StringVar(&scope, "scope", "", "only assignments that matter at this machine, group, policy or ID: there, above and below, and with --of those of its groups, too")
	return c
}

func roleShowCmd(a *app) *cobra.Command {
	return command("show ROLE", "what a role lets one do", `  ajar role show "Just-in-time Requester"
  ajar role show Owner -o json`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		r, err := c.Role(ctx, args[0])
		if err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s)%s\n%s\n", plain(r.Name), r.ID, yes(r.BuiltIn, ", built in"), plain(r.Description))
			for _, p := range r.Permissions {
				for word, actions := range map[string][]ajar.Action{"may": p.Actions, "not": p.NotActions, "data": p.DataActions, "not data": p.NotDataActions} {
					for _, x := range actions {
						fmt.Fprintf(w, "  %-9s %s\n", word, plain(string(x)))
					}
				}
			}
		})
	})
}

func roleAssignCmd(a *app) *cobra.Command {
	var scope, description, condition string
	c := command("assign ROLE WHO", "give a role to a person, group or service principal", `  ajar role assign "Just-in-time Requester" anna --scope prod          # every machine of the group prod
  ajar role assign "Just-in-time Requester" anna --scope prod/default  # its policy, and of its machines
  ajar role assign "Just-in-time Requester" anna --scope web1          # this one
  ajar role assign "Just-in-time Requester" ops --scope prod --if \
    "!(ActionMatches{'*/initiate/action'}) OR @Request[Ajar.Access/requests:Port] NumericEquals 22"
  ajar role assign Owner admins --scope /`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		in, err := scopeOf(ctx, c, scope)
		if err != nil {
			return err
		}
		x, err := c.Assign(ctx, client.Assignment{Role: ajar.RoleID(args[0]), Principal: ajar.PrincipalID(args[1]), Scope: in, Description: description, Condition: condition})
		if err != nil {
			return err
		}
		a.sayNotEnough(ctx, c, x)
		return a.done(x, "%s is %s at %s and below (assignment %s)", or(x.PrincipalName, args[1]), or(x.RoleName, args[0]), x.Scope, x.ID)
	})
	c.Long = `Gives a role at a scope: there and everywhere below. A scope is an ID, / for everywhere, a machine, a group (prod), or a
policy (prod/default). Whoever asks for a port needs the role at the policy, and may ask for those of its machines that
they may read: at the group it is good for all, at the policy and at some machines for these.`
	c.Flags().StringVar(&scope, "scope", "", "where: a machine, a group, group/policy, an ID, or / for everywhere")
	c.Flags().StringVar(&description, "description", "", "why")
	c.Flags().StringVar(&condition, "if", "", "condition under which it counts, in Azure's language; docs/azure.md lists what it can ask")
	_ = c.MarkFlagRequired("scope") // the flag was just made
	return c
}

// sayNotEnough warns of a role with which one could ask if there were a policy where it is given, and there is none.
func (a *app) sayNotEnough(ctx context.Context, c *client.Client, x client.Assignment) {
	if !x.Scope.IsMachine() {
		return
	}
	r, err := c.Role(ctx, string(x.Role))
	if err != nil {
		return
	}
	asks := func(p client.Permission) bool {
		return slices.ContainsFunc(p.Actions, func(y ajar.Action) bool { return strings.Contains(string(y), "jitNetworkAccessPolicies/") })
	}
	t, err := c.Target(ctx, x.Scope)
	if err != nil || !slices.ContainsFunc(r.Permissions, asks) {
		return
	}
	at := "the policy"
	if len(t.Policies) > 0 {
		id := t.Policies[0].ID
		at = id.ResourceGroup() + "/" + id.Name()
	}
	a.say("warning: to ask for ports of %s takes this role at its policy, too: ajar role assign %q %s --scope %s", x.Scope.Name(), plain(r.Name), quote(plain(or(x.PrincipalName, string(x.Principal)))), at)
}

func roleUnassignCmd(a *app) *cobra.Command {
	var scope string
	c := command("unassign ASSIGNMENT | ROLE WHO", "take a role away", `  ajar role unassign "Just-in-time Requester" anna --scope prod
  ajar role unassign 6f3a0f8e-4a8f-4d7e-9d41-0f4e3c2b1a00`, cobra.RangeArgs(1, 2), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		id := args[0]
		if len(args) == 2 {
			in, err := scopeOf(ctx, c, scope)
			if err != nil {
				return err
			}
			if id, err = assignmentOf(ctx, c, args[0], args[1], in); err != nil {
				return err
			}
		}
		if err := c.Unassign(ctx, id); err != nil {
			return err
		}
		return a.done(map[string]string{"id": id}, "assignment %s is removed", id)
	})
	c.Flags().StringVar(&scope, "scope", "", "where it was given, likewise")
	return c
}

// assignmentOf finds the one assignment of a role to somebody, at exactly that scope if one is given.
func assignmentOf(ctx context.Context, c *client.Client, role, who string, scope ajar.ID) (string, error) {
	var found []client.Assignment
	for x, err := range c.Assignments(ctx, who, scope) {
		if err != nil {
			return "", err
		}
		ofRole := ajar.ID(role).Equal(ajar.ID(x.RoleName)) || ajar.ID(role).Equal(ajar.ID(x.Role))
		if ofRole && (scope == "" || x.Scope.Equal(scope)) {
			found = append(found, x)
		}
	}
	x, err := single(found, "assignment of "+role+" to", who, "ajar role list --assignments", func(x client.Assignment) string { return x.ID + " at " + string(x.Scope) })
	return x.ID, err
}

func roleCreateCmd(a *app) *cobra.Command {
	var file, description string
	var actions, notActions, scopes []string
	c := command("create [NAME | -f FILE]", "make a role of your own", `  ajar role create "Port closer" --action 'Microsoft.Security/locations/jitNetworkAccessPolicies/requests/revoke/action' --action '*/read'
  ajar role show Owner -o json > role.json     # change it, take its id out
  ajar role create -f role.json`, cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
		r := client.Role{Description: description}
		switch {
		case (file == "") == (len(args) == 0):
			return usage("give a name, or a file with -f")
		case file != "":
			b, err := os.ReadFile(file)
			if err != nil {
				return named("the role", err)
			}
			d := json.NewDecoder(bytes.NewReader(b))
			d.DisallowUnknownFields() // a notActions that is misspelt would give more than was meant
			if err := d.Decode(&r); err != nil {
				return hint(exits(exitUsage, fmt.Errorf("read the role in %s: %w", file, err)), "ajar role show Owner -o json shows the format")
			}
			r.BuiltIn = false
		case len(actions) == 0:
			return usage("say what it lets one do: --action …")
		default:
			r.Name = args[0]
			r.Permissions = []client.Permission{{Actions: as[ajar.Action](actions), NotActions: as[ajar.Action](notActions)}}
			r.AssignableScopes = as[ajar.ID](scopes)
		}
		c, _, err := a.client()
		if err != nil {
			return err
		}
		if r, err = c.PutRole(ctx, r); err != nil {
			return err
		}
		return a.done(r, "role %q is made (%s)", r.Name, r.ID)
	})
	f := c.Flags()
	f.StringVarP(&file, "file", "f", "", "JSON file, as ajar role show -o json writes it")
	f.StringVar(&description, "description", "", "what it is for")
	f.StringArrayVar(&actions, "action", nil, "action it lets one do; * stands for anything; may be repeated")
	f.StringArrayVar(&notActions, "not-action", nil, "action it does not; may be repeated")
	f.StringArrayVar(&scopes, "assignable-scope", []string{"/"}, "where it can be assigned; may be repeated")
	return c
}

func as[T ~string](all []string) []T {
	var out []T
	for _, s := range all {
		out = append(out, T(s))
	}
	return out
}

func roleDeleteCmd(a *app) *cobra.Command {
	return command("delete ROLE", "remove a role of your own that nobody has", `  ajar role delete "Port closer"`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, _, err := a.client()
		if err != nil {
			return err
		}
		r, err := c.Role(ctx, args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteRole(ctx, r.ID); err != nil {
			return err
		}
		return a.done(map[string]any{"id": r.ID, "name": r.Name}, "role %q is removed", r.Name)
	})
}
