package activity

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/ajar-access/ajar"
)

// operations are how people read actions, by the action in lower case. What is not here is read as it is, as in Azure.
var operations, actions = func() (map[string]string, []ajar.Action) {
	m, all := map[string]string{}, []ajar.Action{}
	for action, name := range map[ajar.Action]string{
		ajar.PolicyInitiate: "Initiate JIT Network Access Policy",
		ajar.PolicyWrite:    "Create or Update JIT Network Access Policy",
		ajar.PolicyDelete:   "Delete JIT Network Access Policy",
		ajar.RequestApprove: "Approve JIT Network Access Request",
		ajar.RequestDeny:    "Deny JIT Network Access Request",
		ajar.RequestRevoke:  "Revoke JIT Network Access Request",
		ajar.RequestExtend:  "Extend JIT Network Access Request",

		ajar.MachineWrite:          "Create or Update Virtual Machine",
		ajar.MachineDelete:         "Delete Virtual Machine",
		ajar.RoleAssignmentWrite:   "Create role assignment",
		ajar.RoleAssignmentDelete:  "Delete role assignment",
		ajar.RoleDefinitionWrite:   "Create or update custom role definition",
		ajar.RoleDefinitionDelete:  "Delete custom role definition",
		ajar.DenyAssignmentWrite:   "Create deny assignment",
		ajar.DenyAssignmentDelete:  "Delete deny assignment",
		ajar.ManagementGroupWrite:  "Create or update management group",
		ajar.ManagementGroupDelete: "Delete management group",
		ajar.ResourceGroupWrite:    "Update resource group",

		ajar.HostWrite:       "Create or Update Host",
		ajar.HostDelete:      "Delete Host",
		ajar.GuardRelease:    "Release Guard",
		ajar.GuardConfirm:    "Confirm Guard",
		ajar.PrincipalWrite:  "Create or Update Principal",
		ajar.PrincipalDelete: "Delete Principal",
		ajar.SignIn:          "Sign in",
		ajar.SignOut:         "Sign out",

		"Microsoft.Security/locations/jitNetworkAccessPolicies/requests/withdraw/action": "Withdraw JIT Network Access Request",
		"Ajar.Access/principals/credentials/write":                                       "Create or Update Credential",
		"Ajar.Access/principals/credentials/delete":                                      "Delete Credential",
		"Ajar.Access/principals/tokens/write":                                            "Create Token",
		"Ajar.Access/principals/tokens/revoke/action":                                    "Revoke Token",
		"Ajar.Access/principals/factors/write":                                           "Create or Update Second Factor",
		"Ajar.Access/principals/factors/delete":                                          "Delete Second Factor",
		"Ajar.Access/principals/factors/reset/action":                                    "Reset Second Factors",
		"Ajar.Access/principals/sessions/delete":                                         "End Browser Session",
		"Ajar.Access/lookUp/action":                                                      "Look up for a change",
		"Ajar.Access/requests/lapsed":                                                    "JIT Network Access Request lapsed",
		"Ajar.Access/hosts/renewed":                                                      "Host's certificate renewed",

		ajar.LeaseOpened:      "Port opened",
		ajar.LeaseClosed:      "Port closed",
		ajar.LeaseExtended:    "Opening extended",
		ajar.LeaseUnreachable: "Host unreachable while a port should change",
		ajar.SessionsOutlive:  "Sessions outlive their opening",
		ajar.SessionsOver:     "Sessions that outlived their opening are over",
		ajar.GuardSet:         "Port guarded",
		ajar.GuardLifted:      "Guard lifted",
		ajar.GuardKept:        "Guard kept without a policy",
		ajar.GuardRolledBack:  "Unconfirmed guard rolled back",
		ajar.GuardInForce:     "Guard in force",
		ajar.DriftRepaired:    "Changed firewall rules repaired",
		ajar.HostJoined:       "Host joined",
		ajar.HostConnected:    "Host connected",
		ajar.HostDuplicate:    "Second host with one identity",
		ajar.HostRefused:      "Host refused",
		ajar.HostSkew:         "Host's clock is off",
		ajar.HostLeft:         "Host left",
		ajar.BreakGlass:       "Port opened on the host itself",
		ajar.TargetFound:      "Virtual machine found",
		ajar.TargetChanged:    "Virtual machine changed",
		ajar.TargetMissing:    "Virtual machine missing from a listing",
		ajar.TargetGone:       "Virtual machine gone",
		ajar.TargetKept:       "Virtual machine kept though it is not listed",
		ajar.TargetClash:      "Virtual machine listed that is known from elsewhere",
		ajar.ListingWorked:    "Listing of machines works again",
		ajar.ListingFailed:    "Listing of machines failed",
		ajar.ListingRefused:   "Listing of machines refused",
		ajar.PlaneStarted:     "Plane started",
		ajar.PlaneRestored:    "Plane restored from a backup",
	} {
		m[strings.ToLower(string(action))], all = name, append(all, action)
	}
	slices.Sort(all)
	return m, all
}()

// Actions lists the actions that the log tells of, in order.
func Actions() []ajar.Action { return slices.Clone(actions) }

func operation(a ajar.Action) string {
	if name, ok := operations[strings.ToLower(string(a))]; ok {
		return name
	}
	return string(a)
}

// The categories that records here have.
const (
	administrative = "Administrative"
	security       = "Security"
)

// categories are Azure's, in its order.
var categories = []Word{
	{administrative, administrative}, {security, security}, {"ServiceHealth", "Service Health"}, {"Alert", "Alert"}, {"Recommendation", "Recommendation"},
	{"Policy", "Policy"}, {"Autoscale", "Autoscale"}, {"ResourceHealth", "Resource Health"},
}

// Categories are the categories that clients offer to filter by. Records here are Administrative or Security.
func Categories() []Word { return append([]Word(nil), categories...) }

func category(e *ajar.Event) string {
	switch e.Action {
	case ajar.SignIn, ajar.SignOut, ajar.BreakGlass, ajar.HostDuplicate, ajar.HostRefused:
		return security
	}
	return administrative
}

// statusMessage is the error as the client got it, which Azure keeps as text.
func statusMessage(e *ajar.Event) string {
	var body struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"error"`
	}
	body.Error.Code, body.Error.Message = e.Code, e.Message
	if e.Code == "" {
		body.Error.Code = string(e.Kind)
	}
	b, err := json.Marshal(body)
	if err != nil {
		return e.Message
	}
	return string(b)
}
