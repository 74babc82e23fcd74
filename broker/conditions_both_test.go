package broker_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/rbac"
)

// TestBothProtocolsAreTwo: who asks for both protocols of a port asks for each, so that a condition that keeps one out is
// not gone around by asking for the two at once.
func TestBothProtocolsAreTwo(t *testing.T) {
	p := newPlane(t)
	p.host(vm(group, "vm1"))
	p.policy(machine(vm(group, "vm1"), port(53, ajar.Both)))
	both := ask(vm(group, "vm1"), 53, time.Hour, "203.0.113.9/32")
	both.Port.Protocol = ajar.Both
	for i, c := range []struct {
		condition string
		may       bool
	}{
		{`@Request[Ajar.Access/requests:Protocol] StringNotEquals 'UDP'`, false},
		{`@Request[Ajar.Access/requests:Protocol] StringNotLikeIgnoreCase 'udp'`, false},
		{`@Request[Ajar.Access/requests:Protocol] StringEquals 'TCP'`, false},
		{`@Request[Ajar.Access/requests:Protocol] ForAnyOfAnyValues:StringEquals {'TCP', 'UDP'}`, true},
		{`@Request[Ajar.Access/requests:Port] NumericEquals 53`, true},
	} {
		who := p.user(fmt.Sprint("user", i))
		p.given(who.Principal, rbac.JITRequester, group, ifInitiate+`(`+c.condition+`)`)
		_, err := p.ask(who, both)
		if c.may {
			p.must(err)
			continue
		}
		p.refused(ajar.Forbidden, err, "Protocol]")
	}
}
