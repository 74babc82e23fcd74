//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"github.com/ajar-access/ajar/lab"
)

// keep leaves the lab running and runs what is typed, each line at the place it begins with, until the input ends or
// somebody presses Ctrl-C.
func (d *demo) keep(ctx context.Context, in io.Reader) error {
	fmt.Fprintf(d.out, `
The lab stays until Ctrl-C or Ctrl-D. Type a place and a command, such as

  requester ajar open vm1 22 --for 2m --reason "try it" --wait
  requester ssh %[1]s
  attacker  ssh %[1]s
  vm1       nft list table inet ajar
  admin     ajar log

`, d.lab.Machines[0].IPv4)
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- s.Text()
		}
	}()
	for {
		fmt.Fprint(d.out, "lab> ")
		select {
		case <-ctx.Done():
			return nil
		case line, ok := <-lines:
			if !ok && term.IsTerminal(int(os.Stdin.Fd())) {
				return nil
			} else if !ok {
				<-ctx.Done()
				return nil
			}
			d.typed(ctx, line)
		}
	}
}

// typed runs one line at the place that it names.
func (d *demo) typed(ctx context.Context, line string) {
	place, command, _ := strings.Cut(strings.TrimSpace(line), " ")
	if place == "" {
		return
	}
	s, env := d.place(place)
	if s == nil || strings.TrimSpace(command) == "" {
		fmt.Fprintln(d.out, "say where: requester, attacker, admin, plane, vm1, vm2 or vm3; and then a command")
		return
	}
	env = append(env, "PATH="+d.bin+string(filepath.ListSeparator)+os.Getenv("PATH")+":/usr/sbin:/sbin")
	cmd := s.Command(ctx, env, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, d.out, d.out
	if err := s.Do(cmd.Start); err != nil {
		fmt.Fprintln(d.out, err)
		return
	}
	if err := cmd.Wait(); err != nil {
		fmt.Fprintln(d.out, err)
	}
}

func (d *demo) place(name string) (*lab.Space, []string) {
	switch name {
	case "requester":
		return d.lab.Requester, d.dana
	case "admin":
		return d.lab.Requester, d.admin
	case "attacker":
		return d.lab.Attacker, nil
	case "plane":
		return d.lab.Plane.Space, nil
	}
	for _, m := range d.lab.Machines {
		if m.Name == name {
			return m.Space(), nil
		}
	}
	return nil, nil
}
