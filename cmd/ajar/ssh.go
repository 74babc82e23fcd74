package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func sshCmd(a *app) *cobra.Command {
	var f askFlags
	var keep bool
	c := command("ssh [USER@]TARGET [-- SSH-ARGUMENTS]", "ask for access, run ssh, and close the port when it ends", `  ajar ssh web1
  ajar ssh root@web1
  ajar ssh web1 --for 2h --reason "disk full"
  ajar ssh web1 -- -L 8080:localhost:80 -o ServerAliveInterval=30
  ajar ssh web1 -- -- df -h                     # what follows the second -- runs on the machine`, cobra.MinimumNArgs(1), nil)
	c.Long = `Asks for the machine's ssh port, waits until it is open, runs ssh with what follows --, and closes the port when ssh
ends. It says when the end of the access comes near, and exits as ssh does.`
	f.add(a, c)
	c.Flags().BoolVar(&keep, "keep", false, "leave the port open until its end")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if dash := cmd.ArgsLenAtDash(); dash > 1 || (dash < 0 && len(args) > 1) {
			return hint(usage("one machine, please"), "arguments for ssh follow --, and a command for the machine a second one: ajar ssh %s -- -- %s", args[0], strings.Join(args[1:], " "))
		}
		return a.ssh(cmd.Context(), args[0], args[1:], f, keep)
	}
	return c
}

func (a *app) ssh(ctx context.Context, machine string, args []string, f askFlags, keep bool) (err error) {
	program, err := exec.LookPath("ssh")
	if err != nil {
		return hint(fmt.Errorf("there is no ssh here: %w", err), "ajar open %s ssh prints the line for another client", machine)
	}
	c, _, err := a.client()
	if err != nil {
		return err
	}
	login, machine := loginOf(machine)
	t, err := target(ctx, c, machine)
	if err != nil {
		return a.orBreakGlass(err, ajar.Port{Number: 22})
	}
	t.Login = or(login, t.Login)
	r, err := a.ask(ctx, c, t, ajar.Port{Number: sshPort(t)}, f)
	if err != nil {
		return a.orBreakGlass(err, ajar.Port{Number: sshPort(t)})
	}
	if !keep {
		// Whatever happens from here on, the port does not stay open; the caller's Ctrl-C is no reason to leave it.
		defer func() { err = errors.Join(err, a.closeAfter(context.WithoutCancel(ctx), c, r)) }()
	}
	if r, err = a.await(ctx, c, r, f.timeout.d); err != nil {
		return err
	}
	if err := a.notOpen(ctx, c, t, r); err != nil {
		return err
	}
	return a.runSSH(ctx, c, program, sshArgs(t, args), r)
}

// loginOf splits user@machine, as ssh has it. An ID has no @ before its first slash.
func loginOf(s string) (login, machine string) {
	if i := strings.LastIndexByte(s, '@'); i > 0 && !strings.HasPrefix(s, "/") {
		return s[:i], s[i+1:]
	}
	return "", s
}

// sshArgs puts the caller's options before the destination and his command, after a second --, behind it.
func sshArgs(t client.Target, args []string) []string {
	var command []string
	for i, s := range args {
		if s == "--" {
			args, command = args[:i], args[i+1:]
			break
		}
	}
	host := t.ID.Name()
	if len(t.Addresses) > 0 {
		host = t.Addresses[0].String()
	}
	all := []string{}
	if p := sshPort(t); p != 22 {
		all = append(all, "-p", strconv.Itoa(int(p)))
	}
	if t.Login != "" {
		all = append(all, "-l", t.Login)
	}
	all = append(all, args...)
	all = append(all, "--", host)
	return append(all, command...)
}

// runSSH runs the child with our own input and output and passes on the signals that would otherwise end us and leave
// it behind. A terminal's Ctrl-C reaches the child by itself.
func (a *app) runSSH(ctx context.Context, c *client.Client, program string, args []string, r client.Request) error {
	child := exec.Command(program, args...) // not bound to ctx: the child decides what a signal means
	child.Stdin, child.Stdout, child.Stderr = a.in, a.out, a.err
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, stopSignals...)
	defer signal.Stop(signals)
	if err := child.Start(); err != nil {
		return fmt.Errorf("run ssh: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	reminding, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go a.remind(reminding, c, r)
	for {
		select {
		case err := <-ended:
			return err
		case s := <-signals:
			if s != os.Interrupt || !terminal(a.in) {
				_ = child.Process.Signal(s) // it may have ended just now
			}
		}
	}
}

// closeAfter closes the port once ssh has ended, or takes the request back if nobody approved it yet. That it is closed
// already is fine.
func (a *app) closeAfter(ctx context.Context, c *client.Client, r client.Request) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	_, err := c.Revoke(ctx, r.ID, "ssh ended")
	if ajar.KindOf(err) == ajar.Conflict && r.State == ajar.Pending {
		if _, err = c.Withdraw(ctx, r.ID, "ssh was not started"); ajar.KindOf(err) == ajar.Conflict {
			_, err = c.Revoke(ctx, r.ID, "ssh ended") // it was approved between the two
		}
	}
	switch ajar.KindOf(err) {
	case ajar.Conflict, ajar.NotFound:
		return nil
	}
	if err != nil {
		a.say("ajar: the port stays open until its end: %s", err)
		a.say("hint: ajar close --request %s", r.ID)
	}
	return nil
}

// remind tells in time that the end comes near. Somebody may have moved it meanwhile, so the plane is asked again.
func (a *app) remind(ctx context.Context, c *client.Client, r client.Request) {
	told := time.Time{}
	for end := endOf(r); !end.IsZero(); end = endOf(r) {
		left := end.Sub(a.now())
		tell, pause := reminder(left, end.Sub(r.Decided), told.Equal(end))
		if tell {
			// The terminal is the child's now and may be raw: a line of our own starts with a return.
			fmt.Fprintf(a.err, "\r\najar: this access ends in %s; to stay: ajar extend --request %s --by 30m\r\n", short(left), r.ID)
			told = end
		}
		if wait(ctx, pause) != nil {
			return
		}
		if now, err := c.Request(ctx, r.ID); err == nil {
			r = now
		}
	}
}

// reminder says whether to speak now, with so much left of the whole, and when to look again: five minutes before the
// end, or a quarter of the whole if that is shorter.
func reminder(left, whole time.Duration, told bool) (tell bool, again time.Duration) {
	notice := min(5*time.Minute, max(whole/4, 10*time.Second))
	if left > notice {
		return false, left - notice
	}
	return !told && left > 0, max(left/2, time.Second)
}

// endOf is when the first live lease of r ends; zero if none lives.
func endOf(r client.Request) time.Time {
	var end time.Time
	for _, l := range r.Leases {
		if l.Live() && (end.IsZero() || l.End.Before(end)) {
			end = l.End
		}
	}
	return end
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
