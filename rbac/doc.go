// Package rbac decides whether a caller may do an action at a scope, and by which role assignment: Azure's role-based
// access control, evaluated in memory. It does not know any store, verb or clock; it is handed the data and is pure.
//
//   - A role grants its actions less its notActions, permission by permission; what one role leaves out another may
//     grant. A * stands for any run of characters, slashes included; case never matters. Control-plane actions, * too,
//     never grant data actions.
//   - An assignment holds at its scope and everything below: / → management group, nested ones too → subscription →
//     resource group → resource.
//   - An assignment with a condition holds only where the condition does (Condition). What a condition asks about and
//     nobody knows makes neither it nor its negation true.
//   - A deny assignment wins over every role. It names its principals, or all of them, less those it excludes, and may
//     spare child scopes.
//   - A principal has what it is assigned and what its groups are assigned: the groups of the index, and those that the
//     sign-in vouches for (Caller.Groups). A disabled principal has nothing, and a disabled group gives nothing.
//
// An Index never changes; new data makes a new one. Per principal it compiles, at the first question, a small map from
// scope to roles, so that a decision walks the handful of scopes above the thing asked about whatever else there is.
package rbac
