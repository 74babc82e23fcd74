// Package store keeps what Ajar must not forget: documents, the endpoints that are due, and the log of events. It
// implements ajar.Store over SQLite and PostgreSQL with one SQL text. It does not know what any document means beyond
// its ajar.Entry, it decides nothing, and it keeps no secret in the clear because nobody hands it one.
//
// # One writer
//
// Updates run one after the other, each seeing all that was committed before it. So a document that was read in an
// Update is still so when it is written, positions in the log have no gaps, and "claim it once" is a plain statement.
// What that costs in waiting is won back at the commit: the Updates that wait are run in one database transaction and
// made durable together.
//
//	Update ─┐                            ┌─ fn 1 ─ fn 2 ✗ ─ fn 3 ─ … ─ events, head ─ COMMIT ─┐
//	Update ─┼─► queue ─► leader: BEGIN ──┘         └─ undone alone (savepoint)                ├─► everybody's answer
//	Update ─┘            (one of them)                                                        ┘
//
// There is no writer goroutine: the first Update that finds nobody leading leads, on its caller's goroutine, so that a
// lone Update waits for nothing but the disk; when it has committed it hands the lead to whoever waits longest. On
// PostgreSQL every write transaction begins with an advisory lock, which makes the writers of all replicas one.
//
// On SQLite the lead is handed on when the Updates have run, and the next batch runs on what they leave while they are
// written. It has its own turn at the database after them, finds out whether that has come about, and runs again if not:
//
//	batch 1:  fn 1 ─ fn 2 ─ BEGIN ─ rows, events, head ─ COMMIT ─► answers
//	batch 2:                        fn 3 ─ fn 4 ─ fn 5 ─ … waits ─ BEGIN ─ rows, events, head ─ COMMIT ─► answers
//
// # The log
//
// Events get their position when the Updates of a commit have all run. Their bytes are kept exactly as they were
// hashed; each commit's events are one ajar.Batch, chained to the one before and signed. VerifyLog and VerifyStream
// find what was cut, edited or reordered. Triggers refuse to change or delete what was logged, so that only an
// administrator of the database can, and the chain shows it.
//
// What finds events by more than their position is written by an indexer behind the commits; a list asks it for what it
// has and reads the rest. It vouches for nothing: the chain is checked by position.
//
// # Files
//
// A backup is a file of JSON lines with counts and checksums, the same for both databases: what was saved from one can
// be restored into the other.
package store
