package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// release is set by the build.
var release = ""

func versionText() string {
	v := release
	if info, ok := debug.ReadBuildInfo(); ok && v == "" {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v = s.Value[:12]
			}
		}
	}
	if v == "" {
		v = "unknown"
	}
	return v
}

func version(_ context.Context, e env, args []string) error {
	fs, _ := flags(e, "version", "")
	if err := parse(fs, args, 0); err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "ajard %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
