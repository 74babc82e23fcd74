// Package places is what Azure's clients ask for before all else: where to sign in, which tenants, subscriptions, locations and
// resource groups there are, what lies in them, and which resource types can be asked for. Places come from what lies in
// them; none is made here.
package places
