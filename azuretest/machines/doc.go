// Package machines proves that Azure's SDKs for Go find machines, and what stands around them, where they look: virtual
// machines, network interfaces, security groups and their rules, public addresses, pricings, locations, assessments.
//
// It holds tests alone, apart from azuretest since these SDKs take a while to compile, and needs no lab: what is shown is
// read from what hosts said, which the packages below test. `make test` runs them without the race detector, for which
// these SDKs would take longer still to compile.
package machines
