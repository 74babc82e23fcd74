// Package client is the Go client of Ajar's REST surface: sign-in, policies, requests, leases, hosts, people, roles and
// the activity log. It does not know how the plane decides anything, keeps nothing on disk and reads no environment.
//
//	c, err := client.New(client.Config{Server: "https://ajar.example.com", CA: pem, Token: token})
//	req, err := c.Initiate(ctx, policy, client.Initiate{…})   // ask
//	req, err = c.Wait(ctx, req.ID, nil)                       // until the port is open, or it is known why not
//	err = c.Revoke(ctx, req.ID, "done")                       // close early
//
// # Trust
//
// The plane has a certificate authority of its own. A Client trusts the certificates in Config.CA and nothing else, or
// the system's roots when there are none there. FetchCA gets the plane's certificate authority and gives it back only
// if it has the hash that the caller was told by somebody trustworthy; there is no trust on first use.
//
// # Errors
//
// What the plane refuses comes back as an *Error, which unwraps to an *ajar.Error: ask with
// errors.Is(err, ajar.NotFound). Correlation finds the line in the plane's own log. A plane that cannot be reached is
// ajar.Unavailable.
//
// # Lists
//
// Lists are iterators that fetch the next page when it is needed:
//
//	for p, err := range c.Policies(ctx, ajar.Root) {
//		if err != nil {
//			return err
//		}
//		…
//	}
//
// # Repeats
//
// GET, DELETE and unconditional PUT are tried again, a few times and with growing pauses, when the connection fails or
// the plane says 429 or 503; nothing else is. Asking for access is never repeated behind the caller's back.
package client
