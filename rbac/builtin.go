package rbac

import (
	"strings"

	"github.com/ajar-access/ajar"
)

// The built-in roles that code refers to, by Azure's GUIDs. The last two are ours.
const (
	Owner                     ajar.RoleID = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor               ajar.RoleID = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                    ajar.RoleID = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator   ajar.RoleID = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	RBACAdministrator         ajar.RoleID = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	SecurityReader            ajar.RoleID = "39bc4728-0917-49c7-9d2c-d95423bc2eb4"
	SecurityAdmin             ajar.RoleID = "fb1c8493-542b-48eb-b624-b4c8fea62acd"
	SecurityManager           ajar.RoleID = "e3d13bf0-dd5a-482e-ba6b-9b8433878d10"
	VirtualMachineContributor ajar.RoleID = "9980e02c-c2be-4d73-94e8-173b1dc7cf3c"
	NetworkContributor        ajar.RoleID = "4d97b98b-1d4f-4787-a291-c67834d212e7"
	VMUserLogin               ajar.RoleID = "fb879df8-f326-4884-b1cf-06f3ad86be52"
	VMAdministratorLogin      ajar.RoleID = "1c0163c0-47e6-4577-8991-ea5c82e286e4"
	VMLocalUserLogin          ajar.RoleID = "602da2ba-a5c2-41da-b01d-5360126ab525"
	MonitoringReader          ajar.RoleID = "43d0d8ad-25c7-4714-9337-8ba259a9fe05"
	MonitoringContributor     ajar.RoleID = "749f88d5-cbae-40b8-bcfc-e573ddc772fa"
	LogAnalyticsReader        ajar.RoleID = "73c42c96-874c-492b-b04d-ab87d138a893"
	LogAnalyticsContributor   ajar.RoleID = "92aaf0da-9dab-42b6-94a3-d43ce8d16293"

	JITRequester ajar.RoleID = "3f0f9a51-64ad-4d55-9d0b-1f6c0a7e2b11"
	JITApprover  ajar.RoleID = "3f0f9a51-64ad-4d55-9d0b-1f6c0a7e2b12"
)

// BuiltIn lists the built-in roles with Azure's names, GUIDs and actions, and our two. Everything is made anew at each
// call.
func BuiltIn() []ajar.RoleDefinition {
	out := make([]ajar.RoleDefinition, len(builtIn))
	for i, b := range builtIn {
		out[i] = ajar.RoleDefinition{
			ID: b.id, Name: b.name, Description: b.about, BuiltIn: true, AssignableScopes: []ajar.ID{ajar.Root},
			Permissions: []ajar.Permission{{
				Actions: actions(b.actions), NotActions: actions(b.not), DataActions: actions(b.data),
			}},
		}
	}
	return out
}

func actions(lines string) []ajar.Action {
	var out []ajar.Action
	for _, f := range strings.Fields(lines) {
		out = append(out, ajar.Action(f))
	}
	return out
}

const loginActions = `Microsoft.Network/publicIPAddresses/read Microsoft.Network/virtualNetworks/read
	Microsoft.Network/loadBalancers/read Microsoft.Network/networkInterfaces/read
	Microsoft.Compute/virtualMachines/*/read Microsoft.HybridCompute/machines/*/read
	Microsoft.HybridConnectivity/endpoints/listCredentials/action`

