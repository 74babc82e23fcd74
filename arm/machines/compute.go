package machines

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/arm/rest"
	"github.com/ajar-access/ajar/broker"
)

func (s room) computeRoutes() []rest.Route {
	const (
		in    = "/providers/microsoft.compute"
		sub   = "/subscriptions/{s}"
		group = sub + "/resourcegroups/{g}"
		one   = group + in + "/virtualmachines/{vm}"
	)
	routes := []rest.Route{
		rest.Get(sub+in+"/virtualmachines", rest.Beside, rest.Op(200, s.armListMachines), "Lists the machines of a subscription as virtual machines.", ajar.MachineRead, "$filter", "$expand", "statusOnly", "$top"),
		rest.Get(sub+in+"/locations/{l}/virtualmachines", rest.Beside, rest.Op(200, s.armListMachines), "Lists the machines at a location as virtual machines.", ajar.MachineRead, "$filter", "$expand", "statusOnly", "$top"),
		rest.Get(group+in+"/virtualmachines", rest.Beside, rest.Op(200, s.armListMachines), "Lists the machines of a resource group as virtual machines.", ajar.MachineRead, "$filter", "$expand", "statusOnly", "$top"),
		rest.Get(one, rest.Beside, rest.Op(200, s.armGetMachine), "Shows a machine as a virtual machine.", ajar.MachineRead, "$expand"),
		rest.Get(one+"/instanceview", rest.Beside, rest.Op(200, s.armInstanceView), "Shows whether a machine's host is connected, as a virtual machine's instance view.", ajar.MachineViewRead),
		rest.Put(one, rest.Beside, rest.Op(200, s.armPutMachine), "Changes the tags of a machine that there is.", ajar.MachineWrite),
		rest.Patch(one, rest.Beside, rest.Op(200, s.armPatchMachine), "Changes the tags of a machine.", ajar.MachineWrite),
		rest.Delete(one, rest.Beside, rest.Op(200, s.armDeleteMachine), "Removes a machine; its leases end, and what guards its ports stays.", ajar.MachineDelete, "ajar-lift-guard"),
	}
	for _, p := range []struct {
		verb   string
		action ajar.Action
	}{
		{"start", ajar.MachineStart}, {"poweroff", ajar.MachinePowerOff}, {"deallocate", ajar.MachineDeallocate},
		{"restart", ajar.MachineRestart}, {"redeploy", ajar.MachineRedeploy}, {"reapply", ajar.MachineReapply},
		{"reimage", ajar.MachineReimage}, {"generalize", ajar.MachineGeneralize}, {"runcommand", ajar.MachineRunCommand},
	} {
		routes = append(routes, rest.Post(one+"/"+p.verb, rest.Beside, rest.Op(409, s.declineMachine(p.action)),
			"Refused: the plane opens and closes ports of machines and does not run them.", p.action))
	}
	return routes
}

// virtualMachine is a machine as Azure writes it.
type virtualMachine struct {
	ID         ajar.ID           `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags,omitempty"`
	Properties machineProperties `json:"properties"`
}

type machineProperties struct {
	VMID              string          `json:"vmId"`
	HardwareProfile   hardwareProfile `json:"hardwareProfile"`
	StorageProfile    storageProfile  `json:"storageProfile"`
	OSProfile         osProfile       `json:"osProfile"`
	NetworkProfile    networkProfile  `json:"networkProfile"`
	ProvisioningState string          `json:"provisioningState"`
	TimeCreated       rest.Stamp      `json:"timeCreated"`
	InstanceView      *instanceView   `json:"instanceView,omitempty"`
}

type hardwareProfile struct {
	VMSize string `json:"vmSize"`
}

type storageProfile struct {
	OSDisk    osDisk     `json:"osDisk"`
	DataDisks []struct{} `json:"dataDisks"`
}

type osDisk struct {
	OSType       string `json:"osType"`
	CreateOption string `json:"createOption"`
}

type osProfile struct {
	ComputerName  string     `json:"computerName"`
	AdminUsername string     `json:"adminUsername,omitempty"`
	Secrets       []struct{} `json:"secrets"`
}

