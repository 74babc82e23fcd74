package main

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// rowsOf counts the rows of a table, once nobody writes to the database any longer.
func rowsOf(t *testing.T, dsn, table string) (n int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	until(t, func() bool {
		var others int
		err := c.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()").Scan(&others)
		if err != nil {
			t.Fatal(err)
		}
		return others == 0
	})
	if err := c.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// configure replaces text of the configuration.
func (m *machine) configure(oldnew ...string) {
	m.t.Helper()
	text, err := os.ReadFile(m.conf)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.conf, []byte(strings.NewReplacer(oldnew...).Replace(string(text))), 0o600); err != nil {
		m.t.Fatal(err)
	}
}
