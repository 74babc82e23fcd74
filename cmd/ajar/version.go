package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the linker in releases.
var version = ""

func versionCmd(a *app) *cobra.Command {
	return command("version", "the version of this program", `  ajar version`, cobra.NoArgs, func(context.Context, []string) error {
		v := versionOf()
		out := map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		return a.show(out, func(w io.Writer) {
			fmt.Fprintln(w, versionLine())
		})
	})
}

func versionLine() string {
	return fmt.Sprintf("ajar %s (%s, %s/%s)", versionOf(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// versionOf is what the linker set, or what the build was made of.
func versionOf() string {
	if version != "" {
		return version
	}
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" && b.Main.Version != "(devel)" {
		return b.Main.Version
	}
	return "devel"
}

func userAgent() string {
	if version != "" {
		return "ajar/" + version
	}
	return "ajar"
}
