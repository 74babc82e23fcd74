package nftables

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
)

// Preview tells which listening sockets guards would close to the outside, and which live connections they would cut.
// Nothing is changed. Process names need the rights to see other processes' files; without them they are left out.
func (f *Firewall) Preview(ctx context.Context, _ ajar.Endpoint, guard []ajar.Guard) (ajar.Impact, error) {
	var on []bar
	for _, g := range guard {
		ks, err := bars(ajar.Guard{Flow: g.Flow}, 0)
		if err != nil {
			return ajar.Impact{}, err
		}
		for k := range ks {
			on = append(on, k)
		}
	}
	var im ajar.Impact
	socks, err := f.sockets(ctx)
	if err != nil {
		return im, fmt.Errorf("list sockets: %w", err)
	}
	im.Listening = listeners(socks, on)
	conns, err := f.connections(ctx, on)
	if err != nil {
		return im, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range conns {
		if c.socket && !c.served || f.allowed(c.flow) {
			continue // our own call, or an opening lets it live
		}
		im.Connections = append(im.Connections, c.shown())
	}
	slices.SortFunc(im.Connections, func(a, b ajar.Connection) int {
		return cmp.Or(a.Local.Compare(b.Local), a.Remote.Compare(b.Remote))
	})
	return im, nil
}

// allowed reports whether an opening lets c live now.
func (f *Firewall) allowed(c flow) bool {
	now := f.clock().UnixMilli()
	remote, _ := c.ends()
	for s := range f.built {
		if s.six != c.six {
			continue
		}
		p := place{shape: s, port: c.lport, proto: c.proto}
		if prefix, err := remote.Addr().Prefix(int(s.bits)); err == nil {
			p.src = bytes16(prefix.Addr())
		}
		if s.to {
			p.dst = c.local
		}
		if e := f.book.elems[p]; e != nil && e.until() > now {
			return true
		}
	}
	return false
}

func listeners(socks []sock, on []bar) []ajar.Listener {
	var ls []ajar.Listener
	inodes := map[uint32]int{}
	for _, s := range socks {
		a := s.local.Addr()
		if !s.listening() || a.IsLoopback() {
			continue
		}
		closed := slices.ContainsFunc(on, func(k bar) bool {
			return k.port == s.local.Port() && k.proto == s.proto && (!k.to || a.IsUnspecified() || k.dest() == a)
		})
		if closed {
			inodes[s.inode] = len(ls)
			ls = append(ls, ajar.Listener{Port: ajar.Port{Number: s.local.Port(), Protocol: ajar.Protocol(protoName(s.proto))}, Address: a})
		}
	}
	if len(ls) > 0 {
		name(ls, inodes)
	}
	slices.SortFunc(ls, func(a, b ajar.Listener) int {
		return cmp.Or(cmp.Compare(a.Port.Number, b.Port.Number), cmp.Compare(a.Port.Protocol, b.Port.Protocol), a.Address.Compare(b.Address))
	})
	return ls
}

// name finds the processes that hold sockets, by their inodes.
func name(ls []ajar.Listener, inodes map[uint32]int) {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil || !strings.HasPrefix(to, "socket:[") {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimPrefix(to, "socket:["), "]"), 10, 32)
		if err != nil {
			continue
		}
		i, ok := inodes[uint32(n)]
		if !ok || ls[i].Process != "" {
			continue
		}
		comm, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(fd)), "comm"))
		if err == nil {
			ls[i].Process = strings.TrimSpace(string(comm))
		}
	}
}