type networkProfile struct {
	NetworkInterfaces []interfaceReference `json:"networkInterfaces"`
}

type interfaceReference struct {
	ID         ajar.ID `json:"id"`
	Properties struct {
		Primary bool `json:"primary"`
	} `json:"properties"`
}

type instanceView struct {
	ComputerName string           `json:"computerName"`
	VMAgent      *agentView       `json:"vmAgent,omitempty"`
	Statuses     []instanceStatus `json:"statuses"`
}

type agentView struct {
	Version  string           `json:"vmAgentVersion"`
	Statuses []instanceStatus `json:"statuses"`
}

type instanceStatus struct {
	Code          string      `json:"code"`
	Level         string      `json:"level"`
	DisplayStatus string      `json:"displayStatus"`
	Message       string      `json:"message,omitempty"`
	Time          *rest.Stamp `json:"time,omitempty"`
}

// machineSize is the size of every machine: a plane that runs none of them knows of no sizes.
const machineSize = "Ajar"

func showVirtualMachine(m *broker.Machine, withView bool) virtualMachine {
	nic := interfaceReference{ID: broker.AsInterface.ID(m.ID)}
	nic.Properties.Primary = true
	b := virtualMachine{
		ID: m.ID, Name: m.ID.Name(), Type: ajar.MachineType, Location: broker.PlainLocation(m.Location), Tags: m.Tags,
		Properties: machineProperties{
			VMID: machineGUID(m), HardwareProfile: hardwareProfile{machineSize},
			StorageProfile: storageProfile{osDisk{osOf(m.Target), "Attach"}, []struct{}{}},
			OSProfile:      osProfile{m.ID.Name(), m.Login, []struct{}{}},
			NetworkProfile: networkProfile{[]interfaceReference{nic}}, ProvisioningState: "Succeeded", TimeCreated: rest.Stamp(m.Created),
		},
	}
	if withView {
		v := showInstanceView(m)
		b.Properties.InstanceView = &v
	}
	return b
}

func osOf(m *ajar.Target) string {
	if m.OS == "Windows" {
		return m.OS
	}
	return "Linux"
}

// machineGUID is a machine's own GUID, made of where it stands and since when: another that is put in its place later
// has another.
func machineGUID(m *broker.Machine) string {
	return guidOf(m.ID.Key(), m.Created.UTC().Format(rest.StampForm))
}

// guidOf makes a GUID of text (RFC 9562, version 8).
func guidOf(text ...string) string {
	b := sha256.Sum256([]byte(strings.Join(text, "\n")))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	t := hex.EncodeToString(b[:16])
	return t[:8] + "-" + t[8:12] + "-" + t[12:16] + "-" + t[16:20] + "-" + t[20:]
}

// showInstanceView says that a machine runs if its host is connected. What is not connected may run all the same.
func showInstanceView(m *broker.Machine) instanceView {
	made := rest.Stamp(m.Created)
	v := instanceView{ComputerName: m.ID.Name(), Statuses: []instanceStatus{
		{Code: "ProvisioningState/succeeded", Level: "Info", DisplayStatus: "Provisioning succeeded", Time: &made},
	}}
	power := instanceStatus{Code: "PowerState/unknown", Level: "Info", DisplayStatus: "VM unknown"}
	for _, h := range m.Hosts {
		if h.Connected {
			power = instanceStatus{Code: "PowerState/running", Level: "Info", DisplayStatus: "VM running"}
		}
		if !m.KnowsHosts || v.VMAgent != nil {
			continue
		}
		seen := rest.Stamp(h.LastSeen)
		st := instanceStatus{Code: "ProvisioningState/succeeded", Level: "Info", DisplayStatus: "Ready", Message: "The host's agent is connected."}
		if !h.Connected {
			st = instanceStatus{Code: "ProvisioningState/Unavailable", Level: "Warning", DisplayStatus: "Not Ready", Message: "The host's agent is not connected."}
		}
		if !h.LastSeen.IsZero() {
			st.Time = &seen
		}
		v.VMAgent = &agentView{Version: h.Status.Version, Statuses: []instanceStatus{st}}
	}
	v.Statuses = append(v.Statuses, power)
	return v
}

