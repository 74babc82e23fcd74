package machines

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

// Azure's assessment of whether management ports are behind just-in-time access, by its key and name.
const (
	assessmentName = "Management ports of virtual machines should be protected with just-in-time network access control"
	assessmentType = "Microsoft.Security/assessments"
	metadataType   = "Microsoft.Security/assessmentMetadata"
)

type assessmentBody = proxyBody[assessmentProperties]

type assessmentProperties struct {
	Resource    resourceDetails               `json:"resourceDetails"`
	DisplayName string                        `json:"displayName"`
	Status      assessmentStatus              `json:"status"`
	Additional  map[string]string             `json:"additionalData"`
	Metadata    *assessmentMetadataProperties `json:"metadata,omitempty"`
	Links       *map[string]string            `json:"links,omitempty"`
}

type resourceDetails struct {
	Source string  `json:"source"`
	ID     ajar.ID `json:"id"`
}

type assessmentStatus struct {
	Code        string      `json:"code"`
	Cause       string      `json:"cause,omitempty"`
	Description string      `json:"description,omitempty"`
	First       *rest.Stamp `json:"firstEvaluationDate,omitempty"`
}

type assessmentMetadataProperties struct {
	DisplayName          string   `json:"displayName"`
	PolicyDefinition     ajar.ID  `json:"policyDefinitionId"`
	Description          string   `json:"description"`
	Remediation          string   `json:"remediationDescription"`
	Categories           []string `json:"categories"`
	Severity             string   `json:"severity"`
	UserImpact           string   `json:"userImpact"`
	ImplementationEffort string   `json:"implementationEffort"`
	Threats              []string `json:"threats"`
	Preview              bool     `json:"preview"`
	AssessmentType       string   `json:"assessmentType"`
}

type metadataBody = proxyBody[assessmentMetadataProperties]

// The codes of an assessment.
const (
	healthy       = "Healthy"
	unhealthy     = "Unhealthy"
	notApplicable = "NotApplicable"
)

// assess says how just-in-time access to a machine stands. Without a host there is nothing that could be kept closed;
// with one, a machine is as it should be if a policy names it, or what a policy left behind keeps its management ports
// closed. Whether anything listens there is not known.
func assess(m *broker.Machine, now time.Time) assessmentStatus {
	first := rest.Stamp(m.Created)
	st := assessmentStatus{First: &first}
	says := func(code, cause, format string, a ...any) assessmentStatus {
		st.Code, st.Cause, st.Description = code, cause, fmt.Sprintf(format, a...)
		return st
	}
	named := ""
	if len(m.Policies) > 0 {
		named = "'" + m.Policies[0].Name() + "'"
	}
	switch {
	case len(m.Hosts) == 0 && named != "":
		return says(notApplicable, "NoHost", "Policy %s names the machine, but no host has joined as it: nothing keeps its ports closed.", named)
	case len(m.Hosts) == 0:
		return says(notApplicable, "NoHost", "No host has joined as this machine, so its ports cannot be kept closed.")
	}
	for _, h := range m.Hosts {
		if n := len(h.Guards) - len(h.Guarded(now)); named != "" && n > 0 {
			return says(unhealthy, "GuardNotConfirmed", "Policy %s names the machine, but %d of its guards were not confirmed in time, and its host lifted them again.", named, n)
		}
	}
	if named != "" {
		st.Code = healthy
		return st
	}
	if open := unguarded(m, now); len(open) > 0 {
		return says(unhealthy, "NoPolicy", "No just-in-time policy names the machine, and nothing keeps its management ports closed: %s. Whether anything listens there was not looked at.", strings.Join(open, ", "))
	}
	return says(healthy, "GuardKept", "No just-in-time policy names the machine any longer, and what guarded its management ports is kept.")
}

// unguarded lists the management ports of a machine that some host of it does not guard.
func unguarded(m *broker.Machine, now time.Time) (open []string) {
	ports := []uint16{22}
	if m.OS == "Windows" {
		ports = []uint16{3389, 5985, 5986}
	} else if m.SSHPort != 0 {
		ports[0] = m.SSHPort
	}
	for _, p := range ports {
		for _, h := range m.Hosts {
			closed := false
			for _, g := range h.Guarded(now) {
				closed = closed || g.Port.Number == p && g.Port.Protocol.Has(ajar.TCP) && !g.Dest.IsValid()
			}
			if !closed {
				open = append(open, fmt.Sprint(p))
				break
			}
		}
	}
	return open
}

