package store

import (
	"context"
	"log/slog"

	"github.com/ajar-access/ajar"
)

func openPostgres(context.Context, string, *slog.Logger) (backend, error) {
	return nil, ajar.Errorf(ajar.Unavailable, "PostgreSQL comes next")
}
