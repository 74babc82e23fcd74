package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar/client"
)

// maxPEM is how much of a file is read: a certificate with its chain and key.
const maxPEM = 256 << 10

func certificateAddCmd(a *app, k principalKind) *cobra.Command {
	return command("add NAME FILE", "register a certificate (PEM); its private key stays where it is", `  ajar sp certificate add deploy deploy.pem`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		text, err := certificateOnly(a, args[1])
		if err != nil {
			return err
		}
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		made, err := c.AddCertificate(ctx, string(p.ID), text)
		if err != nil {
			return err
		}
		return a.done(made, "certificate %s of %s (thumbprint %s) ends %s", made.ID, plain(p.Name), made.Thumbprint, a.when(made.Expires))
	})
}

// certificateOnly reads the first certificate of a file and nothing else, since the key often stands beside it.
func certificateOnly(a *app, path string) (string, error) {
	in := a.in
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", named("the certificate", err)
		}
		defer f.Close()
		in = f
	}
	rest, err := io.ReadAll(io.LimitReader(in, maxPEM))
	if err != nil {
		return "", fmt.Errorf("read the certificate: %w", err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return "", usage("there is no certificate in %s (a PEM block CERTIFICATE)", path)
		}
		if block.Type == "CERTIFICATE" {
			return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})), nil
		}
	}
}

func certificateListCmd(a *app, k principalKind) *cobra.Command {
	return command("list NAME", "certificates of a service principal", `  ajar sp certificate list deploy`, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		all, err := client.Collect(c.Certificates(ctx, string(p.ID)))
		if err != nil {
			return err
		}
		return list(a, all, "there are none", []string{"CERTIFICATE", "THUMBPRINT", "SUBJECT", "ENDS"}, func(s client.Certificate) []string {
			return []string{s.ID, s.Thumbprint, or(plain(strings.TrimSpace(s.Subject)), "-"), a.when(s.Expires)}
		})
	})
}

func certificateRemoveCmd(a *app, k principalKind) *cobra.Command {
	return command("remove NAME CERTIFICATE", "end a certificate", `  ajar sp certificate remove deploy 3f1c…`, cobra.ExactArgs(2), func(ctx context.Context, args []string) error {
		c, p, err := k.named(ctx, a, args[0])
		if err != nil {
			return err
		}
		if err := c.DeleteCertificate(ctx, string(p.ID), args[1]); err != nil {
			return err
		}
		return a.done(map[string]string{"id": args[1]}, "certificate %s of %s is no good any longer", args[1], plain(p.Name))
	})
}
