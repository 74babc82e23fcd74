package agent

import (
	"net"
	"runtime"
)

// turns bounds how many handshakes compute at a time: after a start a thousand hosts dial at once, and people must not
// wait until all of them were dealt with.
type turns chan struct{}

func newTurns() turns { return make(turns, max(1, runtime.GOMAXPROCS(0)/2)) }

// turnConn takes turns between what it reads: a turn is held while a handshake computes, never while it waits for the
// other side, so that a stranger who says nothing holds up nobody.
type turnConn struct {
	net.Conn
	turns turns
	done  bool // the handshake is over
	held  bool
}

// Read waits without a turn, and comes back with one.
func (c *turnConn) Read(b []byte) (int, error) {
	if c.done {
		return c.Conn.Read(b)
	}
	c.leave()
	n, err := c.Conn.Read(b)
	c.turns <- struct{}{}
	c.held = true
	return n, err
}

func (c *turnConn) leave() {
	if c.held {
		c.held = false
		<-c.turns
	}
}

// end is called when the handshake is over, well or not.
func (c *turnConn) end() {
	c.leave()
	c.done = true
}
