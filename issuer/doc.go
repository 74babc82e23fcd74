// Package issuer is the plane's OAuth 2.0 and OpenID Connect surface: it signs people and programs in and gives their
// clients tokens, at the addresses and in the words that Azure's clients use. It does not know what a token's holder may
// do, and it does not look at tokens that come with calls: authn does.
//
//	/adfs/oauth2/v2.0/token        ─┐ tenant ─► endpoint ─► authn proves who it is ─► one transaction: the grant is
//	/{tenant}/oauth2/v2.0/token    ─┘                        used up, the token is entered, the event is logged
//	/signin /device /account       ─► pages for people: a session in a cookie, which authorize and device codes ask for
//
// Signing keys are authn's: whoever takes tokens checks them with the same. A token is good only while its SHA-256
// stands in the store, so that it ends when somebody says so and not only when it says so itself.
package issuer
