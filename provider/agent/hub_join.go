package agent

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net"
	"time"

	"github.com/ajar-access/ajar"
)

// receiveStranger hears the one message that a connection without a certificate may send.
func (h *Hub) receiveStranger(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	w := newWire(conn, maxFromStranger, maxFromPlane, 10*time.Second)
	defer w.close()
	var m message
	if err := w.receive(&m); err != nil {
		h.Log.Debug("hear a stranger", "from", conn.RemoteAddr(), "err", err)
		return
	}
	joined, err := h.join(ctx, conn, &m)
	answer := &message{Type: typeJoined, Call: m.Call, Time: h.Clock()}
	if err != nil {
		h.Log.Info("join refused", "from", conn.RemoteAddr(), "err", err)
		answer.Fault = &fault{Kind: ajar.KindOf(err), Msg: ajar.Message(err)} // a stranger reads no causes
	} else {
		s, err := h.settings(ctx, ajar.Endpoint{ID: joined.Endpoint})
		if err != nil {
			h.Log.Warn("find the settings of a host; it hears them when it comes", "endpoint", joined.Endpoint, "err", err)
		}
		answer.Joined = &joinAnswer{Endpoint: joined.Endpoint, Cert: joined.Certificate, Settings: s}
		h.Log.Info("host joined", "endpoint", joined.Endpoint, "from", conn.RemoteAddr())
	}
	if err := w.send(ctx, answer); err != nil {
		h.Log.Warn("answer a join", "from", conn.RemoteAddr(), "err", err)
	}
}

func (h *Hub) join(ctx context.Context, conn net.Conn, m *message) (Joined, error) {
	if m.Type != typeJoin || m.Join == nil {
		return Joined{}, ajar.Errorf(ajar.Unauthenticated, "without a certificate a host can only join")
	}
	from := addrOf(conn)
	if !h.door.mayJoin(from) {
		return Joined{}, ajar.Errorf(ajar.TooMany, "too many joins from %s; wait a minute", from.Addr())
	}
	csr, err := parseCSR(m.Join.CSR)
	if err != nil {
		return Joined{}, err
	}
	sum := sha256.Sum256([]byte(m.Join.Token))
	return h.Join(ctx, Joining{TokenHash: hex.EncodeToString(sum[:]), CSR: csr, From: from.Addr(), Status: m.Join.Status})
}

// parseCSR also checks that whoever sends it has the key.
func parseCSR(der []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = csr.CheckSignature()
	}
	if err != nil {
		return nil, ajar.Because(ajar.Invalid, err, "the certificate request cannot be read or is not signed by its key")
	}
	return csr, nil
}
