package ajar

import (
	"strings"
)

// ID is an ARM resource ID such as
//
//	/subscriptions/{guid}/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}
//
// Any prefix of one on whole segments is a scope; Root covers everything. IDs are compared without regard to case
// and kept in the case last given (ARM resource provider contract, "common API details").
type ID string

// Root is the scope above all others.
const Root ID = "/"

// The longest ID that ParseID takes, in bytes, and the most segments.
const (
	maxID       = 1024
	maxSegments = 32
)

// ParseID checks s and drops a trailing slash. It refuses empty segments, "." and "..", control characters and
// whatever is too long; it does not require that s names anything known.
func ParseID(s string) (ID, error) {
	if s == "/" {
		return Root, nil
	}
	s = strings.TrimSuffix(s, "/")
	if len(s) > maxID {
		return "", Errorf(Invalid, "resource id is %d bytes long; at most %d are taken", len(s), maxID)
	}
	if !strings.HasPrefix(s, "/") {
		return "", Errorf(Invalid, "resource id %q must start with a slash", s)
	}
	segments := strings.Split(s[1:], "/")
	if len(segments) > maxSegments {
		return "", Errorf(Invalid, "resource id has %d segments; at most %d are taken", len(segments), maxSegments)
	}
	for _, seg := range segments {
		if seg == "" || seg == "." || seg == ".." {
			return "", Errorf(Invalid, "resource id %q has an empty or relative segment", s)
		}
		for _, r := range seg {
			if r < 0x20 || r == 0x7f || r == 0xfffd || r == '?' || r == '#' || r == '%' || r == '\\' {
				return "", Errorf(Invalid, "resource id %q contains a character that ids cannot have", s)
			}
		}
	}
	return ID(s), nil
}

// Key is the form under which the ID is compared and stored: lower case.
func (s ID) Key() string { return strings.ToLower(string(s)) }

// Equal reports whether both name the same thing.
func (s ID) Equal(t ID) bool { return s == t || s.Key() == t.Key() }

// Covers reports whether t is s or lies below it, without regard to case, on whole segments.
func (s ID) Covers(t ID) bool {
	if s == Root {
		return strings.HasPrefix(string(t), "/")
	}
	a, b := s.Key(), t.Key()
	return a != "" && strings.HasPrefix(b, a) && (len(a) == len(b) || b[len(a)] == '/')
}

// Subscription is the subscription's GUID as given, or "".
func (s ID) Subscription() string { return s.after("subscriptions") }

// ResourceGroup is the group's name as given, or "".
func (s ID) ResourceGroup() string { return s.after("resourcegroups") }

// Location is the segment after "locations", or "".
func (s ID) Location() string { return s.after("locations") }

// Group is the scope of the resource group that s lies in, or "".
func (s ID) Group() ID {
	if s.Subscription() == "" || s.ResourceGroup() == "" {
		return ""
	}
	return ID("/subscriptions/" + s.Subscription() + "/resourceGroups/" + s.ResourceGroup())
}

// Name is the last segment.
func (s ID) Name() string {
	t := strings.Trim(string(s), "/")
	return t[strings.LastIndexByte(t, '/')+1:]
}

// Type is the resource type, namespace included, such as Microsoft.Compute/virtualMachines; "" when s is no
// resource.
func (s ID) Type() string {
	segs := s.segments()
	last := -1
	for i, seg := range segs {
		if strings.EqualFold(seg, "providers") {
			last = i
		}
	}
	if last < 0 || last+2 >= len(segs) {
		return ""
	}
	t := segs[last+1]
	for i := last + 2; i < len(segs); i += 2 {
		t += "/" + segs[i]
	}
	return t
}

// The types of targets and of policies, as Azure spells them.
const (
	MachineType = "Microsoft.Compute/virtualMachines"
	PolicyType  = "Microsoft.Security/locations/jitNetworkAccessPolicies"
)

// IsMachine reports whether s names a virtual machine in a resource group, which is how every target is named.
func (s ID) IsMachine() bool {
	return strings.Count(strings.Trim(string(s), "/"), "/") == 7 && s.Subscription() != "" && s.ResourceGroup() != "" &&
		strings.EqualFold(s.Type(), MachineType)
}

func (s ID) segments() []string {
	t := strings.Trim(string(s), "/")
	if t == "" {
		return nil
	}
	return strings.Split(t, "/")
}

func (s ID) after(word string) string {
	i, next := 0, false
	for seg := range strings.SplitSeq(strings.Trim(string(s), "/"), "/") {
		if next {
			return seg
		}
		next = i%2 == 0 && strings.EqualFold(seg, word)
		i++
	}
	return ""
}
