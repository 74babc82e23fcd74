//go:build linux

package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm"
	"github.com/ajar-access/ajar/authn"
	"github.com/ajar-access/ajar/broker"
	"github.com/ajar-access/ajar/enforce"
	"github.com/ajar-access/ajar/lab"
	"github.com/ajar-access/ajar/provider/fake"
	"github.com/ajar-access/ajar/store"
)

// planeEnv has this program be a plane over the database that it names, instead of measuring one: the same parts as
// ajard, but for firewalls that only remember.
const planeEnv = "AJAR_BENCH_PLANE"

const (
	fakeHosts   = 1000
	perPolicy   = 10
	fakeClients = 64
)

// hello is the one line that the plane says at its start.
type hello struct {
	Addr   string   `json:"addr"`
	CA     []byte   `json:"ca"`
	Tokens []string `json:"tokens"`
}

// answer is what it says to each line it is sent: how many leases are not open yet, and what is in the database.
type answer struct {
	Opening int64 `json:"opening"`
	Open    int64 `json:"open"`
	Rows    int64 `json:"rows"`
}

func fakeTarget(i int) ajar.ID {
	return lab.Group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Compute/virtualMachines/fake%04d", i))
}

func fakePolicy(i int) ajar.ID {
	return lab.Group + ajar.ID(fmt.Sprintf("/providers/Microsoft.Security/locations/%s/jitNetworkAccessPolicies/fake%04d", lab.Location, i/perPolicy))
}

func servePlane(ctx context.Context, dsn string, in io.Reader, out io.Writer) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	st, err := store.Open(ctx, dsn, store.Options{Log: log, Clock: time.Now})
	if err != nil {
		return err
	}
	defer st.Close()
	tokens, err := seed(ctx, st)
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	ca, err := secrets(ctx, st)
	if err != nil {
		return err
	}
	loop := &enforce.Loop{Store: st, Clock: time.Now, Log: log, Owner: "bench", Enforcers: map[string]ajar.Enforcer{"fake": fake.New(time.Now)}}
	b := broker.New(broker.Config{Store: st, Clock: time.Now, NewID: uuid.NewString, Log: log, Wake: loop.Wake, Take: loop.Take})
	auth := authn.New(authn.Config{Store: st, Clock: time.Now})
	server := arm.New(arm.Config{Broker: b, Auth: auth, Clock: time.Now, Log: log, CA: ca.PEM()})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	cert := &authn.Server{CA: ca, Names: []string{"127.0.0.1"}}
	handler, err := withIssuer(ctx, st, auth, b, "https://"+ln.Addr().String(), server)
	if err != nil {
		return err
	}
	web := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError)}
	if err := loop.Recover(ctx); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return loop.Run(ctx) })
	g.Go(func() error {
		return web.Serve(tls.NewListener(ln, &tls.Config{GetCertificate: cert.Certificate, MinVersion: tls.VersionTLS12}))
	})
	g.Go(func() error {
		defer web.Close()
		return converse(ctx, st, hello{ln.Addr().String(), ca.PEM(), tokens}, in, out)
	})
	if err := g.Wait(); !errors.Is(err, errEnd) && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func secrets(ctx context.Context, st *store.Store) (*authn.CA, error) {
	kek := make([]byte, 32)
	rand.Read(kek)
	vault, err := authn.NewVault(st, time.Now, kek)
	if err != nil {
		return nil, err
	}
	key, err := vault.LogKey(ctx)
	if err != nil {
		return nil, err
	}
	st.SetSigner(func(head []byte) []byte { return ed25519.Sign(key, head) })
	return vault.CA(ctx)
}

