package arm

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/activity"
	"github.com/ajar-access/ajar/ajartest"
)

const (
	valuesPath = testSub + "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"
	wholeLog   = "/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01"
)

// records reads a whole list of the activity log, page after page, as token's holder.
func (r *rig) records(path, token string) (all []activity.Record) {
	r.t.Helper()
	for path != "" {
		a := r.do("GET", path, token, "")
		if a.StatusCode != 200 {
			r.t.Fatalf("GET %s: %d: %s", path, a.StatusCode, a.body)
		}
		var l list[activity.Record]
		a.into(r.t, &l)
		all = append(all, l.Value...)
		path = strings.TrimPrefix(l.NextLink, "https://ajar.example.com")
	}
	return all
}

func filtered(format string, a ...any) string {
	return "&$filter=" + url.QueryEscape(fmt.Sprintf(format, a...))
}

// brief is a record in one line.
func brief(r activity.Record) string {
	return strings.TrimSpace(r.EventName.Value + " " + r.OperationName.Value + " " + r.Status.Value + " " + r.SubStatus.Value)
}

func briefs(all []activity.Record) (out []string) {
	for _, r := range all {
		out = append(out, brief(r))
	}
	return out
}

// TestActivityLogOfARequest: a request is two records with one correlation id that tell who, how, what and until when.
func TestActivityLogOfARequest(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	alice := r.User("alice@example.org", ajartest.At("Just-in-time Requester", ajartest.Group))
	req := r.request("POST", string(p)+"/initiate"+v+"&junk=secret", body(`{"virtualMachines":[{"id":"%M","ports":[{"number":22,"duration":"PT1H","allowedSourceAddressPrefix":"192.0.2.7"}]}],"justification":"disk full"}`, vm))
	req.Header.Set("Authorization", "Bearer "+r.tokenFor(alice))
	req.Header.Set("x-ms-correlation-request-id", "11112222-3333-4444-5555-666677778888")
	req.Header.Set("x-ms-client-request-id", "aaaabbbb-3333-4444-5555-666677778888")
	if a := r.send(req); a.StatusCode != 202 {
		t.Fatalf("%d: %s", a.StatusCode, a.body)
	}
	all := r.records(valuesPath+filtered("eventTimestamp ge '%s' and correlationId eq '11112222-3333-4444-5555-666677778888'", r.Now().Add(-time.Hour).UTC().Format(time.RFC3339)), r.owner)
	if got, want := briefs(all), []string{
		"EndRequest Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action Accepted Accepted",
		"BeginRequest Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action Started",
	}; !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	end, begin := all[0], all[1]
	for what, c := range map[string][2]string{
		"correlation id":   {end.CorrelationID, "11112222-3333-4444-5555-666677778888"},
		"the other's":      {begin.CorrelationID, end.CorrelationID},
		"operation":        {end.OperationName.Localized, "Initiate JIT Network Access Policy"},
		"action":           {string(end.Authorization.Action), string(ajar.PolicyInitiate)},
		"role":             {end.Authorization.Role, "Just-in-time Requester"},
		"scope":            {string(end.Authorization.Scope), string(p)},
		"caller":           {end.Caller, "alice@example.org"},
		"upn":              {end.Claims["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"], "alice@example.org"},
		"object id":        {end.Claims["http://schemas.microsoft.com/identity/claims/objectidentifier"], string(alice.Principal)},
		"address":          {end.HTTPRequest.ClientIPAddress, "127.0.0.1"},
		"claimed address":  {end.Claims["ipaddr"], "127.0.0.1"},
		"method":           {end.HTTPRequest.Method, "POST"},
		"uri":              {end.HTTPRequest.URI, "https://ajar.example.com" + string(p) + "/initiate?api-version=2020-01-01"},
		"client's id":      {end.HTTPRequest.ClientRequestID, "aaaabbbb-3333-4444-5555-666677778888"},
		"substatus":        {end.SubStatus.Localized, "Accepted (HTTP Status Code: 202)"},
		"statusCode":       {end.Properties["statusCode"], "Accepted"},
		"machine":          {end.Properties["machine"], "vm1"},
		"port":             {end.Properties["port"], "22/TCP"},
		"source":           {end.Properties["source"], "192.0.2.7/32"},
		"justification":    {end.Properties["justification"], "disk full"},
		"provider":         {end.ResourceProviderName.Value, "Microsoft.Security"},
		"type":             {end.ResourceType.Value, ajar.PolicyType},
		"group":            {end.ResourceGroupName, "lab"},
		"resource":         {string(end.ResourceID), string(p)},
		"subscription":     {end.SubscriptionID, ajartest.Group.Subscription()},
		"tenant":           {end.TenantID, "0f3c2b1a-7d6e-4c5b-9a80-91f2e3d4c5b6"},
		"level":            {end.Level, "Informational"},
		"channels":         {end.Channels, "Operation"},
		"category":         {end.Category.Value, "Administrative"},
		"beginning's name": {begin.EventName.Localized, "Begin request"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: %q, not %q", what, c[0], c[1])
		}
	}
	if until, err := time.Parse(time.RFC3339, end.Properties["endTimeUtc"]); err != nil || until.Before(r.Now().Add(59*time.Minute)) {
		t.Errorf("it ends at %q", end.Properties["endTimeUtc"])
	}
	if end.EventDataID == begin.EventDataID || !strings.HasPrefix(end.ID, string(p)+"/events/"+end.EventDataID+"/ticks/63") {
		t.Errorf("ids %s and %s", end.ID, begin.ID)
	}
	if again := r.records(valuesPath+filtered("correlationId eq '%s'", end.CorrelationID), r.owner); again[0].ID != end.ID || again[1].ID != begin.ID {
		t.Error("the ids are not the same when it is read again")
	}
}

