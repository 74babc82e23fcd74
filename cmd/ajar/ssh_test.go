package main

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ajar-access/ajar/client"
)

func TestReminderComesOnceAndInTime(t *testing.T) {
	for _, c := range []struct {
		left, whole time.Duration
		told, tell  bool
		again       time.Duration
	}{
		{time.Hour, time.Hour, false, false, 55 * time.Minute},
		{5 * time.Minute, time.Hour, false, true, 150 * time.Second},
		{5 * time.Minute, time.Hour, true, false, 150 * time.Second},
		{8 * time.Minute, 8 * time.Minute, false, false, 6 * time.Minute}, // a quarter of a short one
		{15 * time.Second, 20 * time.Second, false, false, 5 * time.Second},
		{0, time.Hour, false, false, time.Second}, // it is over
		{-time.Minute, time.Hour, false, false, time.Second},
	} {
		tell, again := reminder(c.left, c.whole, c.told)
		if tell != c.tell || again != c.again {
			t.Errorf("%s of %s left: %v, again in %s; want %v, %s", c.left, c.whole, tell, again, c.tell, c.again)
		}
	}
}

func TestSSHArguments(t *testing.T) {
	t1 := client.Target{ID: "/subscriptions/x/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/web1"}
	t2 := t1
	t2.Login, t2.SSHPort = "ops", 2222
	for _, c := range []struct {
		t    client.Target
		args []string
		want []string
	}{
		{t1, nil, []string{"--", "web1"}},
		{t2, nil, []string{"-p", "2222", "-l", "ops", "--", "web1"}},
		{t1, []string{"-v"}, []string{"-v", "--", "web1"}},
		{t1, []string{"-v", "--", "df", "-h"}, []string{"-v", "--", "web1", "df", "-h"}},
		{t1, []string{"--", "df", "--", "x"}, []string{"--", "web1", "df", "--", "x"}},
	} {
		if d := cmp.Diff(c.want, sshArgs(c.t, c.args)); d != "" {
			t.Error(d)
		}
	}
}

// A host's name is somebody else's text. It never becomes an option of ssh.
func TestHostIsNeverAnOption(t *testing.T) {
	evil := client.Target{ID: "/subscriptions/x/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/-oProxyCommand=evil", Login: "-oProxyCommand=evil"}
	args := sshArgs(evil, nil)
	if d := cmp.Diff([]string{"-l", "-oProxyCommand=evil", "--", "-oProxyCommand=evil"}, args); d != "" {
		t.Error(d)
	}
}

// The line is there to be pasted into a shell.
func TestPrintedLineIsSafeToPaste(t *testing.T) {
	for in, want := range map[string]string{
		"ops@192.0.2.1": "ops@192.0.2.1", "2001:db8::1": "2001:db8::1", "a b@h": "'a b@h'", "$(reboot)@h": "'$(reboot)@h'", "it's": `'it'\''s'`,
		"-oProxyCommand=x": "-- '-oProxyCommand=x'", "x\nreboot": "'x reboot'", "-v": "-- -v",
	} {
		if got := quote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
