package pgtest

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
	"github.com/pressly/goose/v3"

	"github.com/twyn/twyn/migrations"
)

// The names of the databases that this package makes begin so.
const (
	testPrefix     = "twyn_test_"
	templatePrefix = "twyn_template_"
)

// retryInterval is how soon something is tried again that another session was
// in the way of.
const retryInterval = 50 * time.Millisecond

// A session holds these locks until it unlocks them or ends, however it ends.
const (
	lock   = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
	unlock = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
)

// clone makes a database with every migration applied, from the template.
func (s *server) clone(ctx context.Context, name string) error {
	template, err := templateName()
	if err != nil {
		return err
	}
	return retry(ctx, func() error {
		if err := s.ensureTemplate(ctx, template); err != nil {
			return err
		}
		_, err := s.db.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE "+template)
		return err
	})
}

// templateName names the template of the present set of migrations.
func templateName() (string, error) {
	digest := sha256.New()
	err := fs.WalkDir(migrations.FS, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(migrations.FS, path)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(digest, "%q %d\n%s", path, len(text), text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("reading the migrations: %w", err)
	}
	return templatePrefix + hex.EncodeToString(digest.Sum(nil))[:16], nil
}

// ensureTemplate makes the template if it is not there. One session makes it,
// the others wait.
func (s *server) ensureTemplate(ctx context.Context, template string) error {
	if there, err := s.exists(ctx, template); err != nil || there {
		return err
	}
	making, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = making.Close() }()
	if _, err := making.ExecContext(ctx, lock, templatePrefix); err != nil {
		return fmt.Errorf("waiting for the template: %w", err)
	}
	defer func() { _, _ = making.ExecContext(context.WithoutCancel(ctx), unlock, templatePrefix) }()
	if there, err := s.exists(ctx, template); err != nil || there {
		return err
	}
	return s.makeTemplate(ctx, template)
}

func (s *server) exists(ctx context.Context, database string) (there bool, err error) {
	err = s.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&there)
	return there, err
}

// makeTemplate makes the template, which gets its name when it is complete, and
// drops what earlier sets of migrations and killed tests left.
func (s *server) makeTemplate(ctx context.Context, template string) error {
	if err := s.sweep(ctx); err != nil {
		return err
	}
	old, err := s.names(ctx, "SELECT datname FROM pg_database WHERE starts_with(datname, $1)", templatePrefix)
	if err != nil {
		return err
	}
	for _, name := range old {
		// One that is being copied from stays until the next time.
		if err := s.drop(ctx, name); err != nil && !inTheWay(err) {
			return err
		}
	}
	making := template + "_making"
	if _, err := s.db.ExecContext(ctx, "CREATE DATABASE "+making+" TEMPLATE template0"); err != nil {
		return fmt.Errorf("making the template: %w", err)
	}
	if err := migrate(ctx, s.urlOf(making)); err != nil {
		return err
	}
	return retry(ctx, func() error {
		// Nobody can connect any more, so nobody is in the way of a copy.
		for _, statement := range [...]string{
			"ALTER DATABASE " + making + " ALLOW_CONNECTIONS false",
			"ALTER DATABASE " + making + " RENAME TO " + template,
		} {
			if _, err := s.db.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("making the template: %w", err)
			}
		}
		return nil
	})
}

// migrate applies every migration.
func migrate(ctx context.Context, address string) error {
	db, err := sql.Open("postgres", address)
	if err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	defer func() { _ = db.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations.FS, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating the template: %w", err)
	}
	return nil
}

// claim marks a test's database as in use for as long as the session lives, so
// that a sweep leaves it alone.
func (s *server) claim(ctx context.Context, name string) error {
	if _, err := s.session.ExecContext(ctx, lock, name); err != nil {
		return fmt.Errorf("claiming a database: %w", err)
	}
	return nil
}

// sweep drops the databases of tests that were killed: those that nobody
// claims.
func (s *server) sweep(ctx context.Context) error {
	const unclaimed = `SELECT datname FROM pg_database
		WHERE starts_with(datname, $1) AND pg_try_advisory_xact_lock(hashtextextended(datname, 0))`
	names, err := s.names(ctx, unclaimed, testPrefix)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.drop(ctx, name); err != nil && !inTheWay(err) {
			return err
		}
	}
	return nil
}

// names runs a query for the names of databases.
func (s *server) names(ctx context.Context, query, prefix string) ([]string, error) {
	rows, err := s.db.QueryContext(ctx, query, prefix)
	if err != nil {
		return nil, fmt.Errorf("listing databases: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("listing databases: %w", err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("listing databases: %w", err)
	}
	return names, nil
}

// drop drops a database with the sessions in it, if it is there. PostgreSQL
// refuses to end an autovacuum worker for a role that is no superuser; it is
// gone soon.
func (s *server) drop(ctx context.Context, name string) error {
	err := retry(ctx, func() error {
		_, err := s.db.ExecContext(ctx, "DROP DATABASE IF EXISTS "+pq.QuoteIdentifier(name)+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping database %s: %w", name, err)
	}
	return nil
}

// retry tries again while other sessions are in the way.
func retry(ctx context.Context, try func() error) error {
	tick := time.NewTicker(retryInterval)
	defer tick.Stop()
	for {
		err := try()
		if err == nil || !inTheWay(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}

// inTheWay reports whether an error comes from what another session is just
// doing: copying, dropping or vacuuming the same database.
func inTheWay(err error) bool {
	var refused *pq.Error
	if !errors.As(err, &refused) {
		return false
	}
	switch refused.Code {
	case pqerror.ObjectInUse, pqerror.InvalidCatalogName, pqerror.LockNotAvailable, pqerror.InsufficientPrivilege:
		return true
	case pqerror.InternalError:
		return strings.HasPrefix(refused.Message, "tuple concurrently ")
	default:
		return false
	}
}