// converse answers each line of in until it ends, which ends the plane.
func converse(ctx context.Context, st *store.Store, h hello, in io.Reader, out io.Writer) error {
	enc := json.NewEncoder(out)
	if err := enc.Encode(h); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var a answer
		if err := st.View(ctx, func(tx ajar.Tx) error { return a.count(tx) }); err != nil {
			return err
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return errEnd
}

// errEnd ends the plane: its input did.
var errEnd = errors.New("the input ended")

// kinds are all there are, for counting what the database has.
var kinds = []ajar.DocKind{
	ajar.KindPolicy, ajar.KindRequest, ajar.KindLease, ajar.KindTarget, ajar.KindEndpoint, ajar.KindPrincipal, ajar.KindCredential,
	ajar.KindToken, ajar.KindRoleDefinition, ajar.KindRoleAssignment, ajar.KindDenyAssignment, ajar.KindManagementGroup,
	ajar.KindHostIdentity, ajar.KindJoinToken, ajar.KindSealed, ajar.KindGrant, ajar.KindFamiliar,
}

// count counts leases, and the rows of all tables: documents, events and the batches that chain them.
func (a *answer) count(tx ajar.Tx) (err error) {
	if a.Opening, err = tx.Count(ajar.KindLease, ajar.Filter{States: []string{string(ajar.Opening)}}); err != nil {
		return err
	}
	if a.Open, err = tx.Count(ajar.KindLease, ajar.Filter{States: []string{string(ajar.Open)}}); err != nil {
		return err
	}
	for _, k := range kinds {
		n, err := tx.Count(k, ajar.Filter{})
		if err != nil {
			return err
		}
		a.Rows += n
	}
	newest, err := tx.Events(ajar.EventFilter{Limit: 1})
	if err != nil || len(newest) == 0 {
		return err
	}
	a.Rows += newest[0].Pos
	for from := int64(1); from <= newest[0].Pos; {
		bs, err := tx.Batches(from, 1000)
		if err != nil || len(bs) == 0 {
			return err
		}
		a.Rows += int64(len(bs))
		from = bs[len(bs)-1].Last + 1
	}
	return nil
}

// seed writes what the load works on: machines with firewalls that only remember, policies over ten of them each, and
// clients who may request on all.
func seed(ctx context.Context, st *store.Store) (tokens []string, err error) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	role := &ajar.RoleDefinition{ID: ajar.RoleID(guid(1, 1)), Name: "bench", Permissions: []ajar.Permission{{Actions: []ajar.Action{"*"}}}, AssignableScopes: []ajar.ID{"/"}}
	err = st.Update(ctx, func(tx ajar.Tx) error {
		tokens = nil
		docs := []ajar.Doc{role}
		for i := range fakeClients {
			p := &ajar.Principal{ID: ajar.PrincipalID(guid(2, i)), Kind: ajar.ServicePrincipal, Name: fmt.Sprintf("client%d", i), Created: now}
			text, hash := authn.NewToken()
			tokens = append(tokens, text)
			docs = append(docs, p,
				&ajar.Token{Hash: hash, Principal: p.ID, Name: "bench", Created: now, Expires: now.Add(time.Hour)},
				&ajar.RoleAssignment{ID: guid(3, i), Principal: p.ID, PrincipalKind: p.Kind, Role: role.ID, Scope: lab.Group, Created: now})
		}
		for i := range fakeHosts {
			id := fakeTarget(i)
			ep := ajar.EndpointID(guid(4, i))
			flow := ajar.Flow{Port: ajar.Port{Number: 22, Protocol: ajar.TCP}}
			docs = append(docs, &ajar.Target{ID: id, Location: lab.Location, OS: "Linux", Source: "person", Endpoints: []ajar.EndpointID{ep}, Created: now},
				&ajar.Endpoint{ID: ep, Provider: "fake", Target: id, Address: id.Name(), Guards: []ajar.EndpointGuard{{Flow: flow, Policies: []ajar.ID{fakePolicy(i)}, Since: now}}})
			if i%perPolicy == 0 {
				docs = append(docs, seedPolicy(i))
			}
		}
		for _, d := range docs {
			if err := tx.Put(d); err != nil {
				return err
			}
		}
		return nil
	})
	return tokens, err
}

func seedPolicy(first int) *ajar.Policy {
	p := &ajar.Policy{ID: fakePolicy(first), Kind: "Basic"}
	for i := first; i < first+perPolicy; i++ {
		p.Machines = append(p.Machines, ajar.MachinePolicy{Target: fakeTarget(i), Ports: []ajar.PortPolicy{{
			Number: 22, Protocol: ajar.TCP, Any: true, MaxDuration: 3 * time.Hour,
		}}})
	}
	return p
}
