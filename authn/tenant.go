package authn

import (
	"context"
	"fmt"
)

// sealedTenant keeps the tenant's id beside the keys, so that it is made as they are: once for all replicas, and in
// every backup.
const sealedTenant = "tenant"

// TenantID is the id that the plane's tenant has where its configuration names none: one that fresh made at the first
// start.
func (v *Vault) TenantID(ctx context.Context, fresh func() string) (string, error) {
	id, _, err := v.get(ctx, sealedTenant, func() (public, secret []byte, err error) { return []byte(fresh()), []byte{}, nil })
	if err != nil {
		return "", err
	}
	if len(id) != 36 {
		return "", fmt.Errorf("sealed %s is damaged", sealedTenant)
	}
	return string(id), nil
}
