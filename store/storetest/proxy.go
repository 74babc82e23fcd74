package storetest

import (
	"net"
	"net/url"
	"sync"
	"testing"
)

// Cut is what a Proxy does with what a client sends.
type Cut int

// What it can do.
const (
	Pass      Cut = iota // hand it on
	CutBefore            // end the connection instead
	CutAfter             // hand it on, and end the connection before an answer comes through
)

// Proxy stands between clients and a PostgreSQL server, and ends connections where a test wants it.
type Proxy struct {
	DSN string // of the server, through the proxy

	mu     sync.Mutex
	server string
	sent   func(b []byte) Cut
	down   bool
	conns  map[net.Conn]bool
}

// NewProxy starts a proxy for the server that dsn names, in clear text. It ends with the test.
func NewProxy(t testing.TB, dsn string) *Proxy {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{server: u.Host, conns: map[net.Conn]bool{}}
	u.Host = l.Addr().String()
	p.DSN = u.String()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.Down(true)
		all.Wait()
	})
	return p
}

// Sent has fn look at whatever clients send from here on, one piece at a time.
func (p *Proxy) Sent(fn func(b []byte) Cut) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = fn
}

// Down ends all connections, and refuses new ones until it is called with false.
func (p *Proxy) Down(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	for c := range p.conns {
		c.Close()
	}
}

// To leads new connections to the server that dsn names, and ends those that there are.
func (p *Proxy) To(t testing.TB, dsn string) {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	p.server = u.Host
	p.mu.Unlock()
	p.Down(false)
}

func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.down
}

func (p *Proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	c.Close()
}

func (p *Proxy) serve(c net.Conn) {
	defer p.leave(c)
	if !p.enter(c) {
		return
	}
	p.mu.Lock()
	to := p.server
	p.mu.Unlock()
	s, err := net.Dial("tcp4", to)
	if err != nil {
		return
	}
	defer p.leave(s)
	if !p.enter(s) {
		return
	}
	go func() {
		defer c.Close()
		b := make([]byte, 32<<10)
		for {
			n, err := s.Read(b)
			if err != nil {
				return
			}
			if _, err := c.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	b := make([]byte, 1<<20)
	for {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		what := p.judge(b[:n])
		if what == CutBefore {
			return
		}
		if what == CutAfter {
			c.Close() // first, so that no answer comes through
		}
		if _, err := s.Write(b[:n]); err != nil || what == CutAfter {
			return
		}
	}
}

func (p *Proxy) judge(b []byte) Cut {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent == nil {
		return Pass
	}
	return p.sent(b)
}