// TestActivityLogOfARefusal: what was refused says why, and by which status.
func TestActivityLogOfARefusal(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	mallory := r.tokenFor(r.User("mallory", ajartest.At("Reader", ajar.Root)))
	if a := r.do("DELETE", string(p)+v, mallory, ""); a.StatusCode != 403 {
		t.Fatalf("%d", a.StatusCode)
	}
	r.do("POST", string(p)+"/initiate"+v, r.owner, body(`{"virtualMachines":[{"id":"%M","ports":[{"number":23,"duration":"PT1H","allowedSourceAddressPrefix":"192.0.2.7"}]}]}`, vm))
	all := r.records(valuesPath+filtered("status eq 'Failed'"), r.owner)
	if got, want := briefs(all), []string{
		"EndRequest Microsoft.Security/locations/jitNetworkAccessPolicies/initiate/action Failed BadRequest",
		"EndRequest Microsoft.Security/locations/jitNetworkAccessPolicies/delete Failed Forbidden",
	}; !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	if m := all[0].Properties["statusMessage"]; !strings.HasPrefix(m, `{"error":{"code":"JitAccessRequestNotSubset","message":"The given access request is not a subset of policy '`) {
		t.Errorf("%s", m)
	}
	if all[0].Properties["machine"] != "vm1" || all[0].Properties["source"] != "192.0.2.7/32" {
		t.Errorf("what was refused: %v", all[0].Properties)
	}
	if all[1].Authorization.Role != "" || all[1].Level != "Error" || all[1].Caller != "mallory" {
		t.Errorf("%+v", all[1])
	}
}

