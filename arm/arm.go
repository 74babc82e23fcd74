package arm

import (
	"github.com/ajar-access/ajar/arm/events"
	"github.com/ajar-access/ajar/arm/jit"
	"github.com/ajar-access/ajar/arm/machines"
	"github.com/ajar-access/ajar/arm/openapi"
	"github.com/ajar-access/ajar/arm/people"
	"github.com/ajar-access/ajar/arm/places"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/arm/rights"
)

// Config is what the surface needs.
type Config = rest.Config

// Server is the surface, an http.Handler.
type Server = rest.Server

// New makes the surface, with all its rooms.
func New(c Config) *Server {
	return rest.New(c, jit.Routes, machines.Routes, rights.Routes, people.Routes, places.Routes, events.Routes, openapi.Routes)
}
