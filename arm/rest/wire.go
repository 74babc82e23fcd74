package rest

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Stamp is a time as Azure writes it: UTC with seven digits.
type Stamp time.Time

// StampForm is how Azure writes times.
const StampForm = "2006-01-02T15:04:05.0000000Z"

// MarshalJSON writes the seven digits.
func (t Stamp) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, len(StampForm)+2)
	b = append(b, '"')
	b = time.Time(t).UTC().AppendFormat(b, StampForm)
	return append(b, '"'), nil
}

// Time is a time in a body: RFC 3339 with any number of digits; without a zone it is taken as UTC, which is what
// its member's name says.
type Time struct{ time.Time }

// UnmarshalJSON reads it; null and "" are no time.
func (t *Time) UnmarshalJSON(b []byte) error {
	s, ok, err := textOf(b)
	if err != nil || !ok {
		return err
	}
	at, err := parseTime(s)
	t.Time = at
	return err
}

// parseTime reads a time in RFC 3339; without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	if len(s) <= 64 {
		for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05"} {
			if t, err := time.Parse(form, s); err == nil && t.Year() >= 1970 && t.Year() <= 9999 {
				return t.UTC().Truncate(time.Millisecond), nil
			}
		}
	}
	return time.Time{}, Bad("%.64q is not a time such as 2026-11-20T17:00:00Z", s)
}

// Duration is an ISO 8601 duration in a body, with the text it came as.
type Duration struct {
	time.Duration
	Text string
}

// UnmarshalJSON reads it; null and "" are no duration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	s, ok, err := textOf(b)
	if err != nil || !ok {
		return err
	}
	d.Duration, err = ajar.ParseDuration(s)
	d.Text = s
	return err
}

// Given reports whether there was one.
func (d Duration) Given() bool { return d.Text != "" }

// Int is a whole number in a body. Terraform modules and scripts in the wild quote theirs.
type Int struct {
	N     int
	Given bool
}

// UnmarshalJSON reads 22, "22" and null.
func (i *Int) UnmarshalJSON(b []byte) error {
	s := string(bytes.Trim(b, `"`))
	if s == "null" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return Bad("%.40s is not a whole number", b)
	}
	i.N, i.Given = int(n), true
	return nil
}

// Port is i as a port number; zero is for the caller to refuse in words that fit.
func (i Int) Port(where string) (uint16, error) {
	if !i.Given {
		return 0, Bad("%s.number is required", where)
	}
	if i.N < 1 || i.N > 65535 {
		return 0, Bad("%s.number is %d; it must be between 1 and 65535", where, i.N)
	}
	return uint16(i.N), nil
}

// Text is one text in a body, which scripts in the wild send as a list of one.
type Text string

// UnmarshalJSON reads "x", ["x"], [] and null.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		var list []string
		if err := json.Unmarshal(b, &list); err != nil || len(list) > 1 {
			return Bad("one text is expected, not a list of %d (use the plural member for several)", len(list))
		}
		if len(list) == 1 {
			*t = Text(list[0])
		}
		return nil
	}
	s, _, err := textOf(b)
	*t = Text(s)
	return err
}

// textOf reads a JSON string; ok is false for null and "".
func textOf(b []byte) (s string, ok bool, err error) {
	if bytes.Equal(b, []byte("null")) {
		return "", false, nil
	}
	if s, ok = plainText(b); !ok && (len(b) == 0 || b[0] != '"' || json.Unmarshal(b, &s) != nil) {
		return "", false, Bad("%.40s is not a text", b)
	}
	s = strings.TrimSpace(s)
	return s, s != "", nil
}

// plainText reads a JSON string in which every byte says what it is, as nearly all do.
func plainText(b []byte) (s string, ok bool) {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return "", false
	}
	b = b[1 : len(b)-1]
	for _, c := range b {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return "", false
		}
	}
	return string(b), true
}

// Bad is a body that makes no sense, in words for its author.
func Bad(format string, a ...any) error { return Coded(ajar.Invalid, codeContent, format, a...) }

// When is a time on the routes beyond Azure; left out when there is none.
func When(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// MachineID reads the id of a machine in a body. ARM checks such linked ids and has its own text for them.
func MachineID(id, where string) (ajar.ID, error) {
	if id == "" {
		return "", Bad("%s.id is required", where)
	}
	t, err := ajar.ParseID(id)
	if err != nil || !t.IsMachine() {
		return "", Coded(ajar.Invalid, "LinkedInvalidPropertyId", "Property id '%.300s' at path '%s.id' is invalid. Expect fully qualified resource Id that starts with '/subscriptions/{subscriptionId}' and names a virtual machine (…/resourceGroups/{group}/providers/Microsoft.Compute/virtualMachines/{name}).", id, where)
	}
	return t, nil
}

// StampAt is a time in Azure's form; nil for none.
func StampAt(t time.Time) *Stamp {
	if t.IsZero() {
		return nil
	}
	s := Stamp(t)
	return &s
}

// NullText is a text, or null.
type NullText string

// MarshalJSON writes null for "".
func (t NullText) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}
