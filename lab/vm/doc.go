//go:build linux

// Command vm proves on a real Debian machine what namespaces can only imitate: the shipped systemd units, a reboot, a
// kernel that cannot keep an owned table alive, and a suspend. The machine is emulated by qemu, so it needs no rights on
// this one but those of a network namespace; it is installed by the words of docs/install.md. One line for each thing
// that was seen, with what was measured; it exits 0 only if all was seen.
//
//	            tap0 198.51.100.0/24
//	this program ─────────────────── the machine, .50
//	.1 somebody at home              ajard, ajar-agent, sshd
//	.10 who asks, .20 a stranger     an echo on 7022 (guarded), 7090 (later) and 7080 (never), from the first moment of a boot
package main
