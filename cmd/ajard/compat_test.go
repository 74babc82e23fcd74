package main

import (
	"strings"
	"testing"

	"github.com/ajar-access/ajar"
)

// TestAzuresLimitOnNamesIsAskedFor: it holds where the configuration says so, and nowhere else.
func TestAzuresLimitOnNamesIsAskedFor(t *testing.T) {
	group := ajar.ID("/subscriptions/11111111-1111-4111-8111-111111111111/resourceGroups/lab")
	p := ajar.Policy{ID: group + "/providers/Microsoft.Security/locations/l/jitNetworkAccessPolicies/" + ajar.ID(strings.Repeat("p", 30))}
	for text, most := range map[string]int{"": 1000, "compat: azure": 26} {
		c, err := loadConfig(write(t, text+"\n"), func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		for n, fits := range map[int]bool{most: true, most + 1: text == ""} {
			p.Machines = []ajar.MachinePolicy{{Target: group + "/providers/Microsoft.Compute/virtualMachines/" + ajar.ID(strings.Repeat("m", min(n, 200)))}}
			if err := p.Validate(c.bounds()); (err == nil) != fits {
				t.Errorf("%q, %d characters: %v", text, n, err)
			}
		}
	}
	if _, err := loadConfig(write(t, "compat: aws\n"), func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "compat is") {
		t.Errorf("%v", err)
	}
}
