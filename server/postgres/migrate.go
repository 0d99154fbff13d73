package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/twyn/twyn/migrations"
)

// Migration is one step of the schema and whether the database has taken it.
type Migration struct {
	Version int64
	// Name is the name of its file.
	Name    string
	Applied bool
	// AppliedAt is when; zero: not yet.
	AppliedAt time.Time
}

// Migrate brings the schema up to date as the URL's own role, which has to own
// the database and may have to create roles. Several may start at once: one
// migrates, the others wait and find nothing to do. logger gets a line for
// each migration applied; nil: none.
func Migrate(ctx context.Context, url string, logger *slog.Logger) error {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	err := withOwner(url, func(db *sql.DB) error {
		// Find out in our own words whether the database is there at all.
		if err := db.PingContext(ctx); err != nil {
			return unconnected(ctx, err)
		}
		provider, err := newProvider(db)
		if err != nil {
			return err
		}
		applied, err := provider.Up(ctx)
		for _, result := range applied {
			logger.LogAttrs(ctx, slog.LevelInfo, "migration applied", slog.Int64("version", result.Source.Version),
				slog.String("name", path.Base(result.Source.Path)), slog.Duration("duration", result.Duration))
		}
		return migrationError(ctx, err)
	})
	if err != nil {
		return fmt.Errorf("migrating the database: %w", err)
	}
	return nil
}

// migrationError explains an error of goose, which puts the failing statement
// before what the database said.
func migrationError(ctx context.Context, err error) error {
	var refused *pq.Error
	if err == nil || lost(err) || ctx.Err() != nil || errors.As(err, &refused) && away(refused) {
		return explain(ctx, err)
	}
	return err
}

// withOwner runs f with a pool whose connections work as the URL's own role.
func withOwner(url string, f func(*sql.DB) error) error {
	config, err := parseURL(url)
	if err != nil {
		return err
	}
	config.ApplicationName = "twyn migrate"
	config.Runtime["statement_timeout"] = "0"
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return errURL
	}
	db := sql.OpenDB(connector)
	return errors.Join(f(db), db.Close())
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS,
		goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(migrationLock{}),
		goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	return provider, nil
}

// migrationLock is an advisory lock that is waited for on the server, so that
// a waiting start goes on at once. It ends with its connection.
type migrationLock struct{}

// migrationLockID is "twynmigr" as a number; databases of one cluster do not
// share their locks.
const migrationLockID = 0x7477796e6d696772

const lockMigrations = `SELECT pg_advisory_lock($1)`

const unlockMigrations = `SELECT pg_advisory_unlock($1)`

// SessionLock waits for the lock.
func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, lockMigrations, int64(migrationLockID)); err != nil {
		return fmt.Errorf("waiting for the migration lock: %w", err)
	}
	return nil
}

// SessionUnlock gives the lock back.
func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, unlockMigrations, int64(migrationLockID)); err != nil {
		return fmt.Errorf("giving back the migration lock: %w", err)
	}
	return nil
}

const hasVersions = `SELECT to_regclass('public.goose_db_version') IS NOT NULL`

const selectVersions = `
SELECT version_id, max(tstamp) AS applied_at
FROM goose_db_version
WHERE is_applied AND version_id > 0
GROUP BY version_id`

// versionRow is a version that goose has written down.
type versionRow struct {
	Version   int64     `db:"version_id"`
	AppliedAt time.Time `db:"applied_at"`
}

// MigrationStatus lists the migrations that this binary knows, oldest first,
// and changes nothing.
func MigrationStatus(ctx context.Context, url string) ([]Migration, error) {
	list, err := embedded()
	if err != nil {
		return nil, err
	}
	err = withOwner(url, func(db *sql.DB) error {
		var rows []versionRow
		if rows, err = versions(ctx, sqlx.NewDb(db, "postgres")); err != nil {
			return err
		}
		for _, row := range rows {
			for i := range list {
				if list[i].Version == row.Version {
					list[i].Applied, list[i].AppliedAt = true, row.AppliedAt.UTC()
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the state of the migrations: %w", err)
	}
	return list, nil
}

// versions reads what goose has written down, nothing if it never ran.
func versions(ctx context.Context, db *sqlx.DB) (rows []versionRow, err error) {
	var exists bool
	if err := db.GetContext(ctx, &exists, hasVersions); err != nil {
		return nil, unconnected(ctx, err)
	}
	if !exists {
		return nil, nil
	}
	return rows, explain(ctx, db.SelectContext(ctx, &rows, selectVersions))
}

// Pending counts the migrations that the database has not taken yet.
func Pending(ctx context.Context, url string) (int, error) {
	list, err := MigrationStatus(ctx, url)
	if err != nil {
		return 0, err
	}
	pending := 0
	for _, m := range list {
		if !m.Applied {
			pending++
		}
	}
	return pending, nil
}

// embedded lists the migrations in the binary, oldest first.
func embedded() ([]Migration, error) {
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil {
		return nil, fmt.Errorf("reading the migrations: %w", err)
	}
	list := make([]Migration, len(names))
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("reading the migrations: %s has no version: %w", name, err)
		}
		list[i] = Migration{Version: version, Name: name}
	}
	return list, nil
}

var _ lock.SessionLocker = migrationLock{}
