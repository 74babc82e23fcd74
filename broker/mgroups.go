package broker

import (
	"context"

	"github.com/ajar-access/ajar"
)

// PutManagementGroup creates or changes a management group: ManagementGroupWrite at it and at its parents, old and new.
// Since what it covers inherits its rights, moving a subscription in or out needs RoleAssignmentWrite there too, and
// so does moving the group.
func (b *Broker) PutManagementGroup(ctx context.Context, who ajar.Caller, g ajar.ManagementGroup) (*ajar.ManagementGroup, error) {
	return nil, nil
}

// DeleteManagementGroup removes a management group that covers nothing any longer (ManagementGroupDelete).
func (b *Broker) DeleteManagementGroup(ctx context.Context, who ajar.Caller, id ajar.ID) (existed bool, err error) {
	return false, nil
}

// ManagementGroups lists those that the caller may read.
func (b *Broker) ManagementGroups(ctx context.Context, who ajar.Caller, page Page) (list []*ajar.ManagementGroup, next string, err error) {
	return nil, "", nil
}
