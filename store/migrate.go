package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"

	"github.com/ajar-access/ajar"
	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// versionTable is where goose notes which migrations ran.
const versionTable = "schema_version"

// migrate brings the schema of db up to what this code needs. It goes forward only, and it refuses a database that a
// newer Ajar has already changed: what that one wrote, this one could misread.
func migrate(ctx context.Context, db *sql.DB, d *dialect, log *slog.Logger) error {
	steps, err := d.migrations()
	if err != nil {
		return err
	}
	kind := goose.DialectSQLite3
	if d == postgresDialect {
		kind = goose.DialectPostgres
	}
	p, err := goose.NewProvider(kind, db, nil,
		goose.WithGoMigrations(steps...), goose.WithDisableGlobalRegistry(true),
		goose.WithTableName(versionTable), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	have, err := p.GetDBVersion(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if newest := steps[len(steps)-1].Version; have > newest {
		return ajar.Errorf(ajar.Invalid, "the database has schema version %d and this program knows only %d; start a newer program, or restore a backup that was made before the upgrade", have, newest)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate from version %d: %w", have, err)
	}
	for _, r := range done {
		log.Info("migrated database", "version", r.Source.Version, "took", r.Duration)
	}
	return nil
}

// migrations reads the embedded files with the dialect's words put in, oldest first.
func (d *dialect) migrations() ([]*goose.Migration, error) {
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	var steps []*goose.Migration
	for _, name := range names {
		text, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(strings.TrimPrefix(name, "migrations/"), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migration %s has no number: %w", name, err)
		}
		q := d.types.Replace(string(text))
		steps = append(steps, goose.NewGoMigration(version, &goose.GoFunc{
			RunTx: func(ctx context.Context, tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, q)
				return err
			},
		}, nil))
	}
	return steps, nil
}
