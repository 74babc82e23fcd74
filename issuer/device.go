package issuer

import (
	"context"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// deviceView is what the person who types a device's code is shown before they decide.
type deviceView struct {
	UserCode string // as it is shown, with its dash
	Client   Client
	From     netip.Addr // of the device: somebody who does not know it should say no
	Asked    time.Time
	Expires  time.Time
}

// pendingDevice finds what waits for userCode, which may be typed in either case, with or without dash and spaces.
// NotFound if nothing does; TooMany after too many wrong codes from one address or session.
func (s *Server) pendingDevice(_ context.Context, _ string, _ *session, _ netip.Addr) (*deviceView, error) {
	return nil, ajar.Errorf(ajar.NotFound, "there is no such code, or it has expired")
}

// decideDevice lets the device that shows userCode sign in as who, or tells it no.
func (s *Server) decideDevice(_ context.Context, _ string, _ *session, _ netip.Addr, _ bool) error {
	return ajar.Errorf(ajar.NotFound, "there is no such code, or it has expired")
}
