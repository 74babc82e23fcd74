// Package azuretest proves that what was made for Azure's just-in-time access works against a plane without a changed
// line: Azure's own command line and SDKs, unmodified, in the lab, down to the packets.
//
// It holds tests alone. It knows nothing of how the plane is made: what it asks, it asks as those clients do.
package azuretest
