// Package jit is what the surface is for: just-in-time policies, the requests under them, the leases that these open, and the
// machines and hosts that all of it is about; Azure's eight operations byte for byte where clients look, and Ajar's own beside
// them. It knows nothing of roles or people.
package jit
