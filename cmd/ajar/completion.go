package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar/client"
)

func completionCmd(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "completion bash|zsh|fish|powershell",
		Short: "a script that completes commands and machine names in your shell",
		Example: `  source <(ajar completion bash)
  ajar completion fish > ~/.config/fish/completions/ajar.fish`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
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

// completeTargets offers machine names for a command's first argument. It gives up soon: nobody waits for Tab.
func (a *app) completeTargets(c *cobra.Command) *cobra.Command {
	c.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		var names []string
		if cl, _, err := a.client(); err == nil {
			for t, err := range cl.Targets(ctx, client.TargetQuery{}) {
				if err != nil {
					break
				}
				names = append(names, t.ID.Name())
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return c
}
