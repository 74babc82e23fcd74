// Package events is the activity log: in Ajar's own words, with the proof that nothing was cut out, and in Azure's schema, which
// package activity knows.
package events
