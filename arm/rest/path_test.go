package rest

import "testing"

func TestLinksAreSpelledAsAzureDocumentsThem(t *testing.T) {
	for in, want := range map[string]string{
		"/SUBSCRIPTIONS/S/resourcegroups/RESOURCEGROUPS/providers/microsoft.security/Locations/locations/JITnetworkaccesspolicies": "/subscriptions/S/resourceGroups/RESOURCEGROUPS/providers/Microsoft.Security/locations/locations/jitNetworkAccessPolicies",
		"/subscriptions/providers/providers/Microsoft.Security/jitNetworkAccessPolicies/":                                          "/subscriptions/providers/providers/Microsoft.Security/jitNetworkAccessPolicies",
		"/ajar/v1/requests": "/ajar/v1/requests",
		"/":                 "/",
	} {
		folded, _ := fold(in)
		if got := Unfold(folded); got != want {
			t.Errorf("%s: link to %s, want %s", in, got, want)
		}
	}
}
