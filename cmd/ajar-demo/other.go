//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "ajar-demo: the demo's hosts are network namespaces and their firewall is nftables: it needs Linux")
	os.Exit(1)
}
