package broker

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ajar-access/ajar"
)

// clean makes s fit to be kept: valid UTF-8 without control characters, at most max bytes.
func clean(s string, max int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	if len(s) <= max {
		return s
	}
	s = s[:max]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s
}

// text refuses what cannot be kept as it is.
func text(what, s string, max int) error {
	if len(s) > max {
		return ajar.Errorf(ajar.Invalid, "%s is %d bytes long; at most %d are taken", what, len(s), max)
	}
	if !utf8.ValidString(s) {
		return ajar.Errorf(ajar.Invalid, "%s is not valid UTF-8", what)
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' && r != '\r' {
			return ajar.Errorf(ajar.Invalid, "%s contains a control character", what)
		}
	}
	return nil
}

// word refuses what is not a single line of visible text.
func word(what, s string, max int) error {
	if err := text(what, s, max); err != nil {
		return err
	}
	if strings.TrimSpace(s) != s || strings.ContainsAny(s, "\n\r\t") {
		return ajar.Errorf(ajar.Invalid, "%s must be one line without space around it", what)
	}
	return nil
}

func foldID(p ajar.PrincipalID) ajar.PrincipalID { return ajar.PrincipalID(strings.ToLower(string(p))) }

// guid reads a GUID and gives it in lower case.
func guid(what, s string) (string, error) {
	t := strings.ToLower(s)
	if !isGUID(t) {
		return "", ajar.Errorf(ajar.Invalid, "%s %.60q is not a GUID", what, s)
	}
	return t, nil
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range []byte(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdefABCDEF", rune(c)) {
			return false
		}
	}
	return true
}

// digest refuses what is not a hex SHA-256 in lower case.
func digest(what, s string) error {
	if b, err := hex.DecodeString(s); err != nil || len(b) != 32 || s != strings.ToLower(s) {
		return ajar.Errorf(ajar.Invalid, "%s is not a SHA-256 in hex", what)
	}
	return nil
}

// machine reads the ID of a machine.
func machine(id ajar.ID) (ajar.ID, error) {
	t, err := ajar.ParseID(string(id))
	if err != nil {
		return "", err
	}
	if !t.IsMachine() {
		return "", ajar.Errorf(ajar.Invalid, "%.200q is not the id of a virtual machine (/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Compute/virtualMachines/{name})", t)
	}
	return t, nil
}

// policyID reads the ID of a policy.
func policyID(id ajar.ID) (ajar.ID, error) {
	p, err := ajar.ParseID(string(id))
	if err != nil {
		return "", err
	}
	if p.Group() == "" || p.Location() == "" || !strings.EqualFold(p.Type(), ajar.PolicyType) || strings.Count(string(p), "/") != 10 {
		return "", ajar.Errorf(ajar.Invalid, "%.200q is not the id of a policy (/subscriptions/{s}/resourceGroups/{g}/providers/Microsoft.Security/locations/{l}/jitNetworkAccessPolicies/{name})", p)
	}
	return p, nil
}

// readID is read, but keeps what was given where it cannot be read.
func readID(id ajar.ID, read func(ajar.ID) (ajar.ID, error)) (ajar.ID, error) {
	got, err := read(id)
	if err != nil {
		return id, err
	}
	return got, nil
}

// scope reads the ID of a scope; none means all.
func scope(id ajar.ID) (ajar.ID, error) {
	if id == "" {
		return ajar.Root, nil
	}
	return ajar.ParseID(string(id))
}

// sources puts prefixes into the form they are compared in: unmapped, host bits cleared, sorted, each once.
func sources(what string, in []netip.Prefix) ([]netip.Prefix, error) {
	if len(in) > ajar.MaxSources {
		return nil, ajar.Errorf(ajar.Invalid, "%s: %d sources; at most %d are taken", what, len(in), ajar.MaxSources)
	}
	out := make([]netip.Prefix, 0, len(in))
	for _, p := range in {
		if !p.IsValid() {
			return nil, ajar.Errorf(ajar.Invalid, "%s: a source is not a prefix", what)
		}
		if p.Addr().Is4In6() {
			if p.Bits() < 96 {
				return nil, ajar.Errorf(ajar.Invalid, "%s: source %s is a wider range than IPv4; write it as IPv4 or IPv6", what, p)
			}
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return slices.Compact(out), nil
}

// newest gives an ID made by newID a head that counts down with time, so that lists in order of key begin with the
// newest (RFC 9562, version 8).
func newest(now time.Time, newID func() string) string {
	id := strings.ToLower(newID())
	if !isGUID(id) {
		return id
	}
	left := uint64(1)<<48 - 1 - uint64(now.UnixMilli())&(1<<48-1)
	b := make([]byte, 6)
	for i := range b {
		b[i] = byte(left >> (40 - 8*i))
	}
	head := hex.EncodeToString(b)
	return head[:8] + "-" + head[8:] + "-8" + id[15:]
}
