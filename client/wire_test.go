package client_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ajar-access/ajar"
	"github.com/ajar-access/ajar/client"
)

func drain[T any](seq func(func(T, error) bool)) error {
	_, err := client.Collect(seq)
	return err
}

// Each method is one call, and this is what it looks like.
func TestOnTheWire(t *testing.T) {
	var got string
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = strings.TrimSpace(r.Method + " " + r.RequestURI + " " + string(b))
		answer(w, 200, "{}")
	})
	for _, calls := range []map[string]func(context.Context) error{policyCalls(c), accessCalls(c), adminCalls(c)} {
		for want, do := range calls {
			if err := do(t.Context()); err != nil {
				t.Errorf("%s: %v", want, err)
			}
			if got != want {
				t.Errorf("sent  %s\nwant  %s", got, want)
			}
		}
	}
}

// only drops what a call gives besides its error.
func only(_ any, err error) error { return err }

// policyCalls are sign-in, targets and policies.
func policyCalls(c *client.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		`POST /ajar/v1/login {"name":"anna","password":"pw"}`:                 func(ctx context.Context) error { return only(c.Login(ctx, "anna", "pw")) },
		`POST /ajar/v1/login {"name":"anna","password":"pw","code":"123456"}`: func(ctx context.Context) error { return only(c.LoginWithCode(ctx, "anna", "pw", "123456")) },
		`POST /ajar/v1/logout`: c.Logout,
		`GET /ajar/v1/me`:      func(ctx context.Context) error { return only(c.Me(ctx)) },
		`GET /ajar/v1/tokens`:  func(ctx context.Context) error { return drain(c.Tokens(ctx)) },
		`POST /ajar/v1/tokens {"name":"x","duration":"PT12H"}`: func(ctx context.Context) error { return only(c.CreateToken(ctx, "x", 12*time.Hour)) },
		`DELETE /ajar/v1/tokens/t1`:                            func(ctx context.Context) error { return c.RevokeToken(ctx, "t1") },
		`GET /ajar/v1/targets?name=web1&scope=%2Fs`: func(ctx context.Context) error {
			return drain(c.Targets(ctx, client.TargetQuery{Scope: "/s", Name: "web1"}))
		},
		`GET /ajar/v1/target?id=%2Fm`:                                     func(ctx context.Context) error { return only(c.Target(ctx, "/m")) },
		`PUT /ajar/v1/target?id=%2Fm {"id":"/m","name":"","login":"ops"}`: func(ctx context.Context) error { return only(c.PutTarget(ctx, client.Target{ID: "/m", Login: "ops"})) },
		`DELETE /ajar/v1/target?id=%2Fm&keepGuard=true`:                   func(ctx context.Context) error { return c.DeleteTarget(ctx, "/m", true) },
		`GET /ajar/v1/policies`:                                           func(ctx context.Context) error { return drain(c.Policies(ctx, ajar.Root)) },
		`GET /subscriptions/s/resourceGroups/g/providers/Microsoft.Security/jitNetworkAccessPolicies?api-version=2020-01-01`: func(ctx context.Context) error {
			return drain(c.Policies(ctx, "/subscriptions/s/resourceGroups/g"))
		},
		`GET ` + polID + `?api-version=2020-01-01`: func(ctx context.Context) error { return only(c.Policy(ctx, polID)) },
		`PUT ` + polID + `?ajar-confirm-within=PT5M&ajar-force=true&api-version=2020-01-01 {"properties":{"virtualMachines":null,"unguard":"keep"},"id":"` + polID + `"}`: func(ctx context.Context) error {
			p := client.Policy{ID: polID, Properties: client.PolicyProperties{Unguard: ajar.Keep, Requests: []byte(`[{}]`)}}
			return only(c.PutPolicy(ctx, p, client.PutOptions{ConfirmWithin: 5 * time.Minute, Force: true}))
		},
		`DELETE ` + polID + `?api-version=2020-01-01`: func(ctx context.Context) error { return only(c.DeletePolicy(ctx, polID)) },
		`POST /ajar/v1/what-if {"properties":{"virtualMachines":[]},"id":"/p"}`: func(ctx context.Context) error {
			return only(c.WhatIf(ctx, client.Policy{ID: "/p", Properties: client.PolicyProperties{Machines: []client.MachinePolicy{}}}))
		},
	}
}

