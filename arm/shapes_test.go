package arm

import (
	"encoding/base64"
	"net/netip"
	"time"

	"github.com/ajar-access/ajar"
)

// What the tests read of answers, as a client would: the members that they look at, and no more.

type list[T any] struct {
	Value    []T
	NextLink string
}

type cloudError struct {
	Error struct {
		Code, Message string
	}
}

type approvalBody struct {
	Name   string `json:"name,omitempty"`
	Reason string `json:"reason,omitempty"`
}

type armAssignmentBody struct {
	ID   ajar.ID `json:"id"`
	Name string  `json:"name"`
}

type assignmentBody struct {
	ID            string `json:"id,omitempty"`
	PrincipalName string `json:"principalName,omitempty"`
	RoleName      string `json:"roleName,omitempty"`
	Scope         string `json:"scope"`
}

type certificateBody struct {
	ID         string     `json:"id"`
	Thumbprint string     `json:"thumbprint"`
	SHA256     string     `json:"sha256"`
	Subject    string     `json:"subject,omitempty"`
	Expires    *time.Time `json:"expires,omitempty"`
}

type changeBody struct {
	Number uint16 `json:"number"`
}

type guardBody struct {
	Number uint16 `json:"number"`
}

type hostBody struct {
	Target ajar.ID     `json:"target"`
	Guards []guardBody `json:"guards,omitempty"`
}

type hostState struct {
	Connected bool `json:"connected"`
	Pending   bool `json:"guardsPending,omitempty"`
}

type inForceBody struct {
	Joined bool       `json:"joined"`
	Host   *hostState `json:"host,omitempty"`
}

type initiated struct {
	requestBody
	ID       ajar.RequestID    `json:"id"`
	State    ajar.RequestState `json:"state"`
	Needs    int               `json:"needs,omitempty"`
	Deadline *time.Time        `json:"deadline,omitempty"`
	Leases   []leaseBody       `json:"leases,omitempty"`
}

type joinBody struct {
	Token string `json:"token"`
}

type leaseBody struct {
	From      netip.Addr      `json:"from"`
	Approvals []approvalBody  `json:"approvals"`
	ID        ajar.LeaseID    `json:"id"`
	End       time.Time       `json:"end"`
	State     ajar.LeaseState `json:"state"`
	Reason    ajar.Reason     `json:"reason,omitempty"`
	KernelEnd *time.Time      `json:"kernelEnd,omitempty"`
	Trouble   string          `json:"trouble,omitempty"`
}

type machineProperties struct {
	VMID string `json:"vmId"`
}

type meBody struct {
	Principal ajar.PrincipalID `json:"principal"`
	Name      string           `json:"name"`
	From      netip.Addr       `json:"from,omitzero"`
	Warning   string           `json:"warning,omitempty"`
	Expires   *time.Time       `json:"expires,omitempty"`
}

type memberBody struct {
	ID   ajar.PrincipalID `json:"id"`
	Name string           `json:"name"`
}

type offerBody struct {
	Ports []offeredPort `json:"ports"`
}

type offeredPort struct {
	Number uint16 `json:"number"`
}

type outcomeBody struct {
	ID        ajar.RequestID    `json:"id"`
	State     ajar.RequestState `json:"state"`
	Approvals []approvalBody    `json:"approvals,omitempty"`
	Leases    []leaseBody       `json:"leases"`
}

type policyBody struct {
	Properties policyProperties `json:"properties"`
}

type policyProperties struct {
	Requests []requestBody `json:"requests"`
}

type principalBody struct {
	ID       ajar.PrincipalID   `json:"id"`
	Kind     ajar.PrincipalKind `json:"kind"`
	Display  string             `json:"display,omitempty"`
	Disabled bool               `json:"disabled,omitempty"`
	Members  []memberBody       `json:"members,omitempty"`
}

type requestBody struct {
	VirtualMachines []requestedMachine `json:"virtualMachines"`
}

type requestedMachine struct {
	Ports []requestedPort `json:"ports"`
}

type requestedPort struct {
	Status       string `json:"status"`
	StatusReason string `json:"statusReason"`
}

type resourceBody struct {
	Name string `json:"name"`
}

type resourceGroupBody struct {
	Name string `json:"name"`
}

type secretBody struct {
	ID     string `json:"id"`
	Secret string `json:"secret,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

type sessionBody struct {
	Token string `json:"token"`
	Name  string `json:"name"`
}

type targetBody struct {
	ID        ajar.ID           `json:"id"`
	Addresses []netip.Addr      `json:"addresses,omitempty"`
	Login     string            `json:"login,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	Host      *hostState        `json:"host,omitempty"`
	Policies  []offerBody       `json:"policies,omitempty"`
}

type tokenBody struct {
	ID      string    `json:"id"`
	Token   string    `json:"token,omitempty"`
	Name    string    `json:"name,omitempty"`
	Expires time.Time `json:"expires"`
	Current bool      `json:"current,omitempty"`
}

type virtualMachine struct {
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties machineProperties `json:"properties"`
}

type whatIfBody struct {
	Guard  []changeBody `json:"guard"`
	Lift   []changeBody `json:"lift"`
	Leases []leaseBody  `json:"leases"`

	ConfirmWithin string `json:"confirmWithin"`
}

// stampForm is how Azure writes times.
const stampForm = "2006-01-02T15:04:05.0000000Z"

// formatSkip is a skip token that says where to go on.
func formatSkip(cursor string) string {
	return base64.RawURLEncoding.EncodeToString([]byte("1" + cursor))
}
