//go:build linux

package azuretest

import (
	"context"
	"strings"
	"testing"

	"github.com/ajar-access/ajar/lab"
)

// Azure's SDK for Python, which Debian's Azure CLI is made of.
func TestPythonSDK(t *testing.T) {
	t.Parallel()
	w := shared(t)
	owner := w.addProgram(t, "python-owner", "Owner", lab.Subscription)
	file := w.addCertificate(t, owner.id, "python-owner")
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := w.lab.Requester.Output(ctx, []string{"REQUESTS_CA_BUNDLE=" + w.ca}, "/usr/bin/python3", "testdata/sdk.py",
		w.url, w.tenant, owner.id, owner.secret, file, labSubscription, "lab", lab.Location, string(w.lab.Machines[ofSDK].ID))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var want strings.Builder
	for _, name := range []string{"python-secret", "python-certificate"} {
		want.WriteString("put " + name + " Updating\n" + strings.Repeat("list True\n", 4) +
			"initiate Initiating python\nget Succeeded 1 UserRequested\ninitiate 400 JitAccessRequestNotSubset\nget 404 ResourceNotFound\n")
	}
	want.WriteString("token True\n")
	if out != want.String() {
		t.Errorf("it says\n%s\nwant\n%s", out, want.String())
	}
}
