package ajar

// The actions of the resources that Azure has beside machines and policies, in Azure's spelling.
const (
	MachineViewRead   Action = "Microsoft.Compute/virtualMachines/instanceView/read"
	MachineStart      Action = "Microsoft.Compute/virtualMachines/start/action"
	MachinePowerOff   Action = "Microsoft.Compute/virtualMachines/powerOff/action"
	MachineDeallocate Action = "Microsoft.Compute/virtualMachines/deallocate/action"
	MachineRestart    Action = "Microsoft.Compute/virtualMachines/restart/action"
	MachineRedeploy   Action = "Microsoft.Compute/virtualMachines/redeploy/action"
	MachineReapply    Action = "Microsoft.Compute/virtualMachines/reapply/action"
	MachineReimage    Action = "Microsoft.Compute/virtualMachines/reimage/action"
	MachineGeneralize Action = "Microsoft.Compute/virtualMachines/generalize/action"
	MachineRunCommand Action = "Microsoft.Compute/virtualMachines/runCommand/action"

	InterfaceRead       Action = "Microsoft.Network/networkInterfaces/read"
	InterfaceWrite      Action = "Microsoft.Network/networkInterfaces/write"
	InterfaceDelete     Action = "Microsoft.Network/networkInterfaces/delete"
	SecurityGroupRead   Action = "Microsoft.Network/networkSecurityGroups/read"
	SecurityGroupWrite  Action = "Microsoft.Network/networkSecurityGroups/write"
	SecurityGroupDelete Action = "Microsoft.Network/networkSecurityGroups/delete"
	SecurityRuleRead    Action = "Microsoft.Network/networkSecurityGroups/securityRules/read"
	SecurityRuleWrite   Action = "Microsoft.Network/networkSecurityGroups/securityRules/write"
	SecurityRuleDelete  Action = "Microsoft.Network/networkSecurityGroups/securityRules/delete"
	PublicAddressRead   Action = "Microsoft.Network/publicIPAddresses/read"
	PublicAddressWrite  Action = "Microsoft.Network/publicIPAddresses/write"
	PublicAddressDelete Action = "Microsoft.Network/publicIPAddresses/delete"

	PricingRead            Action = "Microsoft.Security/pricings/read"
	PricingWrite           Action = "Microsoft.Security/pricings/write"
	SecurityLocationRead   Action = "Microsoft.Security/locations/read"
	SecurityPolicyRead     Action = "Microsoft.Security/policies/read"
	AssessmentRead         Action = "Microsoft.Security/assessments/read"
	AssessmentMetadataRead Action = "Microsoft.Security/assessmentMetadata/read"

	PolicyDefinitionRead  Action = "Microsoft.Authorization/policyDefinitions/read"
	PolicyAssignmentRead  Action = "Microsoft.Authorization/policyAssignments/read"
	PolicyStateRead       Action = "Microsoft.PolicyInsights/policyStates/queryResults/read"
	PolicyStateSummarized Action = "Microsoft.PolicyInsights/policyStates/summarize/read"
)
