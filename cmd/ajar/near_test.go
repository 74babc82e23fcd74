package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func TestNear(t *testing.T) {
	all := []string{"web1", "web2", "db1", "Mail", "open", "close"}
	for typed, want := range map[string][]string{
		"wbe1": {"web1"}, "WEB1": {"web1"}, "we": {"web1", "web2"}, "mial": {"Mail"}, "clsoe": {"close"}, "x": nil, "": nil, "nothing": nil,
	} {
		if got := near(typed, all); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", typed, got, want)
		}
	}
}

// A certificate that is out of its time may mean a clock that is.
func TestAdviceOnACertificateOutOfItsTime(t *testing.T) {
	now := time.Date(2031, 1, 2, 3, 4, 5, 0, time.UTC)
	a := &app{now: func() time.Time { return now }, getenv: func(string) string { return "" }}
	err := &ajar.Error{Kind: ajar.Unavailable, Code: client.UntrustedCertificate, Msg: "x509: certificate has expired or is not yet valid: current time …"}
	if got := a.advice(err); !strings.Contains(got, "2031-01-02 03:04:05 UTC") {
		t.Error(got)
	}
	err.Msg = "x509: certificate signed by unknown authority"
	if got := a.advice(err); !strings.Contains(got, "--ca-hash") {
		t.Error(got)
	}
	if got := a.orBreakGlass(err, ajar.Port{Number: 22}); !errors.Is(got, error(err)) || a.advice(got) != a.advice(err) {
		t.Error(got)
	}
}
