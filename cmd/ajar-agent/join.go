//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/provider/agent"
)

// agentPort is where planes listen for agents unless told otherwise.
const agentPort = "8444"

func joinCmd(a *app) *cobra.Command {
	var server, caHash, tokenFile string
	var replace bool
	cmd := &cobra.Command{
		Use:   "join --server HOST[:PORT] --ca-hash sha256:… --token-file FILE",
		Short: "give this host an identity with the plane",
		Long: `join gives this host an identity with the plane. The token names the machine that this host is, works once and for
15 minutes; it is read from a file (- is standard input), never from the command line. The plane is trusted only if its
authority has the given hash. What an earlier plane left guarded stays closed until the new one says otherwise.`,
		Example: `  ajar-agent join --server ajar.example.com:8444 --ca-hash sha256:2c26… --token-file /root/token`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server == "" || caHash == "" || tokenFile == "" {
				return usage("join needs --server, --ca-hash and --token-file")
			}
			return a.join(cmd.Context(), server, caHash, tokenFile, replace)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "the plane's address for agents")
	cmd.Flags().StringVar(&caHash, "ca-hash", "", "the hash of the plane's authority, as ajar hosts add prints it")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "the file with the join token; - is standard input")
	cmd.Flags().BoolVar(&replace, "replace", false, "join although this host has an identity already")
	return cmd
}

func (a *app) join(ctx context.Context, server, caHash, tokenFile string, replace bool) error {
	addr, err := serverAddr(server)
	if err != nil {
		return err
	}
	token, err := a.readToken(tokenFile)
	if err != nil {
		return err
	}
	lock, err := a.lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	ep, err := agent.Join(ctx, agent.JoinAsk{
		Dir: a.state, Server: addr, CAHash: caHash, Token: token, Replace: replace, Clock: a.now,
		Status: ajar.HostStatus{Version: versionOf(), Kernel: kernel(), BootID: bootID()},
	})
	if err != nil {
		return joinHint(err)
	}
	if err := giveToOwner(a.state); err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "joined %s as %s\nstart the agent: systemctl enable --now ajar-agent-restore ajar-agent\n", addr, ep)
	return err
}

func joinHint(err error) error {
	switch ajar.KindOf(err) {
	case ajar.Conflict:
		return hint(err, "join with --replace to leave the old identity behind")
	case ajar.Forbidden, ajar.NotFound:
		return hint(err, "make a new token: ajar hosts add TARGET")
	case ajar.Unauthenticated:
		if strings.Contains(ajar.Message(err), "token") {
			return hint(err, "make a new token: ajar hosts add TARGET")
		}
		return hint(err, "compare --ca-hash with the one that the plane's operator tells you; do not copy it from here")
	case ajar.Unavailable:
		return hint(err, "check the address, and that nothing between here and there is closed")
	}
	return err
}

// serverAddr takes host, host:port and https://host:port.
func serverAddr(s string) (string, error) {
	if strings.Contains(s, "://") {
		u, err := url.Parse(s)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return "", usage("--server %q is not an address of the form host:port", s)
		}
		s = u.Host
	}
	if _, _, err := net.SplitHostPort(s); err == nil {
		return s, nil
	}
	host := strings.Trim(s, "[]")
	if host == "" || strings.ContainsAny(host, "/ ") {
		return "", usage("--server %q is not an address of the form host:port", s)
	}
	return net.JoinHostPort(host, agentPort), nil
}

func (a *app) readToken(name string) (string, error) {
	var r io.Reader = a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return "", usage("read the token: %w", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	t := string(bytes.TrimSpace(b))
	if t == "" || strings.ContainsAny(t, " \n\t") {
		return "", hint(errors.New("the token file does not hold one token"), "put into it what ajar hosts add printed, and nothing else")
	}
	return t, nil
}
