package activity

import (
	"reflect"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/odata"
)

// Select is a $select: the properties that records are shown with; nil = all.
type Select map[int]bool

// members are the properties of a record, in lower case, by their place.
var members = func() map[string]int {
	m := map[string]int{}
	t := reflect.TypeFor[Record]()
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			m[strings.ToLower(name)] = i
		}
	}
	return m
}()

// ParseSelect reads names of properties with commas between them.
func ParseSelect(text string) (Select, error) {
	if len(text) > maxFilter {
		return nil, badSelect("it is longer than 4000 bytes")
	}
	var s Select
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		i, ok := members[strings.ToLower(name)]
		if !ok {
			return nil, badSelect("'" + odata.Short(name) + "' is no property of an event")
		}
		if s == nil {
			s = Select{}
		}
		s[i] = true
	}
	return s, nil
}

func badSelect(why string) error {
	return &ajar.Error{Kind: ajar.Invalid, Code: "InvalidSelectInQueryString", Msg: "Invalid $select in the query string: " + why + "."}
}

// of is r with what s names.
func (s Select) of(r *Record) *Record {
	if s == nil {
		return r
	}
	out := &Record{}
	from, to := reflect.ValueOf(r).Elem(), reflect.ValueOf(out).Elem()
	for i := range s {
		to.Field(i).Set(from.Field(i))
	}
	return out
}
