package people

import (
	"slices"

	"github.com/ajar-access/ajar/arm/rest"
)

// room has this package's operations.
type room struct{ *rest.Server }

// Routes are the operations of this room.
func Routes(s *rest.Server) []rest.Route {
	r := room{s}
	return slices.Concat(
		r.sessionRoutes(),
		r.tokenRoutes(),
		r.principalRoutes(),
		r.certificateRoutes(),
	)
}