// accessCalls are requests and leases.
func accessCalls(c *client.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		`GET /ajar/v1/requests?mine=true&scope=%2Fs&state=Pending`: func(ctx context.Context) error {
			return drain(c.Requests(ctx, client.RequestQuery{State: ajar.Pending, Mine: true, Scope: "/s"}))
		},
		`GET /ajar/v1/requests/r1`:                           func(ctx context.Context) error { return only(c.Request(ctx, "r1")) },
		`POST /ajar/v1/requests/r1/approve {"reason":"ok"}`:  func(ctx context.Context) error { return only(c.Approve(ctx, "r1", "ok")) },
		`POST /ajar/v1/requests/r1/deny {"reason":"no"}`:     func(ctx context.Context) error { return only(c.Deny(ctx, "r1", "no")) },
		`POST /ajar/v1/requests/r1/withdraw {}`:              func(ctx context.Context) error { return only(c.Withdraw(ctx, "r1", "")) },
		`POST /ajar/v1/requests/r1/revoke {"reason":"done"}`: func(ctx context.Context) error { return only(c.Revoke(ctx, "r1", "done")) },
		`POST /ajar/v1/requests/r1/extend {"duration":"PT30M"}`: func(ctx context.Context) error {
			return only(c.Extend(ctx, "r1", client.Extension{By: 30 * time.Minute}))
		},
		`GET /ajar/v1/leases?live=true&mine=true&scope=%2Fs`: func(ctx context.Context) error {
			return drain(c.Leases(ctx, client.LeaseQuery{Scope: "/s", Live: true, Mine: true}))
		},
		`GET /ajar/v1/leases/l1`:                          func(ctx context.Context) error { return only(c.Lease(ctx, "l1")) },
		`POST /ajar/v1/leases/l1/close {"reason":"done"}`: func(ctx context.Context) error { return only(c.CloseLease(ctx, "l1", "done")) },
		`POST /ajar/v1/leases/l1/extend {"endTimeUtc":"2026-11-20T18:00:00Z"}`: func(ctx context.Context) error {
			return only(c.ExtendLease(ctx, "l1", client.Extension{Until: time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC)}))
		},
	}
}

