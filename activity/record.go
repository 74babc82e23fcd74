package activity

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
)

// Record is an entry of the activity log as Azure's REST API has it (2015-04-01).
type Record struct {
	Authorization        *Authorization    `json:"authorization,omitempty"`
	Caller               string            `json:"caller,omitempty"`
	Channels             string            `json:"channels,omitempty"`
	Claims               map[string]string `json:"claims,omitempty"`
	CorrelationID        string            `json:"correlationId,omitempty"`
	Description          *string           `json:"description,omitempty"`
	EventDataID          string            `json:"eventDataId,omitempty"`
	EventName            *Word             `json:"eventName,omitempty"`
	Category             *Word             `json:"category,omitempty"`
	EventTimestamp       string            `json:"eventTimestamp,omitempty"`
	HTTPRequest          *HTTPRequest      `json:"httpRequest,omitempty"`
	ID                   string            `json:"id,omitempty"`
	Level                string            `json:"level,omitempty"`
	OperationID          string            `json:"operationId,omitempty"`
	OperationName        *Word             `json:"operationName,omitempty"`
	ResourceGroupName    string            `json:"resourceGroupName,omitempty"`
	ResourceProviderName *Word             `json:"resourceProviderName,omitempty"`
	ResourceType         *Word             `json:"resourceType,omitempty"`
	ResourceID           ajar.ID           `json:"resourceId,omitempty"`
	Status               *Word             `json:"status,omitempty"`
	SubStatus            *Word             `json:"subStatus,omitempty"`
	SubmissionTimestamp  string            `json:"submissionTimestamp,omitempty"`
	SubscriptionID       string            `json:"subscriptionId,omitempty"`
	TenantID             string            `json:"tenantId,omitempty"`
	Properties           map[string]string `json:"properties,omitempty"`
	RelatedEvents        *[]string         `json:"relatedEvents,omitempty"`

	number int64  // among all records
	who    string // the caller's object id
}

// Authorization is what was asked for, where, and the role that gave it.
type Authorization struct {
	Action ajar.Action `json:"action"`
	Role   string      `json:"role,omitempty"`
	Scope  ajar.ID     `json:"scope"`
}

// Word is a text and how people read it.
type Word struct {
	Value     string `json:"value"`
	Localized string `json:"localizedValue"`
}

// HTTPRequest is the request that a verb came as.
type HTTPRequest struct {
	ClientRequestID string `json:"clientRequestId,omitempty"`
	ClientIPAddress string `json:"clientIpAddress,omitempty"`
	Method          string `json:"method,omitempty"`
	URI             string `json:"uri,omitempty"`
}

// The statuses of records.
const (
	Started   = "Started"
	Accepted  = "Accepted" // and carried out behind the answer
	Succeeded = "Succeeded"
	Failed    = "Failed"
	Active    = "Active"   // a fault that goes on
	Resolved  = "Resolved" // and one that is over
)

// Plane is what records say of the plane that the log is of.
type Plane struct {
	Tenant   string                // its id
	URL      string                // what it is called by, without a slash at the end
	StatusOf func(k ajar.Kind) int // the HTTP status of a refusal
}

// beginning reports whether e has a record of its beginning: what somebody did has, what came of it or happened has not.
func beginning(e *ajar.Event) bool {
	if e.Outcome == ajar.Happened {
		return false
	}
	a := strings.ToLower(string(e.Action))
	return e.Outcome == ajar.Refused || strings.HasSuffix(a, "/write") || strings.HasSuffix(a, "/delete") || strings.HasSuffix(a, "/action")
}

// Records are those of an event, the last one first.
func (p Plane) Records(e *ajar.Event) []*Record {
	end := p.record(e)
	end.number = 2*e.Pos + 1
	if !beginning(e) {
		p.happened(e, end)
		p.identify(e, end, "once")
		return []*Record{end}
	}
	begin := p.record(e)
	begin.number = 2 * e.Pos
	begin.EventName, end.EventName = &Word{"BeginRequest", "Begin request"}, &Word{"EndRequest", "End request"}
	begin.Level, begin.Status, begin.SubStatus = "Informational", &Word{Started, Started}, &Word{}
	p.ended(e, end)
	p.identify(e, begin, "begin")
	p.identify(e, end, "end")
	return []*Record{end, begin}
}

