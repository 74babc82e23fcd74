// Package rights is who may do what, where: role definitions, assignments, denials and management groups, in the words of
// Microsoft.Authorization and Microsoft.Management, and in Ajar's own. What follows from them is not known here.
package rights
