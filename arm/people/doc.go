// Package people is who there is and what they come with: logging in, tokens, people, groups and service principals with their
// secrets and certificates. Signing in by OAuth 2.0 is the issuer's.
package people