// machineAt is the machine that the path names.
func machineAt(c *rest.Call) (ajar.ID, error) { return inGroup(c, ajar.MachineType, c.Value("vm")) }

// inGroup is the resource of a type and name in the path's resource group.
func inGroup(c *rest.Call, kind, name string) (ajar.ID, error) {
	group, err := c.Scope()
	if err != nil {
		return "", err
	}
	id, err := ajar.ParseID(string(group) + "/providers/" + kind + "/" + name)
	if err != nil || len(name) > 80 {
		return "", rest.Coded(ajar.Invalid, "InvalidResourceName", "The resource name '%.100s' is invalid.", name)
	}
	return id, nil
}

// withInstance reports whether the call asks for how machines are now.
func withInstance(c *rest.Call) (bool, error) {
	only, err := c.Flag("statusOnly")
	switch expand := c.Param("$expand"); {
	case err != nil:
		return false, err
	case expand == "" || strings.EqualFold(expand, "userData"):
		return only, nil
	case strings.EqualFold(expand, "instanceView"):
		return true, nil
	default:
		return false, rest.Coded(ajar.Invalid, "InvalidParameter", "The value '%.40s' of $expand is not one that machines have; instanceView is.", expand)
	}
}

func (s room) armListMachines(ctx context.Context, c *rest.Call, _ rest.Nothing) (l rest.List[virtualMachine], err error) {
	look, err := look(c)
	if err != nil {
		return l, err
	}
	if look.Hosts, err = withInstance(c); err != nil {
		return l, err
	}
	f, err := c.Filter()
	if err != nil {
		return l, err
	}
	at := broker.PlainLocation(c.Value("l"))
	look.Keep = func(m *broker.Machine) bool {
		return (at == "" || at == broker.PlainLocation(m.Location)) &&
			f.Keeps(rest.Thing{Name: m.ID.Name(), Group: m.ID.ResourceGroup(), Kind: ajar.MachineType, Location: m.Location, Tags: m.Tags})
	}
	all, next, err := s.Broker.Machines(ctx, c.Who, broker.AsMachine, look)
	if err != nil {
		return l, err
	}
	return rest.Each(c, all, next, func(m *broker.Machine) virtualMachine { return showVirtualMachine(m, look.Hosts) }), nil
}

// look is which machines a list is about: those at and below the path's scope, page by page.
func look(c *rest.Call) (l broker.Look, err error) {
	if l.Under, err = c.Scope(); err == nil {
		l.Page, err = c.Page(rest.EntriesAPage)
	}
	return l, err
}

func (s room) armGetMachine(ctx context.Context, c *rest.Call, _ rest.Nothing) (*virtualMachine, error) {
	id, err := machineAt(c)
	if err != nil {
		return nil, err
	}
	view, err := withInstance(c)
	if err != nil {
		return nil, err
	}
	m, err := s.Broker.Machine(ctx, c.Who, broker.AsMachine, id, view)
	if err != nil {
		return nil, err
	}
	b := showVirtualMachine(m, view)
	return &b, nil
}

func (s room) armInstanceView(ctx context.Context, c *rest.Call, _ rest.Nothing) (*instanceView, error) {
	id, err := machineAt(c)
	if err != nil {
		return nil, err
	}
	m, err := s.Broker.Machine(ctx, c.Who, broker.AsInstance, id, true)
	if err != nil {
		return nil, err
	}
	v := showInstanceView(m)
	return &v, nil
}

// virtualMachineIn is what of a virtual machine's body is looked at. Clients send back whole machines as they read them.
type virtualMachineIn struct {
	Location   rest.Text         `json:"location"`
	Tags       map[string]string `json:"tags"` // left out or null: as they are
	Properties struct {
		HardwareProfile struct {
			VMSize rest.Text `json:"vmSize"`
		} `json:"hardwareProfile"`
		StorageProfile struct {
			OSDisk struct {
				OSType rest.Text `json:"osType"`
			} `json:"osDisk"`
		} `json:"storageProfile"`
		OSProfile struct {
			ComputerName rest.Text `json:"computerName"`
		} `json:"osProfile"`
	} `json:"properties"`
}

