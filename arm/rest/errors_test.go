package rest

import (
	"testing"

	"github.com/ajar-access/ajar"
)

func TestKindsHaveOneTable(t *testing.T) {
	for _, k := range []ajar.Kind{ajar.Invalid, ajar.NotFound, ajar.Conflict, ajar.Forbidden, ajar.Unauthenticated, ajar.TooMany, ajar.Unavailable, ajar.Internal} {
		if f, ok := faults[k]; !ok || f.status < 400 || f.code == "" {
			t.Errorf("%s has %+v", k, f)
		}
	}
}