// builtIn is the table. Azure's rows follow its published role definitions.
var builtIn = []struct {
	id                 ajar.RoleID
	name, about        string
	actions, not, data string
}{
	{Owner, "Owner", "Grants full access to manage all resources, including the ability to assign roles in Azure RBAC.", `*`, ``, ``},
	{Contributor, "Contributor", "Grants full access to manage all resources, but does not allow you to assign roles in Azure RBAC, manage assignments in Azure Blueprints, or share image galleries.", `*`,
		`Microsoft.Authorization/*/Delete Microsoft.Authorization/*/Write Microsoft.Authorization/elevateAccess/Action
		Microsoft.Blueprint/blueprintAssignments/write Microsoft.Blueprint/blueprintAssignments/delete
		Microsoft.Compute/galleries/share/action Microsoft.Purview/consents/write Microsoft.Purview/consents/delete
		Microsoft.Resources/deploymentStacks/manageDenySetting/action
		Microsoft.Subscription/cancel/action Microsoft.Subscription/enable/action`, ``},
	{Reader, "Reader", "View all resources, but does not allow you to make any changes.", `*/read`, ``, ``},
	{UserAccessAdministrator, "User Access Administrator", "Lets you manage user access to Azure resources.", `*/read Microsoft.Authorization/* Microsoft.Support/*`, ``, ``},
	{RBACAdministrator, "Role Based Access Control Administrator", "Manage access to Azure resources by assigning roles using Azure RBAC. This role does not allow you to manage access using other ways, such as Azure Policy.",
		`Microsoft.Authorization/roleAssignments/write Microsoft.Authorization/roleAssignments/delete */read Microsoft.Support/*`, ``, ``},
	{SecurityReader, "Security Reader", "Security Reader Role",
		`Microsoft.Authorization/*/read Microsoft.Insights/alertRules/read Microsoft.operationalInsights/workspaces/*/read
		Microsoft.Resources/deployments/*/read Microsoft.Resources/subscriptions/resourceGroups/read
		Microsoft.Security/*/read Microsoft.IoTSecurity/*/read Microsoft.Support/*/read
		Microsoft.Security/iotDefenderSettings/packageDownloads/action
		Microsoft.Security/iotDefenderSettings/downloadManagerActivation/action
		Microsoft.Security/iotSensors/downloadResetPassword/action
		Microsoft.IoTSecurity/defenderSettings/packageDownloads/action
		Microsoft.IoTSecurity/defenderSettings/downloadManagerActivation/action
		Microsoft.Management/managementGroups/read`, ``, ``},
	{SecurityAdmin, "Security Admin", "Security Admin Role",
		`Microsoft.Authorization/*/read Microsoft.Authorization/policyAssignments/* Microsoft.Authorization/policyDefinitions/*
		Microsoft.Authorization/policyExemptions/* Microsoft.Authorization/policySetDefinitions/* Microsoft.Insights/alertRules/*
		Microsoft.Management/managementGroups/read Microsoft.operationalInsights/workspaces/*/read
		Microsoft.Resources/deployments/* Microsoft.Resources/subscriptions/resourceGroups/read
		Microsoft.Security/* Microsoft.IoTSecurity/* Microsoft.IoTFirmwareDefense/* Microsoft.Support/*`, ``, ``},
	{SecurityManager, "Security Manager (Legacy)", "This is a legacy role. Please use Security Administrator instead",
		`Microsoft.Authorization/*/read Microsoft.ClassicCompute/*/read Microsoft.ClassicCompute/virtualMachines/*/write
		Microsoft.ClassicNetwork/*/read Microsoft.Insights/alertRules/* Microsoft.ResourceHealth/availabilityStatuses/read
		Microsoft.Resources/deployments/* Microsoft.Resources/subscriptions/resourceGroups/read Microsoft.Security/* Microsoft.Support/*`, ``, ``},
	{VirtualMachineContributor, "Virtual Machine Contributor", "Lets you manage virtual machines, but not access to them, and not the virtual network or storage account they're connected to.",
		`Microsoft.Authorization/*/read Microsoft.Compute/availabilitySets/* Microsoft.Compute/locations/*
		Microsoft.Compute/virtualMachines/* Microsoft.Compute/virtualMachineScaleSets/* Microsoft.Compute/cloudServices/*
		Microsoft.Compute/disks/write Microsoft.Compute/disks/read Microsoft.Compute/disks/delete
		Microsoft.Compute/hostgroups/write Microsoft.Compute/hostgroups/hosts/write Microsoft.DevTestLab/schedules/*
		Microsoft.Insights/alertRules/* Microsoft.Network/applicationGateways/backendAddressPools/join/action
		Microsoft.Network/loadBalancers/backendAddressPools/join/action Microsoft.Network/loadBalancers/inboundNatPools/join/action
		Microsoft.Network/loadBalancers/inboundNatRules/join/action Microsoft.Network/loadBalancers/probes/join/action
		Microsoft.Network/loadBalancers/read Microsoft.Network/locations/* Microsoft.Network/networkInterfaces/*
		Microsoft.Network/networkSecurityGroups/join/action Microsoft.Network/networkSecurityGroups/read
		Microsoft.Network/publicIPAddresses/join/action Microsoft.Network/publicIPAddresses/read
		Microsoft.Network/virtualNetworks/read Microsoft.Network/virtualNetworks/subnets/join/action
		Microsoft.RecoveryServices/locations/*
		Microsoft.RecoveryServices/Vaults/backupFabrics/backupProtectionIntent/write
		Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/*/read
		Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/read
		Microsoft.RecoveryServices/Vaults/backupFabrics/protectionContainers/protectedItems/write
		Microsoft.RecoveryServices/Vaults/backupPolicies/read Microsoft.RecoveryServices/Vaults/backupPolicies/write
		Microsoft.RecoveryServices/Vaults/read Microsoft.RecoveryServices/Vaults/usages/read Microsoft.RecoveryServices/Vaults/write
		Microsoft.ResourceHealth/availabilityStatuses/read Microsoft.Resources/deployments/*
		Microsoft.Resources/subscriptions/resourceGroups/read Microsoft.SerialConsole/serialPorts/connect/action
		Microsoft.SqlVirtualMachine/* Microsoft.Storage/storageAccounts/listKeys/action
		Microsoft.Storage/storageAccounts/read Microsoft.Support/*`, ``, ``},
	{NetworkContributor, "Network Contributor", "Lets you manage networks, but not access to them.",
		`Microsoft.Authorization/*/read Microsoft.Insights/alertRules/* Microsoft.Network/*
		Microsoft.ResourceHealth/availabilityStatuses/read Microsoft.Resources/deployments/*
		Microsoft.Resources/subscriptions/resourceGroups/read Microsoft.Support/*`, ``, ``},
	{VMUserLogin, "Virtual Machine User Login", "View Virtual Machines in the portal and login as a regular user.",
		loginActions, ``, `Microsoft.Compute/virtualMachines/login/action Microsoft.HybridCompute/machines/login/action`},
	{VMAdministratorLogin, "Virtual Machine Administrator Login", "View Virtual Machines in the portal and login as administrator",
		loginActions, ``, `Microsoft.Compute/virtualMachines/login/action Microsoft.Compute/virtualMachines/loginAsAdmin/action
		Microsoft.HybridCompute/machines/login/action Microsoft.HybridCompute/machines/loginAsAdmin/action`},
	{VMLocalUserLogin, "Virtual Machine Local User Login", "View Virtual Machines in the portal and login as a local user configured on the arc server",
		`Microsoft.HybridCompute/machines/*/read Microsoft.HybridConnectivity/endpoints/listCredentials/action`, ``, ``},
	{MonitoringReader, "Monitoring Reader", "Can read all monitoring data.",
		`*/read Microsoft.OperationalInsights/workspaces/search/action Microsoft.Support/*`, ``, ``},
	{MonitoringContributor, "Monitoring Contributor", "Can read all monitoring data and update monitoring settings.",
		`*/read Microsoft.AlertsManagement/alerts/* Microsoft.AlertsManagement/alertsSummary/* Microsoft.Insights/actiongroups/*
		Microsoft.Insights/activityLogAlerts/* Microsoft.Insights/AlertRules/* Microsoft.Insights/components/*
		Microsoft.Insights/createNotifications/* Microsoft.Insights/dataCollectionEndpoints/*
		Microsoft.Insights/dataCollectionRules/* Microsoft.Insights/dataCollectionRuleAssociations/*
		Microsoft.Insights/DiagnosticSettings/* Microsoft.Insights/eventtypes/* Microsoft.Insights/LogDefinitions/*
		Microsoft.Insights/metricalerts/* Microsoft.Insights/MetricDefinitions/* Microsoft.Insights/Metrics/*
		Microsoft.Insights/notificationStatus/* Microsoft.Insights/Register/Action Microsoft.Insights/scheduledqueryrules/*
		Microsoft.Insights/webtests/* Microsoft.Insights/workbooks/* Microsoft.Insights/workbooktemplates/*
		Microsoft.Insights/privateLinkScopes/* Microsoft.Insights/privateLinkScopeOperationStatuses/*
		Microsoft.Monitor/accounts/* Microsoft.OperationalInsights/workspaces/write
		Microsoft.OperationalInsights/workspaces/intelligencepacks/* Microsoft.OperationalInsights/workspaces/savedSearches/*
		Microsoft.OperationalInsights/workspaces/search/action Microsoft.OperationalInsights/workspaces/sharedKeys/action
		Microsoft.OperationalInsights/workspaces/storageinsightconfigs/* Microsoft.Support/*
		Microsoft.AlertsManagement/smartDetectorAlertRules/* Microsoft.AlertsManagement/actionRules/*
		Microsoft.AlertsManagement/smartGroups/*`, ``, ``},
	{LogAnalyticsReader, "Log Analytics Reader", "Log Analytics Reader can view and search all monitoring data as well as and view monitoring settings, including viewing the configuration of Azure diagnostics on all Azure resources.",
		`*/read Microsoft.OperationalInsights/workspaces/analytics/query/action
		Microsoft.OperationalInsights/workspaces/search/action Microsoft.Support/*`,
		`Microsoft.OperationalInsights/workspaces/sharedKeys/read`,
		`Microsoft.OperationalInsights/workspaces/jobs/export/action`},
	{LogAnalyticsContributor, "Log Analytics Contributor", "Log Analytics Contributor can read all monitoring data and edit monitoring settings.",
		`*/read Microsoft.ClassicCompute/virtualMachines/extensions/* Microsoft.ClassicStorage/storageAccounts/listKeys/action
		Microsoft.Compute/virtualMachines/extensions/* Microsoft.HybridCompute/machines/extensions/write
		Microsoft.Insights/alertRules/* Microsoft.Insights/diagnosticSettings/* Microsoft.OperationalInsights/*
		Microsoft.OperationsManagement/* Microsoft.Resources/deployments/*
		Microsoft.Resources/subscriptions/resourcegroups/deployments/* Microsoft.Storage/storageAccounts/listKeys/action
		Microsoft.Support/*`, ``, ``},
	{JITRequester, "Just-in-time Requester", "May read just-in-time policies, requests and machines, and ask for access under a policy; nothing else.",
		string(ajar.PolicyRead + " " + ajar.RequestRead + " " + ajar.PolicyInitiate + " " + ajar.MachineRead), ``, ``},
	{JITApprover, "Just-in-time Approver", "May read just-in-time policies, requests and machines, approve and deny other people's requests, and close what is open.",
		string(ajar.PolicyRead + " " + ajar.RequestRead + " " + ajar.RequestApprove + " " + ajar.RequestDeny + " " + ajar.RequestRevoke + " " + ajar.MachineRead), ``, ``},
}
