// Package authn answers who is asking: it turns a bearer token and a connection into an ajar.Caller, a name and a
// password into such a token, and keeps the plane's certificate authority. It does not know what anybody may do; that is
// the broker's to decide.
//
//	name + password ──► throttle ──► argon2id ─┐
//	name + secret   ──► throttle ──► SHA-256 ──┴─► Token (256 random bits; its SHA-256 is all that is kept)
//	request ──► Bearer token ──► memory, at most CacheAge old ──► Caller{principal, address}
//	                   └─ a signed one: signature and claims, the first time
//
// Signed tokens are given by the issuer, which proves who it is with Enter and has Keys sign. They stand in the store like
// the others, by their SHA-256, so that all tokens are listed, ended and forgotten in one way.
//
// How long a log-in works on depends on what was presented alone and never on the name: whatever has the form of a
// generated secret is compared by SHA-256, everything else costs exactly one argon2id, whether or not the name exists.
package authn