// record is what all records of an event say.
func (p Plane) record(e *ajar.Event) *Record {
	at := e.Time.UTC().Format(stampForm)
	name, kind := operation(e.Action), e.Scope.Type()
	provider, _, _ := strings.Cut(string(e.Action), "/")
	if kind == "" {
		kind = string(e.Action)[:max(0, strings.LastIndexByte(string(e.Action), '/'))]
		kind = strings.TrimSuffix(kind, verb(kind))
	}
	scope := e.Scope
	if scope == "" {
		scope = ajar.Root
	}
	r := &Record{
		Authorization: &Authorization{Action: e.Action, Role: e.Role, Scope: scope},
		Caller:        e.Name, Channels: "Operation", CorrelationID: e.Corr, Description: new(string),
		Category:       word1(category(e)),
		EventTimestamp: at, SubmissionTimestamp: at,
		OperationName:     &Word{string(e.Action), name},
		ResourceGroupName: scope.ResourceGroup(), ResourceProviderName: word1(provider), ResourceType: word1(kind), ResourceID: scope,
		SubscriptionID: scope.Subscription(), TenantID: p.Tenant,
		Properties:    p.properties(e, scope),
		RelatedEvents: &[]string{},
		who:           string(e.Caller),
	}
	if r.Caller == "" {
		r.Caller = string(e.Caller)
	}
	if r.CorrelationID == "" {
		r.CorrelationID = string(e.Request) // what came of a request is found by it
	}
	r.OperationID = r.CorrelationID
	if e.Caller != "" {
		r.Claims = p.claims(e)
	}
	if e.Call != nil {
		method, target := e.Call.Parts(e.Scope)
		r.HTTPRequest = &HTTPRequest{ClientRequestID: e.Call.Client, Method: method, URI: p.URL + target}
		if e.From.IsValid() {
			r.HTTPRequest.ClientIPAddress = e.From.String()
		}
	}
	return r
}

func word1(s string) *Word { return &Word{s, s} }

// verb is the last part of an action on part of a resource type, such as /initiate.
func verb(kind string) string {
	i := strings.LastIndexByte(kind, '/')
	if i < 0 || strings.Count(kind, "/") < 2 {
		return ""
	}
	switch kind[i+1:] {
	case "initiate", "approve", "deny", "revoke", "extend", "release", "confirm":
		return kind[i:]
	}
	return ""
}

// stampForm is a time as Azure writes it.
const stampForm = "2006-01-02T15:04:05.0000000Z"

// identify gives r the ids that are the same whenever and wherever it is read.
func (p Plane) identify(e *ajar.Event, r *Record, part string) {
	sum := sha256.Sum256([]byte(part + "\x00" + strconv.FormatInt(e.Pos, 10) + "\x00" + r.EventTimestamp + "\x00" + e.Corr + "\x00" + string(e.Action)))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	t := hex.EncodeToString(b)
	r.EventDataID = t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
	if r.CorrelationID == "" {
		r.CorrelationID, r.OperationID = r.EventDataID, r.EventDataID
	}
	r.ID = strings.TrimSuffix(string(r.ResourceID), "/") + "/events/" + r.EventDataID + "/ticks/" + strconv.FormatInt(ticks(e.Time), 10)
}

// ticks are hundreds of nanoseconds since the year 1.
func ticks(t time.Time) int64 { return t.UnixMilli()*10_000 + 621_355_968_000_000_000 }

// ended is what became of a verb.
func (p Plane) ended(e *ajar.Event, r *Record) {
	status := http.StatusOK
	r.Level, r.Status = "Informational", word1(Succeeded)
	switch {
	case e.Outcome == ajar.Refused:
		status = http.StatusInternalServerError
		if p.StatusOf != nil {
			status = p.StatusOf(e.Kind)
		}
		r.Level, r.Status = "Error", word1(Failed)
		r.Description = &e.Message
	case e.Call != nil && e.Call.Status != 0:
		status = e.Call.Status
	}
	if status == http.StatusAccepted {
		r.Status = word1(Accepted)
	}
	text := strings.ReplaceAll(http.StatusText(status), " ", "")
	r.SubStatus = &Word{text, text + " (HTTP Status Code: " + strconv.Itoa(status) + ")"}
	r.Properties["statusCode"] = text
	if e.Outcome == ajar.Refused {
		r.Properties["statusMessage"] = statusMessage(e)
	}
}

