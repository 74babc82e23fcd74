// Package activity reads the event log in the schema of Azure's activity log: two records of every verb, one of
// everything else that happened, and the $filter, $select and pages that clients ask for them with. It knows nothing of
// HTTP, of who may read what, or of how events are kept: it is handed a function that lists them.
package activity
