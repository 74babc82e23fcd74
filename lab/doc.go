// Package lab makes a small network on one machine, out of network namespaces: machines with a real sshd and a real
// agent, a plane, a requester and an attacker with addresses of their own. Packets, processes, firewalls and deaths in
// it are real. The demo, the tests and the benchmarks run in it.
//
// It knows no policies, requests or leases: whoever uses it types commands or calls the plane.
//
//	                   bridge 198.51.100.0/24, 2001:db8:a::/64
//	  ┌────────┬──────────┬──────────┼─────────┬─────────┐
//	plane   requester  attacker     vm1       vm2       vm3
//	ajard    ajar       (dials)     sshd      sshd      sshd
//	         ssh                    agent     agent     agent
//
// A program that uses the lab calls Enter first of all. Enter starts the program once more in namespaces of its own
// (network, mounts, processes; for an ordinary user a user namespace around them), so that nothing in the lab can reach
// the machine's network and everything in it ends with the program, however that ends.
package lab
