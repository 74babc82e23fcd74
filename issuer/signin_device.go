package issuer

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

func (s *Server) mountDevice(mux *http.ServeMux) {
	s.mount(mux, "GET /device", signedIn(s.devicePage))
	s.mount(mux, "POST /device", signedIn(s.deviceFound))
	s.mount(mux, "POST /device/decide", signedIn(s.deviceDecide))
}

// deviceData is what the device pages show.
type deviceData struct {
	Code   string
	Here   netip.Addr // where the person is
	Device *deviceView
	Same   bool // the device is behind the same address
	Allow  bool
	Done   bool
}

// devicePage asks for the code. One that came with the address is filled in and no more: whoever sent the link does not
// decide for the person.
func (s *Server) devicePage(v *visit) {
	v.showDevice(http.StatusOK, deviceData{Code: clip(v.r.URL.Query().Get("user_code"), 4*userCodeLen)}, "")
}

func (v *visit) showDevice(status int, d deviceData, problem string) {
	title := "Sign in on a device"
	switch {
	case d.Done && d.Allow:
		title = "The device is signed in"
	case d.Done:
		title = "The device was turned away"
	case d.Device != nil:
		title = "Let " + d.Device.Client.Name + " sign in?"
	}
	d.Here = v.from
	v.show(status, "device", page{Title: title, Problem: problem, Data: d})
}

// deviceFound shows who asks, before anything is decided. What our own program gets can make tokens that last, so a browser
// left alone does not give it.
func (s *Server) deviceFound(v *visit) {
	d := deviceData{Code: clip(v.r.PostForm.Get("user_code"), 4*userCodeLen)}
	var err error
	if d.Device, err = s.pendingDevice(v.r.Context(), d.Code, v.who, v.from); err != nil {
		status, text := v.trouble(err)
		v.showDevice(status, deviceData{Code: d.Code}, text)
		return
	}
	if strings.EqualFold(d.Device.Client.ID, OwnClient) && !v.who.recent(v.now, freshFor) {
		again := v.r.Clone(v.r.Context())
		again.URL = &url.URL{Path: "/device", RawQuery: url.Values{"user_code": {d.Code}}.Encode()}
		s.toSignIn(v.w, again, v.who.Name)
		return
	}
	d.Same = d.Device.From == v.from
	v.showDevice(http.StatusOK, d, "")
}

func (s *Server) deviceDecide(v *visit) {
	d := deviceData{Code: v.r.PostForm.Get("user_code"), Allow: v.r.PostForm.Get("decision") == "allow", Done: true}
	if err := s.decideDevice(v.r.Context(), d.Code, v.who, v.from, v.corr, d.Allow); err != nil {
		status, text := v.trouble(err)
		v.showDevice(status, deviceData{}, text)
		return
	}
	v.showDevice(http.StatusOK, d, "")
}
