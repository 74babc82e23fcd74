// Package agent is both halves of the host agent and the wire between them: Hub, the Enforcer in the plane, and Host,
// the loop on the machine that carries out what the Hub says through a Local firewall. It knows no firewall, no
// database and no certificate authority: those are handed in, as Local and as function fields.
//
//	ajard                                                  the machine
//	enforce ──► Hub.Change ──► one TLS 1.3 connection ──► Host ──► Local (provider/nftables)
//	broker  ◄── Identify,         that the host dialled     │
//	            Join, Renew                                 ├─ desired   what is to be, crash-safe
//	loop    ◄── Hub.Report ◄──────── reports ◄──────────────┤─ journal   what happened, until the plane has it
//	                                                        └─ Clock     the plane's time on CLOCK_BOOTTIME
//
// # Wiring a Hub
//
//	hub := &agent.Hub{
//		Clock: time.Now, Log: log,
//		Server: func() (*tls.Certificate, error),     // the plane's certificate for agents, asked at each handshake
//		CA:     func() []*x509.Certificate,           // who signs hosts; sent along so that --ca-hash can be checked
//		Identify: func(ctx, cert) (ajar.EndpointID, error), // whose certificate; asked at the handshake and every Recheck
//		Join:     func(ctx, agent.Joining) (agent.Joined, error), // Joining has TokenHash (hex SHA-256), CSR, From, Status
//		Renew:    func(ctx, ep, by, csr) ([]byte, error), // a new certificate, PEM
//		Home:     func(ep, connected bool),           // optional: this replica (no longer) has the host
//		Settings: func(ep) agent.Settings,            // optional: break-glass on or off
//		Left:     func(ctx, ep) error,                // optional: the host's administrator took it out
//	}
//	go hub.Serve(ctx, listener)                       // a plain TCP listener; the Hub speaks TLS itself
//
// Required are Clock, Server, CA, Identify, Join and Renew. As an ajar.Enforcer the Hub is also Changer, Previewer and
// Reporter; a host is told changed Settings with the next pass. Besides, Hub.Cut(ep) ends a host's connection at once
// (after a revocation), Hub.Remove(ctx, ep, lift) gives a host its final order, and Hub.Connected(ep) and
// Hub.Refused(ctx, ep) tell of a host. What Identify answers is kept to: Forbidden means that the identity is revoked, and makes the host close
// what the plane opened and keep its guard (or lift it, if the error's Code is LiftGuard); any other error only makes it
// try again later.
//
// A revision that a host acknowledged counts only for the Hub that it acknowledged it to: another Hub, or the same
// program started again, answers Conflict to a first Change and is given the whole.
//
// # The wire
//
// Frames of a four-byte length and JSON, one write each. The plane's carry its time; every rule carries its deadline
// and the milliseconds that remain of it; one without an end is relayed by no Hub and carried out by no Host. The host
// answers when its Local has read the change back, and, where something was closed or guarded, when the disk has it too:
// what a power cut makes it forget can only be an opening.
//
// # Clocks
//
// A host's Clock is the plane's time carried on by CLOCK_BOOTTIME. Each answered beat gives an upper bound of the
// plane's time; the Clock follows the lowest recent one, so it is never behind the plane and openings never outlast
// their deadline. It jumps forward only, and slows down to fall back. Any other message brings a lower bound; one that is ahead
// of the Clock means that the plane's was set forward, and an order that does waits for a beat's answer. When the plane's
// own clock steps back, what is open keeps its old end and what is new is counted by its remaining time. After a reboot, and until the plane is heard,
// the wall clock says how long the machine was off, if it is one that can know; else nothing is opened again.
//
// # What is on disk when
//
//	an opening     kernel, ledger, answer, sync     killed in between: not acknowledged, or adopted; power cut: closed
//	a closing      ledger, kernel, sync, answer     killed in between: closed; power cut before the answer: not acknowledged
//	break-glass    journal and sync, kernel, ledger
//	a report       journal and sync, plane, journal
package agent