// adminCalls are hosts, people, roles and the log.
func adminCalls(c *client.Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		`GET /ajar/v1/hosts?scope=%2Fs`: func(ctx context.Context) error { return drain(c.Hosts(ctx, "/s")) },
		`POST /ajar/v1/hosts/join-token {"target":"/m","location":"l","replace":true}`: func(ctx context.Context) error { return only(c.JoinToken(ctx, "/m", "l", true)) },
		`DELETE /ajar/v1/hosts?lift=true&target=%2Fm`:                                  func(ctx context.Context) error { return c.RemoveHost(ctx, "/m", true) },
		`POST /ajar/v1/hosts/confirm {"target":"/m"}`:                                  func(ctx context.Context) error { return c.ConfirmGuards(ctx, "/m") },
		`POST /ajar/v1/hosts/release-guard {"target":"/m","port":22,"protocol":"TCP"}`: func(ctx context.Context) error { return c.ReleaseGuard(ctx, "/m", 22, ajar.TCP) },
		`GET /ajar/v1/principals?kind=User`:                                            func(ctx context.Context) error { return drain(c.Principals(ctx, ajar.User)) },
		`GET /ajar/v1/principals/anna`:                                                 func(ctx context.Context) error { return only(c.Principal(ctx, "anna")) },
		`POST /ajar/v1/principals {"kind":"User","name":"anna","password":"pw"}`: func(ctx context.Context) error {
			return only(c.CreatePrincipal(ctx, client.Principal{Kind: ajar.User, Name: "anna"}, "pw"))
		},
		`PUT /ajar/v1/principals/p1 {"disabled":true}`:          func(ctx context.Context) error { return only(c.SetDisabled(ctx, client.Principal{ID: "p1"}, true)) },
		`DELETE /ajar/v1/principals/p1`:                         func(ctx context.Context) error { return c.DeletePrincipal(ctx, "p1") },
		`DELETE /ajar/v1/principals/p1/factors`:                 func(ctx context.Context) error { return c.ResetFactors(ctx, "p1") },
		`PUT /ajar/v1/principals/p1/password {"password":"pw"}`: func(ctx context.Context) error { return c.SetPassword(ctx, "p1", "pw", "") },
		`PUT /ajar/v1/principals/p1/password {"password":"pw","currentPassword":"old"}`: func(ctx context.Context) error {
			return c.SetPassword(ctx, "p1", "pw", "old")
		},
		`PUT /ajar/v1/principals/g1/members/p1`:                                      func(ctx context.Context) error { return c.AddMember(ctx, "g1", "p1") },
		`DELETE /ajar/v1/principals/g1/members/p1`:                                   func(ctx context.Context) error { return c.RemoveMember(ctx, "g1", "p1") },
		`GET /ajar/v1/principals/p1/secrets`:                                         func(ctx context.Context) error { return drain(c.Secrets(ctx, "p1")) },
		`POST /ajar/v1/principals/p1/secrets {"duration":"PT24H"}`:                   func(ctx context.Context) error { return only(c.CreateSecret(ctx, "p1", 24*time.Hour)) },
		`DELETE /ajar/v1/principals/p1/secrets/s1`:                                   func(ctx context.Context) error { return c.DeleteSecret(ctx, "p1", "s1") },
		`GET /ajar/v1/principals/p1/certificates`:                                    func(ctx context.Context) error { return drain(c.Certificates(ctx, "p1")) },
		`POST /ajar/v1/principals/p1/certificates {"certificate":"x"}`:               func(ctx context.Context) error { return only(c.AddCertificate(ctx, "p1", "x")) },
		`DELETE /ajar/v1/principals/p1/certificates/s1`:                              func(ctx context.Context) error { return c.DeleteCertificate(ctx, "p1", "s1") },
		`GET /ajar/v1/role-definitions`:                                              func(ctx context.Context) error { return drain(c.Roles(ctx)) },
		`GET /ajar/v1/role-definitions/Just-in-time%20Requester`:                     func(ctx context.Context) error { return only(c.Role(ctx, "Just-in-time Requester")) },
		`PUT /ajar/v1/role-definitions/r1 {"id":"r1","name":"x","permissions":null}`: func(ctx context.Context) error { return only(c.PutRole(ctx, client.Role{ID: "r1", Name: "x"})) },
		`DELETE /ajar/v1/role-definitions/r1`:                                        func(ctx context.Context) error { return c.DeleteRole(ctx, "r1") },
		`GET /ajar/v1/role-assignments?principal=anna&scope=%2F`:                     func(ctx context.Context) error { return drain(c.Assignments(ctx, "anna", "/")) },
		`GET /ajar/v1/role-assignments?at=%2Fs&principal=anna`:                       func(ctx context.Context) error { return drain(c.AssignmentsAt(ctx, "anna", "/s")) },
		`PUT /ajar/v1/role-assignments/a1 {"id":"a1","principal":"p","role":"r","scope":"/"}`: func(ctx context.Context) error {
			return only(c.Assign(ctx, client.Assignment{ID: "a1", Principal: "p", Role: "r", Scope: "/"}))
		},
		`DELETE /ajar/v1/role-assignments/a1`: func(ctx context.Context) error { return c.Unassign(ctx, "a1") },
		`GET /ajar/v1/events?action=a&after=3&ascending=true&caller=anna&limit=5&outcome=Refused&request=r1&scope=%2Fs&since=2026-11-20T18%3A00%3A00Z`: func(ctx context.Context) error {
			return drain(c.Events(ctx, client.EventQuery{Scope: "/s", Caller: "anna", Action: "a", Outcome: ajar.Refused, Request: "r1",
				Since: time.Date(2026, 11, 20, 18, 0, 0, 0, time.UTC), After: 3, Ascending: true, Limit: 5}))
		},
		`GET /ajar/v1/log/key`: func(ctx context.Context) error { return only(c.LogKey(ctx)) },
		`GET /ajar/v1/log/export?from=1`: func(ctx context.Context) error {
			r, err := c.Export(ctx, 1)
			if err != nil {
				return err
			}
			return r.Close()
		},
	}
}

// A new assignment gets its ID here, so that a repeated PUT makes nothing twice.
func TestNewAssignmentsHaveIDs(t *testing.T) {
	var paths []string
	c, _ := plane(t, func(w http.ResponseWriter, r *http.Request) {
		paths = append(paths, r.URL.Path)
		if len(paths) == 1 {
			panic(http.ErrAbortHandler)
		}
		answer(w, 200, "{}")
	})
	if _, err := c.Assign(t.Context(), client.Assignment{Scope: "/"}); err != nil {
		t.Fatal(err)
	}
	if len(paths) != 2 || paths[0] != paths[1] || len(paths[0]) != len("/ajar/v1/role-assignments/")+36 {
		t.Errorf("asked for %q", paths)
	}
}
