// Package pgtest gives every test a migrated PostgreSQL database of its own.
//
// A test says pgtest.New(t) and has one, as fast as a template is copied; it
// is dropped when the test ends. A package with several such tests adds
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
// so that the server runs from its first test to its last.
//
// # Environment
//
//   - TWYN_TEST_DATABASE_URL is the postgres:// URL of a database on a server to
//     use. Its role must be allowed to create databases and roles.
//   - TWYN_TEST_DATA_DIR is where the private server is kept that is used
//     otherwise; by default .cache/postgres-test beside go.mod. All test
//     binaries of a checkout share it.
//
// # Imports
//
// The package is for tests. It must never import server/postgres, whose own
// tests import it.
package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/server/postgres/private"
)

// patience is how long setting up or clearing up may take on a busy machine
// before it counts as hanging.
const patience = 5 * time.Minute

// DB is a database that belongs to one test.
type DB struct {
	// Name is the database's name.
	Name string
	// URL connects as its owner, who migrates. It holds a password.
	URL string

	server *server
}

// As returns a URL whose sessions begin in the given role, as the server's do
// in twyn_server.
func (d *DB) As(role string) string {
	u := d.server.url
	u.Path = "/" + d.Name
	query := u.Query()
	query.Set("role", role)
	u.RawQuery = encode(query)
	return u.String()
}

// Main runs the tests of a package with the server running all the while.
func Main(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := connect(ctx)
	if err == nil {
		err = s.sweep(ctx)
	}
	if err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		os.Exit(1)
	}
	m.Run() // the testing package exits with its code when TestMain returns
	if err := s.close(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		os.Exit(1)
	}
}

// New returns a database with every migration applied.
func New(tb testing.TB) *DB {
	tb.Helper()
	return create(tb, func(ctx context.Context, s *server, name string) error {
		return s.clone(ctx, name)
	})
}

// Empty returns a database without any migration.
func Empty(tb testing.TB) *DB {
	tb.Helper()
	return create(tb, func(ctx context.Context, s *server, name string) error {
		return retry(ctx, func() error {
			_, err := s.db.ExecContext(ctx, "CREATE DATABASE "+name+" TEMPLATE template0")
			return err
		})
	})
}

// create makes a database for tb and has it dropped when tb ends.
func create(tb testing.TB, fill func(ctx context.Context, s *server, name string) error) *DB {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	s, err := connect(ctx)
	if err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	name := testPrefix + strings.ToLower(rand.Text()[:16])
	tb.Cleanup(func() {
		// tb.Context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(s.drop(ctx, name), s.close()); err != nil {
			tb.Errorf("pgtest: %v", err)
		}
	})
	if err := s.claim(ctx, name); err != nil {
		tb.Fatalf("pgtest: %v", err)
	}
	if err := fill(ctx, s, name); err != nil {
		tb.Fatalf("pgtest: creating a database: %v", err)
	}
	return &DB{Name: name, URL: s.urlOf(name), server: s}
}

// server is a connection to the server on which the databases are made.
type server struct {
	url   url.URL
	db    *sql.DB
	leave func(ctx context.Context) error
	// session holds the advisory locks of this use of the server.
	session *sql.Conn
}

// connect finds the server, starting it if need be.
func connect(ctx context.Context) (_ *server, err error) {
	s := &server{leave: func(context.Context) error { return nil }}
	address := os.Getenv("TWYN_TEST_DATABASE_URL")
	if address == "" {
		dir, err := dataDir()
		if err != nil {
			return nil, err
		}
		cluster, err := private.Start(ctx, private.Options{DataDir: dir, Fast: true})
		var broken *private.ServerError
		if errors.As(err, &broken) {
			// Without fsync a crash of the machine may damage it.
			return nil, fmt.Errorf("%w\nthe test server's data can be thrown away: remove %s and try again", err, dir)
		}
		if err != nil {
			return nil, err
		}
		address, s.leave = cluster.URL(), cluster.Stop
	}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	u, err := parseURL(address)
	if err != nil {
		return nil, fmt.Errorf("TWYN_TEST_DATABASE_URL: %w", err)
	}
	s.url = *u
	if s.db, err = sql.Open("postgres", address); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	if s.session, err = s.db.Conn(ctx); err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return s, nil
}

// close leaves the server.
func (s *server) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if s.session != nil {
		_ = s.session.Close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	return s.leave(ctx)
}

// urlOf returns the URL of another database on the server.
func (s *server) urlOf(database string) string {
	u := s.url
	u.Path = "/" + database
	return u.String()
}

// parseURL does not repeat the URL in its error, since it may hold a password.
func parseURL(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		return nil, errors.New("not a postgres:// URL")
	}
	return u, nil
}

// encode writes spaces as libpq reads them.
func encode(query url.Values) string { return strings.ReplaceAll(query.Encode(), "+", "%20") }

// dataDir returns the private server's data directory.
func dataDir() (string, error) {
	if dir := os.Getenv("TWYN_TEST_DATA_DIR"); dir != "" {
		return dir, nil
	}
	here, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding go.mod: %w", err)
	}
	for dir := here; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "postgres-test"), nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("finding go.mod: none in %s or above; set TWYN_TEST_DATA_DIR", here)
		}
	}
}
