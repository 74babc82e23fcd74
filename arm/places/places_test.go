package places

import (
	"testing"
)

func TestLocationsAsPeopleReadThem(t *testing.T) {
	for name, want := range map[string]string{
		"westeurope": "West Europe", "eastus2": "East US 2", "southcentralus": "South Central US", "uksouth": "UK South", "uaenorth": "UAE North",
		"southeastasia": "Southeast Asia", "West Europe": "West Europe", "rack-7": "Rack-7", "westwing": "Westwing", "": "", "42": "42", "élan": "Élan",
	} {
		if got := spaced(name); got != want {
			t.Errorf("%q is shown as %q, not %q", name, got, want)
		}
	}
}
