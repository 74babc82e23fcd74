//go:build linux

package main

import (
	"io"
	"net"
	"os"
	"strconv"
)

// echoWord makes this program the echo that runs on the machine, on the sockets that systemd hands over.
const echoWord = "echo"

// An echo that listens before anything else does, so that a boot has something to break into.
const echoSocket = `[Unit]
DefaultDependencies=no
Before=sysinit.target
[Socket]
ListenStream=7022
ListenStream=7080
ListenStream=7090
[Install]
WantedBy=sysinit.target
`

const echoService = `[Unit]
DefaultDependencies=no
[Service]
ExecStart=/root/ajar/bin/vm echo
`

func echo() error {
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil {
		return err
	}
	done := make(chan error)
	for i := range n {
		l, err := net.FileListener(os.NewFile(uintptr(3+i), "socket"))
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					done <- err
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, c) // until the other side has enough
				}()
			}
		}()
	}
	return <-done
}
