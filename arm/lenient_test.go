package arm

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/ajartest"
)

// TestWildClients sends what clients in the wild send although no specification says so.
func TestWildClients(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	put := func(ports string) string {
		return body(`{"properties":{"virtualMachines":[{"id":"%M","ports":[`+ports+`]}]}}`, vm)
	}
	for what, c := range map[string][2]string{
		"number as text":                {`{"number":"22","protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}`, `"number":22,`},
		"null plural":                   {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","allowedSourceAddressPrefixes":null,"maxRequestAccessDuration":"PT3H"}`, `"allowedSourceAddressPrefix":"*"`},
		"null singular":                 {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":null,"allowedSourceAddressPrefixes":["10.0.0.0/8"],"maxRequestAccessDuration":"PT3H"}`, `"allowedSourceAddressPrefixes":["10.0.0.0/8"]`},
		"empty plural":                  {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"10.1.2.3","allowedSourceAddressPrefixes":[],"maxRequestAccessDuration":"PT3H"}`, `"allowedSourceAddressPrefix":"10.1.2.3"`},
		"PT3H0M is given back as it is": {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H0M"}`, `"maxRequestAccessDuration":"PT3H0M"`},
		"P1D":                           {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"P1D"}`, `"maxRequestAccessDuration":"P1D"`},
		"protocol in lower case":        {`{"number":22,"protocol":"tcp","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}`, `"protocol":"TCP"`},
		"singular as a list of one":     {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":["10.1.2.3"],"maxRequestAccessDuration":"PT3H"}`, `"allowedSourceAddressPrefix":"10.1.2.3"`},
		"members nobody knows":          {`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H","colour":"red"}`, `"number":22`},
		"no source is any":              {`{"number":22,"protocol":"TCP","maxRequestAccessDuration":"PT3H"}`, `"allowedSourceAddressPrefix":"*"`},
	} {
		if a := r.must(200, "PUT", p+v, put(c[0])); !strings.Contains(a.body, c[1]) {
			t.Errorf("%s: %s", what, a.body)
		}
	}
	r.must(200, "PUT", p+v, put(`{"number":22,"protocol":"TCP","allowedSourceAddressPrefix":"*","maxRequestAccessDuration":"PT3H"}`))
	whole := r.must(200, "GET", p+v, "").body
	r.must(200, "PUT", p+v, whole)                // a resource put back as it was read
	r.must(200, "PUT", p+v, "\xef\xbb\xbf"+whole) // with a byte order mark
	r.must(200, "PUT", p+v, strings.Replace(whole, `"kind"`, `"systemData":{"createdBy":"x"},"tags":{},"etag":"y","Kind"`, 1))

	ask := func(port string) answer {
		return r.must(202, "POST", p+"/initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[`+port+`]}]}`, vm))
	}
	end := r.Now().Add(30 * time.Minute).UTC()
	for what, c := range map[string][2]string{
		"duration in place of an end":   {`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"192.0.2.1"}`, `"allowedSourceAddressPrefix":"192.0.2.1"`},
		"both, one of them null":        {`{"number":22,"duration":null,"endTimeUtc":"` + end.Format(time.RFC3339Nano) + `"}`, `"endTimeUtc":"` + end.Truncate(time.Millisecond).Format(stampForm)},
		"number as text":                {`{"number":"22","duration":"PT1H"}`, `"number":22`},
		"source as a list of one":       {`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":["192.0.2.1"]}`, `"allowedSourceAddressPrefix":"192.0.2.1"`},
		"source *":                      {`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"*"}`, `"allowedSourceAddressPrefix":"*"`},
		"source null: the caller's own": {`{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":null}`, `"allowedSourceAddressPrefix":"127.0.0.1"`},
		"an end without a zone is UTC":  {`{"number":22,"endTimeUtc":"` + end.Format("2006-01-02T15:04:05.0000000") + `"}`, end.Format("2006-01-02T15:04")},
		"an end with another zone":      {`{"number":22,"endTimeUtc":"` + end.In(time.FixedZone("x", 7200)).Format("2006-01-02T15:04:05.0000000-07:00") + `"}`, end.Format("2006-01-02T15:04")},
		"PT1H0M":                        {`{"number":22,"duration":"PT1H0M"}`, `"status":"Initiating"`},
	} {
		if a := ask(c[0]); !strings.Contains(a.body, c[1]) {
			t.Errorf("%s: %s", what, a.body)
		}
	}
}

func TestCaseOfFixedSegmentsDoesNotMatter(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	r.Policy("default", vm)
	sub := ajartest.Group.Subscription()
	for _, path := range []string{
		"/subscriptions/" + sub + "/resourcegroups/lab/providers/microsoft.security/locations/westeurope/jitnetworkaccesspolicies/default",
		"/SUBSCRIPTIONS/" + sub + "/RESOURCEGROUPS/LAB/PROVIDERS/MICROSOFT.SECURITY/LOCATIONS/WESTEUROPE/JITNETWORKACCESSPOLICIES/DEFAULT",
		"//subscriptions/" + sub + "/resourceGroups/lab/providers/Microsoft.Security/locations/westeurope/jitNetworkAccessPolicies/default/",
	} {
		r.must(200, "GET", path+v, "")
		r.must(202, "POST", strings.TrimSuffix(path, "/")+"/Initiate"+v, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H"}]}]}`, ajar.ID(strings.ToUpper(string(vm)))))
	}
}

func TestCasingIsKeptAsLastGiven(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := string(ajartest.PolicyID("default"))
	odd := strings.Replace(string(vm), "/virtualMachines/vm1", "/virtualmachines/VM1", 1)
	r.must(200, "PUT", p+v, body(policyBodyText, ajar.ID(odd)))
	named := strings.NewReplacer("westeurope", "WestEurope", "/default", "/Default").Replace(p)
	if a := r.must(200, "PUT", named+v, body(policyBodyText, ajar.ID(odd))); !strings.Contains(a.body, `"id":"`+named+`","name":"Default"`) || !strings.Contains(a.body, odd) {
		t.Errorf("PUT gives back %s", a.body)
	}
	if a := r.must(200, "GET", p+v, ""); !strings.Contains(a.body, `"name":"Default"`) || !strings.Contains(a.body, odd) || !strings.Contains(a.body, `"location":"WestEurope"`) {
		t.Errorf("GET by the other casing gives %s", a.body)
	}
}

func TestPaging(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("policy-%d", i)
		r.PolicyOf(name, []ajar.PortPolicy{{Number: uint16(1000 + i), Protocol: ajar.TCP, Any: true, MaxDuration: time.Hour}}, vm)
		want = append(want, name)
	}
	first := "/subscriptions/" + ajartest.Group.Subscription() + "/providers/Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01&$top=3"
	// As each client follows the link: as it is, with the dollar encoded and the order changed, in another case.
	for what, follow := range map[string]func(*url.URL) string{
		"as it is": func(u *url.URL) string { return u.RequestURI() },
		"as Go's SDK does": func(u *url.URL) string {
			return u.Path + "?" + strings.ReplaceAll(u.Query().Encode(), "$skiptoken", "%24skiptoken")
		},
		"in another case": func(u *url.URL) string {
			return u.Path + "?" + strings.Replace(u.RawQuery, "$skiptoken", "$skipToken", 1)
		},
	} {
		var got []string
		pages := 0
		for path := first; path != ""; pages++ {
			a := r.must(200, "GET", path, "")
			var l struct {
				Value []struct{ Name string }
				Next  *string `json:"nextLink"`
			}
			a.into(t, &l)
			for _, x := range l.Value {
				got = append(got, x.Name)
			}
			path = ""
			if l.Next != nil {
				u, err := url.Parse(*l.Next)
				if err != nil || u.Scheme+"://"+u.Host != "https://ajar.example.com" {
					t.Fatalf("nextLink %q: %v", *l.Next, err)
				}
				path = follow(u)
			}
			if pages > 10 {
				t.Fatal("it has no end")
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v in %d pages", what, got, pages)
		}
	}
}

func TestHistoryIsBoundedAndLeasesAreNot(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	alice := r.User("alice", ajartest.At("Owner", ajar.Root))
	const historyShown = 100
	n := historyShown + 10
	for i := range n {
		r.Step(time.Millisecond) // what was asked within one has no order
		r.Open(alice, p, vm, 22, fmt.Sprintf("192.0.2.%d", i), time.Hour)
	}
	var b struct {
		Properties struct{ Requests []json.RawMessage }
	}
	r.must(200, "GET", string(p)+v, "").into(t, &b)
	if len(b.Properties.Requests) != historyShown || !strings.Contains(string(b.Properties.Requests[historyShown-1]), fmt.Sprintf(`"192.0.2.%d"`, n-1)) {
		t.Errorf("%d requests are shown, the last of them %s", len(b.Properties.Requests), b.Properties.Requests[len(b.Properties.Requests)-1])
	}
	var l list[leaseBody]
	r.must(200, "GET", "/ajar/v1/leases?$top=1000&scope="+string(vm), "").into(t, &l)
	if len(l.Value) != n {
		t.Errorf("%d leases are listed, not %d", len(l.Value), n)
	}
}
