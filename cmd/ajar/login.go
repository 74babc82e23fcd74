package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

type loginFlags struct {
	server, caHash, caFile, user, passwordFile string
	code                                       string
	browser                                    bool
	scope, location                            string
}

func loginCmd(a *app) *cobra.Command {
	var f loginFlags
	c := command("login", "sign in to a plane", `  ajar login --server https://ajar.example.com --ca-hash sha256:2c26b46b… --user anna
  ajar login --user anna                                     # again, to the same plane
  ajar login --browser                                       # with a passkey, or whatever the sign-in page takes
  ajar login --server https://10.0.0.1:8443 --ca-file ca.pem --user deploy --password-file secret.txt`,
		cobra.NoArgs, func(ctx context.Context, _ []string) error { return a.login(ctx, f) })
	c.Long = `Signs in and keeps the token in the login file, which only you can read.

The plane's certificate is checked against the certificate authority whose hash (--ca-hash) or file (--ca-file) you
were told by its operator; without either, against the one kept from the last time, or else the system's own
authorities. What a server shows for the first time is never trusted for that alone.

People and service principals sign in alike: --user NAME with a password, or with a secret. Without --password-file
the password is asked for; it is never taken from the command line. Of a person who has a second factor the code of the
authenticator app is asked for, too, or taken from --code. With --browser the sign-in is confirmed on the plane's own page,
in a browser on any machine.`
	c.Flags().StringVar(&f.server, "server", "", "the plane's URL (kept from the last time)")
	c.Flags().StringVar(&f.caHash, "ca-hash", "", "sha256:… of the plane's certificate authority")
	c.Flags().StringVar(&f.caFile, "ca-file", "", "PEM file with the certificate authority to trust")
	c.Flags().StringVarP(&f.user, "user", "u", "", "name of a person or service principal (kept from the last time)")
	c.Flags().StringVar(&f.passwordFile, "password-file", "", "file that holds the password or secret; - reads it from standard input")
	c.Flags().StringVar(&f.code, "code", "", "code of the authenticator app, or a recovery code (asked for if needed)")
	c.Flags().BoolVar(&f.browser, "browser", false, "confirm the sign-in in a browser, here or elsewhere")
	c.Flags().StringVar(&f.scope, "scope", "", "group that new machines and policies belong to unless named otherwise")
	c.Flags().StringVar(&f.location, "location", "", "location that new machines belong to unless named otherwise")
	c.MarkFlagsMutuallyExclusive("ca-hash", "ca-file")
	for _, other := range []string{"user", "password-file", "code"} {
		c.MarkFlagsMutuallyExclusive("browser", other)
	}
	return c
}

func (a *app) login(ctx context.Context, f loginFlags) error {
	cfg, err := a.loginConfig(ctx, f)
	if err != nil {
		return err
	}
	c, err := client.New(a.clientConfig(&config{Server: cfg.Server, CA: cfg.CA}))
	if err != nil {
		return err
	}
	a.plane = c
	how := a.withPassword
	if f.browser {
		how = a.withBrowser
	}
	s, err := how(ctx, c, cfg.Name, f)
	if err != nil {
		return err
	}
	cfg.Token, cfg.Expires, cfg.Name = s.Token, s.Expires, s.Name
	path, err := a.saveConfig(cfg)
	if err != nil {
		return err
	}
	if s.ChangePassword {
		a.say("this password is used up; set one of your own now: ajar user password")
	}
	out := struct {
		Server    string           `json:"server"`
		Principal ajar.PrincipalID `json:"principal"`
		Name      string           `json:"name"`
		Expires   any              `json:"expires,omitempty"`
		File      string           `json:"file"`
	}{cfg.Server, s.Principal, s.Name, s.Expires, path}
	return a.done(out, "signed in to %s as %s; the session ends %s", cfg.Server, plain(s.Name), a.when(s.Expires))
}

// withPassword signs in with a name and a password, and a code where one is needed.
func (a *app) withPassword(ctx context.Context, c *client.Client, name string, f loginFlags) (client.Session, error) {
	password, err := a.secret("password of "+name, f.passwordFile)
	if err != nil {
		return client.Session{}, err
	}
	s, err := c.LoginWithCode(ctx, name, password, f.code)
	var plane *client.Error
	if !errors.As(err, &plane) || plane.Err.Kind != ajar.Unauthenticated {
		return s, err
	}
	if plane.Err.Code != client.SecondFactorRequired {
		return s, hint(err, "check the name and the password; after many tries the plane answers more slowly")
	}
	if !terminal(a.in) || f.code != "" {
		return s, hint(err, "--code CODE gives the code of the authenticator app; --browser signs in with a passkey, too")
	}
	fmt.Fprint(a.err, "code of the authenticator app: ")
	line, err := bufio.NewReader(io.LimitReader(a.in, 256)).ReadString('\n')
	if err != nil {
		return s, fmt.Errorf("read the code: %w", err)
	}
	return c.LoginWithCode(ctx, name, password, strings.TrimSpace(line))
}

// withBrowser signs in whoever confirms it on the plane's own page.
func (a *app) withBrowser(ctx context.Context, c *client.Client, _ string, _ loginFlags) (client.Session, error) {
	b, err := c.LoginWithBrowser(ctx)
	if err != nil {
		return client.Session{}, err
	}
	a.say("open %s in a browser, and type the code %s\n(or open %s)", plain(b.URL), plain(b.Code), plain(b.Full))
	return b.Wait(ctx)
}

// loginConfig is what to sign in with: the flags, and what is kept from the last time.
func (a *app) loginConfig(ctx context.Context, f loginFlags) (*config, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	if f.server != "" && strings.TrimSuffix(f.server, "/") != cfg.Server {
		cfg = &config{Server: strings.TrimSuffix(f.server, "/"), Name: cfg.Name}
	}
	if f.user != "" {
		cfg.Name = f.user
	}
	if f.scope != "" {
		if cfg.Scope, err = ajar.ParseID(f.scope); err != nil {
			return nil, err
		}
	}
	if f.location != "" {
		cfg.Location = f.location
	}
	switch {
	case cfg.Server == "":
		return nil, usage("say which plane: --server https://…")
	case cfg.Name == "" && !f.browser:
		return nil, usage("say who you are: --user NAME")
	case f.caFile != "":
		pem, err := os.ReadFile(f.caFile)
		if err != nil {
			return nil, named("the certificate authority", err)
		}
		cfg.CA = string(pem)
	case f.caHash != "":
		pem, err := client.FetchCA(ctx, cfg.Server, f.caHash, http.ProxyFromEnvironment)
		if err != nil {
			return nil, err
		}
		cfg.CA = string(pem)
	}
	return cfg, nil
}

// secret reads a secret from a file, from standard input (-), or from the terminal without showing it.
func (a *app) secret(what, file string) (string, error) {
	var b []byte
	var err error
	switch {
	case file == "-":
		var line string
		line, err = bufio.NewReader(io.LimitReader(a.in, 1<<16)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		b = []byte(line)
	case file != "":
		if b, err = os.ReadFile(file); err != nil {
			return "", named("the "+what, err)
		}
	case terminal(a.in):
		fmt.Fprintf(a.err, "%s: ", what)
		b, err = term.ReadPassword(int(a.in.(*os.File).Fd()))
		fmt.Fprintln(a.err)
	default:
		return "", hint(usage("there is no terminal to ask for the %s on", what), "--password-file FILE, or --password-file - to read it from standard input")
	}
	if err != nil {
		return "", fmt.Errorf("read the %s: %w", what, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", usage("the %s is empty", what)
	}
	return s, nil
}