func showAssessment(m *broker.Machine, now time.Time, more []string) assessmentBody {
	id := broker.AsAssessment.ID(m.ID)
	b := assessmentBody{ID: id, Name: broker.AssessmentKey, Type: assessmentType, Properties: assessmentProperties{
		Resource: resourceDetails{"Azure", m.ID}, DisplayName: assessmentName, Status: assess(m, now), Additional: map[string]string{},
	}}
	for _, word := range more {
		switch {
		case strings.EqualFold(word, "metadata"):
			data := metadata().Properties
			b.Properties.Metadata = &data
		case strings.EqualFold(word, "links"):
			b.Properties.Links = &map[string]string{}
		}
	}
	return b
}

func metadata() metadataBody {
	return metadataBody{"/providers/" + metadataType + "/" + broker.AssessmentKey, broker.AssessmentKey, metadataType, assessmentMetadataProperties{
		DisplayName: assessmentName, PolicyDefinition: definitionID,
		Description: "Whoever can reach a port for remote administration can try to log in there. Kept closed, and opened for one source and a limited time to those who may, it is out of reach of everybody else.",
		Remediation: "1. Have the machine's host join (ajar host). 2. Put a just-in-time policy that names the machine and its management ports.",
		Categories:  []string{"Networking"}, Severity: "High", UserImpact: "High", ImplementationEffort: "Low",
		Threats: []string{"MaliciousInsider", "AccountBreach"}, AssessmentType: "BuiltIn",
	}}
}

func (s room) listAssessments(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[assessmentBody], err error) {
	var look broker.Look
	if look.Under, err = machineScope(c); err != nil {
		return l, err
	}
	if look.Page, err = c.Page(rest.EntriesAPage); err != nil {
		return l, err
	}
	all, next, err := s.Broker.Machines(ctx, c.Who, broker.AsAssessment, look)
	if err != nil {
		return l, err
	}
	now, more := s.Clock(), strings.Split(c.Param("$expand"), ",")
	return rest.Each(c, all, next, func(m *broker.Machine) assessmentBody { return showAssessment(m, now, more) }), nil
}

func (s room) getAssessment(ctx context.Context, c *rest.Call, _ rest.Nothing) (*assessmentBody, error) {
	id, err := machineAt(c)
	if err != nil {
		return nil, err
	}
	if id, err = ajar.ParseID(string(id) + "/providers/" + assessmentType + "/" + c.Value("key")); err != nil {
		return nil, err
	}
	m, err := s.Broker.Machine(ctx, c.Who, broker.AsAssessment, id, false)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Value("key"), broker.AssessmentKey) {
		return nil, noAssessment(c)
	}
	b := showAssessment(m, s.Clock(), strings.Split(c.Param("$expand"), ","))
	return &b, nil
}

func noAssessment(c *rest.Call) error {
	return rest.Coded(ajar.NotFound, "", "There is no assessment '%.60s'; the only one is '%s'.", c.Value("key"), broker.AssessmentKey)
}

func (s room) listAssessmentMetadata(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[metadataBody], err error) {
	b := metadata()
	if sub := c.Value("s"); sub != "" {
		err = s.inSubscription(ctx, c, ajar.AssessmentMetadataRead)
		b.ID = ajar.ID("/subscriptions/"+sub) + b.ID
	}
	if err != nil {
		return l, err
	}
	l.Value = []metadataBody{b}
	return l, nil
}

func (s room) getAssessmentMetadata(ctx context.Context, c *rest.Call, in rest.Nothing) (*metadataBody, error) {
	all, err := s.listAssessmentMetadata(ctx, c, in)
	if err != nil {
		return nil, err
	}
	if !strings.EqualFold(c.Value("key"), broker.AssessmentKey) {
		return nil, noAssessment(c)
	}
	return &all.Value[0], nil
}