// TestActivityLogFilters: both dialects, each property, and what is no filter.
func TestActivityLogFilters(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	began := r.Now().UTC()
	r.must(200, "PUT", string(ajartest.PolicyID("default"))+v, body(policyBodyText, vm))
	bob := r.User("bob", ajartest.At("Owner", ajartest.Group))
	if a := r.do("DELETE", string(ajartest.PolicyID("default"))+v, r.tokenFor(bob), ""); a.StatusCode != 200 {
		t.Fatal(a.body)
	}
	deletes := []string{"EndRequest Microsoft.Security/locations/jitNetworkAccessPolicies/delete Succeeded OK", "BeginRequest Microsoft.Security/locations/jitNetworkAccessPolicies/delete Started"}
	const bare = "2006-01-02T15:04:05.000000" // az 2.45's
	times := fmt.Sprintf("eventTimestamp ge %s and eventTimestamp le %s", began.Add(-time.Hour).Format(bare), began.Add(time.Hour).Format(bare))
	for _, f := range []string{
		times + " and caller eq 'bob'",
		times + " and caller eq '" + string(bob.Principal) + "'",
		times + " AND Caller EQ 'BOB' and status eq 'Started,Succeeded'",
		times + " and operations eq 'microsoft.security/locations/jitnetworkaccesspolicies/delete'",
		fmt.Sprintf("eventTimestamp ge '%s' and eventTimestamp le '%s' and eventChannels eq 'Admin, Operation' and levels eq 'Critical,Error,Warning,Informational' and caller eq 'bob'", began.Add(-time.Hour).Format(time.RFC3339Nano), began.Add(time.Hour).Format(time.RFC3339Nano)),
		times + " and operations eq 'Delete JIT Network Access Policy'",
		times + " and resourceUri eq '" + string(ajartest.PolicyID("default")) + "' and caller eq 'bob'",
		times + " and resourceId eq '" + strings.ToUpper(string(ajartest.PolicyID("default"))) + "' and caller eq bob",
		times + " and resourceGroupName eq 'LAB' and caller eq 'bob'",
		times + " and resourceProvider eq 'microsoft.security' and resourceType eq '" + ajar.PolicyType + "' and caller eq 'bob' and category eq 'Administrative'",
		"eventTimestamp ge " + began.Format("2006-01-02") + " and caller eq 'bob'",
	} {
		got := briefs(r.records(valuesPath+filtered("%s", f), r.owner))
		got = slices.DeleteFunc(got, func(b string) bool { return b == "lifted Ajar.Access/guards/lifted Succeeded" }) // what came of it
		if !slices.Equal(got, deletes) {
			t.Errorf("%s: %q", f, got)
		}
	}
	for _, f := range []string{
		times + " and caller eq 'nobody'", times + " and resourceGroupName eq 'other'", times + " and levels eq 'Critical'",
		"eventTimestamp ge " + began.Add(time.Hour).Format(bare), "eventTimestamp lt " + began.Add(-time.Hour).Format(bare), "correlationId eq 'none-of-them'",
		times + " and resourceProvider eq 'Microsoft.Compute' and status eq 'Failed'", times + " and category eq 'ServiceHealth'",
	} {
		if got := briefs(r.records(valuesPath+filtered("%s", f), r.owner)); len(got) != 0 {
			t.Errorf("%s: %q", f, got)
		}
	}
	for f, why := range map[string]string{
		"status eq 'Failed' or status eq 'Started'": "joined by 'and' alone",
		"not (status eq 'Failed')":                  "parentheses",
		"status ne 'Failed'":                        "eq is expected",
		"colour eq 'red'":                           "no property to filter by",
		"status eq 'Happy'":                         "no status",
		"status eq":                                 "it ends where",
		"status eq 'Failed":                         "no end",
		"eventTimestamp ge yesterday":               "not a time",
		"eventTimestamp ge 2026-11-20T10:00:00 and": "it ends where",
		"resourceUri eq '/subscriptions/other/x/y'": "does not lie in",
		"resourceUri eq 'vm1'":                      "not the id of a resource",
		"levels eq 'Loud'":                          "no level",
		"eventTimestamp ge 2026-11-21 and eventTimestamp lt 2026-11-20": "is not before",
		"resourceGroupName eq 'a' and resourceGroupName eq 'b'":         "compared twice",
	} {
		a := r.must(400, "GET", valuesPath+filtered("%s", f), "")
		if code, msg := a.refusal(t); code != "InvalidFilterInQueryString" || !strings.Contains(msg, why) {
			t.Errorf("%s: %s: %s", f, code, msg)
		}
	}
}