// fits refuses to make of m what it is not.
func (in *virtualMachineIn) fits(m *ajar.Target) error {
	at := broker.PlainLocation(string(in.Location))
	if at != "" && m.Location != "" && at != broker.PlainLocation(m.Location) {
		return rest.Coded(ajar.Conflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%.60s'.",
			m.ID.Name(), broker.PlainLocation(m.Location), m.ID.ResourceGroup(), in.Location)
	}
	for _, x := range []struct{ name, is, want string }{
		{"osDisk.osType", osOf(m), string(in.Properties.StorageProfile.OSDisk.OSType)},
		{"hardwareProfile.vmSize", machineSize, string(in.Properties.HardwareProfile.VMSize)},
		{"osProfile.computerName", m.ID.Name(), string(in.Properties.OSProfile.ComputerName)},
	} {
		if x.want != "" && !strings.EqualFold(x.want, x.is) {
			return rest.Coded(ajar.Conflict, "PropertyChangeNotAllowed", "Changing property '%s' is not allowed: it is '%s'. The plane knows machines and does not make them.", x.name, x.is)
		}
	}
	return nil
}

func (s room) armPutMachine(ctx context.Context, c *rest.Call, in virtualMachineIn) (*virtualMachine, error) {
	return s.tagMachine(ctx, c, in, rest.Coded(ajar.Conflict, "OperationNotAllowed",
		"Machine '%.80s' is not known, and the plane makes none. Register it with a join token for its host (POST /ajar/v1/hosts/join-token), or with PUT /ajar/v1/target.", c.Value("vm")))
}

func (s room) armPatchMachine(ctx context.Context, c *rest.Call, in virtualMachineIn) (*virtualMachine, error) {
	return s.tagMachine(ctx, c, in, nil)
}

func (s room) tagMachine(ctx context.Context, c *rest.Call, in virtualMachineIn, absent error) (*virtualMachine, error) {
	id, err := machineAt(c)
	if err != nil {
		return nil, err
	}
	m, err := s.Broker.Tag(ctx, c.Who, id, in.Tags, func(m *ajar.Target) error {
		if m == nil {
			return absent
		}
		return in.fits(m)
	})
	if err != nil {
		return nil, err
	}
	b := showVirtualMachine(m, false)
	return &b, nil
}

// armDeleteMachine keeps the guard unless told otherwise: in Azure nothing of a machine that was deleted can be reached,
// and a client that means that must not open ports.
func (s room) armDeleteMachine(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
	id, err := machineAt(c)
	if err != nil {
		return rest.Nothing{}, err
	}
	lift, err := c.Flag("ajar-lift-guard")
	if err != nil {
		return rest.Nothing{}, err
	}
	existed, err := s.Broker.DeleteTarget(ctx, c.Who, id, !lift)
	if err == nil && !existed {
		c.Status = http.StatusNoContent
	}
	return rest.Nothing{}, err
}

func (s room) declineMachine(action ajar.Action) func(context.Context, *rest.Call, rest.Nothing) (rest.Nothing, error) {
	return func(ctx context.Context, c *rest.Call, _ rest.Nothing) (rest.Nothing, error) {
		id, err := machineAt(c)
		if err != nil {
			return rest.Nothing{}, err
		}
		return rest.Nothing{}, s.decline(ctx, c, action, id, "The plane opens and closes ports of machine '"+id.Name()+"' and does not run it: do that where it runs.")
	}
}

// decline refuses what nobody can do here.
func (s room) decline(ctx context.Context, c *rest.Call, action ajar.Action, at ajar.ID, why string) error {
	err := s.Broker.Decline(ctx, c.Who, action, at, rest.Coded(ajar.Conflict, "OperationNotAllowed", "%s", why))
	if err == nil {
		err = errors.New("a refusal was taken back") // it cannot be: Decline gives the reason back
	}
	return err
}
