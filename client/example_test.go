package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/ajar-access/ajar/client"
)

func Example() {
	plane := httptest.NewTLSServer(http.HandlerFunc(examplePlane)) // stands for https://ajar.example.com
	defer plane.Close()
	ctx := context.Background()

	c, err := client.New(client.Config{Server: plane.URL, CA: caOf(plane.Certificate())})
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := c.Login(ctx, "anna", "correct horse battery staple")
	if err != nil {
		fmt.Println(err)
		return
	}
	c = c.WithToken(session.Token)

	req, err := c.Initiate(ctx, client.Initiate{
		Policy:        polID,
		Asks:          []client.Ask{{Target: machine, Number: 22, Duration: time.Hour}},
		Justification: "disk full",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	req, err = c.Wait(ctx, req.ID, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(req.State, req.Opened())
	if _, err := c.Revoke(ctx, req.ID, "done"); err != nil {
		fmt.Println(err)
	}
	// Output: Approved true
}

func examplePlane(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/ajar/v1/login":
		answer(w, 200, `{"token":"t","name":"anna"}`)
	default:
		answer(w, 200, `{"id":"r1","state":"Approved","leases":[{"id":"l1","state":"Open","end":"2026-11-20T10:00:00Z"}]}`)
	}
}
