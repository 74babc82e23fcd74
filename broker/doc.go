// Package broker is the one gate: every verb of Ajar is a method of Broker, and nothing else decides or writes
// policies, requests, leases, rights, people and machines. It does not know HTTP, sign-in, SQL or any firewall.
//
// Every verb has the form (ctx, who, what) (result, error) and passes through one unexported method, do, which
//
//	authorizes ─► runs ─► appends the Event      in one transaction of the Store
//	                                    └──────► then wakes the loop
//
// A refusal rolls everything back and is appended by itself, with its Kind and the words the caller got. If the event
// cannot be written the verb fails: what cannot be recorded does not happen. Reads use a View and leave no event.
//
// Rights are an rbac.Index held in memory. Each transaction compares its RightsGen first and rebuilds the index when
// rights have moved, so that a removed assignment refuses the next call on every replica; that a principal still
// exists and is not disabled is read each time.
//
// # What becomes of leases and guards
//
//   - A lease that is revoked, superseded or withdrawn keeps its End as granted, for the record; Desired does not want
//     a Closing lease, whatever its End.
//   - When a policy drops a port or machine, or goes, its leases there are Closing with reason Withdrawn: nobody's
//     policy allows them any longer. Narrowing a limit that remains leaves running leases alone.
//   - A guard belongs to the policies that name its port. When the last lets go it is lifted, which is an Event of its
//     own, or kept if the policy says unguard: keep (in its old or its new body) until somebody releases it.
//   - Removing a host or a target closes its leases at once, marked unverified: nobody will see their rules go. Their
//     KernelEnd says how long the firewall may still hold them.
//   - Disabling or deleting a person revokes what the person has open.
package broker