// TestActivityLogPages: whatever the size of a page, all records come once, the newest first.
func TestActivityLogPages(t *testing.T) {
	r := newRig(t)
	vm := r.Machine("vm1")
	p := r.Policy("default", vm)
	alice := r.User("alice", ajartest.At("Owner", ajar.Root))
	for i := range 8 {
		r.Open(alice, p, vm, 22, fmt.Sprintf("192.0.2.%d", i), time.Hour)
	}
	r.Until(func() bool { return len(r.Events(ajar.LeaseOpened)) == 8 })
	ids := func(path string) (out []string) {
		for _, x := range r.records(path, r.owner) {
			out = append(out, x.EventDataID)
		}
		return out
	}
	whole := ids(wholeLog)
	if len(whole) < 24 || len(slices.Compact(slices.Sorted(slices.Values(whole)))) != len(whole) {
		t.Fatalf("%d records: %v", len(whole), whole)
	}
	for _, top := range []int{1, 2, 3, 7, 1000} {
		if got := ids(fmt.Sprintf("%s&$top=%d", wholeLog, top)); !slices.Equal(got, whole) {
			t.Errorf("with pages of %d there are %d records, not %d", top, len(got), len(whole))
		}
	}
	if got := ids(valuesPath + "&$top=3" + filtered("operations eq '%s'", ajar.LeaseOpened)); len(got) != 8 {
		t.Errorf("%d openings", len(got))
	}
	opened := r.records(valuesPath+filtered("operations eq '%s'", ajar.LeaseOpened), r.owner)[0]
	if brief(opened) != "opened Ajar.Access/leases/opened Succeeded" || opened.OperationName.Localized != "Port opened" || opened.Caller != "ajar" || opened.Properties["port"] != "22/TCP" {
		t.Errorf("%s by %s: %v", brief(opened), opened.Caller, opened.Properties)
	}
	if same := r.records(valuesPath+filtered("correlationId eq '%s'", opened.CorrelationID), r.owner); len(same) != 3 || same[0].ID != opened.ID {
		t.Errorf("%d records have what an opening has for its correlation id", len(same))
	}
	r.must(400, "GET", wholeLog+"&$skiptoken=MXg", "")
}

func TestActivityLogSelect(t *testing.T) {
	r := newRig(t)
	r.Policy("default", r.Machine("vm1"))
	a := r.must(200, "GET", valuesPath+"&$top=1&$select=eventTimestamp,%20Status,caller", "")
	var l list[map[string]any]
	a.into(t, &l)
	if len(l.Value) != 1 || len(l.Value[0]) != 3 || l.Value[0]["status"] == nil || l.Value[0]["eventTimestamp"] == nil || l.Value[0]["caller"] == nil {
		t.Errorf("%s", a.body)
	}
	if code, _ := r.must(400, "GET", valuesPath+"&$select=password", "").refusal(t); code != "InvalidSelectInQueryString" {
		t.Error(code)
	}
}

// TestActivityLogIsForWhoMayRead: at the scope that is asked, which the filter may narrow.
func TestActivityLogIsForWhoMayRead(t *testing.T) {
	r := newRig(t)
	r.Policy("default", r.Machine("vm1"))
	reader := r.tokenFor(r.User("reader", ajartest.At("Monitoring Reader", ajartest.Group)))
	requester := r.tokenFor(r.User("requester", ajartest.At("Just-in-time Requester", ajartest.Group)))
	for path, want := range map[string][2]int{
		wholeLog:   {403, 403},
		valuesPath: {403, 403},
		valuesPath + filtered("resourceGroupName eq 'lab'"):                                                   {200, 403},
		valuesPath + filtered("resourceUri eq '%s'", ajartest.PolicyID("default")):                            {200, 403},
		valuesPath + filtered("resourceGroupName eq 'other'"):                                                 {403, 403},
		"/providers/Microsoft.Insights/eventcategories?api-version=2015-04-01":                                {200, 200},
		"/subscriptions/lab/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01": {400, 400},
	} {
		for i, token := range []string{reader, requester} {
			if a := r.do("GET", path, token, ""); a.StatusCode != want[i] {
				t.Errorf("%s: %d, not %d: %s", path, a.StatusCode, want[i], a.body)
			}
		}
	}
	if a := r.do("GET", valuesPath, "", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.StatusCode)
	}
}
