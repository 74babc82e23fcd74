package store

import (
	"strings"
)

// dialect is all in which the databases differ, beyond how their connections are spoken to.
type dialect struct {
	name string
	// types are the tokens of the migrations and what stands for them here.
	types *strings.Replacer
	// bind turns $1 into the database's own placeholder.
	bind func(q string) string
	// bulk says that a statement costs so much that rows are written many at a time.
	bulk bool
}

var sqliteDialect = &dialect{
	name: "sqlite",
	types: strings.NewReplacer(
		"{rowid}", "id INTEGER PRIMARY KEY,",
		"{text}", "TEXT",
		"{bytes}", "BLOB",
		"{narrow}", " WITHOUT ROWID",
		"{keys}", " WITHOUT ROWID",
		"{pos}", "INTEGER PRIMARY KEY",
		"{zero}", "x''",
		"{guard}", sqliteGuard("events")+sqliteGuard("log_batches")+sqliteGuard("event_keys"),
	),
	bind: func(q string) string { return strings.ReplaceAll(q, "$", "?") },
}

var postgresDialect = &dialect{
	name: "postgres",
	types: strings.NewReplacer(
		"{rowid}", "",
		"{text}", `TEXT COLLATE "C"`,
		"{bytes}", "BYTEA",
		"{pos}", "BIGINT PRIMARY KEY",
		"{narrow}", " WITH (fillfactor = 70)",
		"{keys}", "",
		"{zero}", "''",
		"{guard}", postgresGuard,
	),
	bind: func(q string) string { return q },
	bulk: true,
}

// sqliteGuard makes a table one that only grows.
func sqliteGuard(table string) string {
	var b strings.Builder
	for _, op := range []string{"UPDATE", "DELETE"} {
		b.WriteString("CREATE TRIGGER " + table + "_" + strings.ToLower(op) + " BEFORE " + op + " ON " + table +
			" BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;\n")
	}
	return b.String()
}

const postgresGuard = `CREATE FUNCTION log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'the log is append-only'; END $$;
CREATE TRIGGER events_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();
CREATE TRIGGER event_keys_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON event_keys FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();
CREATE TRIGGER log_batches_guard BEFORE UPDATE OR DELETE OR TRUNCATE ON log_batches FOR EACH STATEMENT EXECUTE FUNCTION log_is_append_only();
`