// happened is a record of what nobody did, or of what a verb brought about.
func (p Plane) happened(e *ajar.Event, r *Record) {
	r.EventName = word1(string(e.Action)[strings.LastIndexByte(string(e.Action), '/')+1:])
	r.Level, r.Status, r.SubStatus, r.Description = "Informational", word1(Succeeded), &Word{}, &e.Message
	switch e.Action {
	case ajar.LeaseUnreachable, ajar.SessionsOutlive, ajar.HostDuplicate, ajar.HostRefused, ajar.HostSkew, ajar.HostLeft, ajar.GuardRolledBack,
		ajar.TargetMissing, ajar.TargetClash, ajar.ListingFailed, ajar.ListingRefused:
		r.Level, r.Status = "Warning", word1(Active)
	case ajar.DriftRepaired, ajar.SessionsOver, ajar.ListingWorked:
		r.Level, r.Status = "Warning", word1(Resolved)
	case ajar.BreakGlass:
		r.Level = "Warning"
	}
	if r.Caller == "" {
		r.Caller = ajar.Plane.Name
	}
}

// claims are those of the sign-in that the log knows, under their URIs.
func (p Plane) claims(e *ajar.Event) map[string]string {
	c := map[string]string{
		"http://schemas.microsoft.com/identity/claims/objectidentifier": string(e.Caller),
	}
	if p.URL != "" {
		c["aud"] = p.URL
	}
	if p.Tenant != "" {
		c["http://schemas.microsoft.com/identity/claims/tenantid"] = p.Tenant
	}
	if e.Name != "" {
		c["name"], c["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name"] = e.Name, e.Name
	}
	if strings.Contains(e.Name, "@") {
		c["http://schemas.xmlsoap.org/ws/2005/05/identity/claims/upn"] = e.Name
	}
	if e.From.IsValid() {
		c["ipaddr"] = e.From.String()
	}
	if e.App != "" {
		c["appid"] = e.App
	}
	return c
}

// properties are what the event tells, each a text. What it was about stands under the names that Azure has for it.
func (p Plane) properties(e *ajar.Event, scope ajar.ID) map[string]string {
	m := map[string]string{"eventCategory": category(e), "entity": string(scope), "message": string(e.Action), "hierarchy": p.Tenant + "/" + scope.Subscription()}
	maps.Copy(m, e.Details)
	for k, v := range map[string]string{
		"serviceRequestId": e.Corr, "requestId": string(e.Request), "leaseId": string(e.Lease), "endpoint": string(e.Endpoint),
		"principalId": string(e.Principal), "decidedBy": e.By, "surface": e.Via,
	} {
		if v != "" {
			m[k] = v
		}
	}
	if e.Action == ajar.PolicyInitiate {
		asked(m, e)
	}
	return m
}

// asked adds what a request asked for, so that who, which port, from where and until when stand in one record.
func asked(m map[string]string, e *ajar.Event) {
	lines := asks(m["asks"])
	if len(lines) == 0 {
		return
	}
	join := func(of func(ask) string) string {
		var all []string
		for _, a := range lines {
			if v := of(a); !slices.Contains(all, v) {
				all = append(all, v)
			}
		}
		return strings.Join(all, ",")
	}
	m["machine"] = join(func(a ask) string { return a.machine })
	m["port"] = join(func(a ask) string { return a.port })
	m["source"] = join(func(a ask) string { return a.source })
	if until := m["until"]; until != "" {
		m["endTimeUtc"] = until
		return
	}
	m["endTimeUtc"] = join(func(a ask) string {
		if a.until != "" {
			return a.until
		}
		if d, err := ajar.ParseDuration(a.lasts); err == nil {
			return e.Time.UTC().Add(d).Format(time.RFC3339)
		}
		return a.lasts
	})
}

// ask is one line of what a request's event says was asked for.
type ask struct{ machine, port, source, until, lasts string }

// asks reads "vm1 22/TCP from 192.0.2.1/32 until 2026-11-20T17:00:00Z; …". What it cannot read it leaves out.
func asks(text string) (all []ask) {
	for line := range strings.SplitSeq(text, "; ") {
		words := strings.Fields(line)
		n := len(words)
		if n < 6 || words[n-4] != "from" {
			continue
		}
		a := ask{machine: strings.Join(words[:n-5], " "), port: words[n-5], source: words[n-3]}
		switch words[n-2] {
		case "until":
			a.until = words[n-1]
		case "for":
			a.lasts = words[n-1]
		default:
			continue
		}
		all = append(all, a)
	}
	return all
}
