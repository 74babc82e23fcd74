//go:build linux

package lab

import (
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Where namespaces are forbidden the reader is told which setting does that, or to use sudo.
func TestForbiddenNamespacesNameTheSetting(t *testing.T) {
	for _, c := range []struct {
		err  error
		uid  int
		sys  map[string]string
		want []string
	}{
		{unix.EPERM, 1000, map[string]string{"kernel/unprivileged_userns_clone": "0\n"}, []string{"sysctl kernel.unprivileged_userns_clone=1", "sudo make demo"}},
		{unix.EACCES, 1000, map[string]string{"kernel/apparmor_restrict_unprivileged_userns": "1\n"}, []string{"sysctl kernel.apparmor_restrict_unprivileged_userns=0", "sudo make demo"}},
		{unix.ENOSPC, 1000, map[string]string{"user/max_user_namespaces": "0\n"}, []string{"sysctl user.max_user_namespaces=10000", "sudo make demo"}},
		{unix.EPERM, 1000, nil, []string{"sudo make demo"}},
		{unix.EPERM, 0, nil, []string{"CAP_SYS_ADMIN"}},
		{unix.ENOENT, 1000, nil, []string{"no such file"}},
	} {
		err := explain(c.err, c.uid, func(name string) ([]byte, error) {
			if v, ok := c.sys[strings.TrimPrefix(name, "/proc/sys/")]; ok {
				return []byte(v), nil
			}
			return nil, fs.ErrNotExist
		})
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%v as uid %d: %q does not say %q", c.err, c.uid, err, w)
			}
		}
	}
}
