package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/engine/quota"
)

// Roles of the database, made by the migrations.
const (
	serverRole = "twyn_server"
	systemRole = "twyn_system"
)

// Defaults of Options.
const (
	defaultMaxConns         = 16
	defaultStatementTimeout = 10 * time.Second
	defaultConnectTimeout   = 5 * time.Second
	defaultApplicationName  = "twyn"
	maxConnIdle             = 5 * time.Minute
	maxConnLife             = time.Hour
)

// Options say how to reach the database. All but URL have defaults.
type Options struct {
	// URL is where the database is: postgres://user@host:port/name or
	// key=value pairs. It may hold a password and appears in no error.
	URL string
	// MaxConns bounds the connections of the pool; 0 means 16.
	MaxConns int
	// Role is what connections work as; "" means twyn_server.
	Role string
	// StatementTimeout ends statements that take longer; 0 means 10 s.
	StatementTimeout time.Duration
	// ApplicationName is how connections show in pg_stat_activity; ""
	// means twyn.
	ApplicationName string
	// Clock dates what the stores are not told a time for, the secret of a
	// rotation; nil means the machine's clock.
	Clock clock.Clock
}

// Store implements the stores of server and engine. It is safe for concurrent
// use.
type Store struct {
	db       *sqlx.DB
	role     string
	listener string // the DSN to listen with
	clock    clock.Clock
	probe    probe
}

// probe lets a test look at and change what reaches the database. Outside
// tests it is empty.
type probe struct {
	// statement replaces each statement before it runs.
	statement func(statement string) string
	// tenant replaces the tenant that a transaction names to row-level
	// security, not the one in its statements.
	tenant func(tenantID string) string
}

// Open connects to a migrated database. An error never holds the URL.
func Open(ctx context.Context, o Options) (*Store, error) {
	config, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	role := cmp.Or(o.Role, serverRole)
	config.ApplicationName = cmp.Or(o.ApplicationName, defaultApplicationName)
	config.Runtime["role"] = role
	config.Runtime["statement_timeout"] = strconv.FormatInt(cmp.Or(o.StatementTimeout, defaultStatementTimeout).Milliseconds(), 10)
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, errURL
	}
	listener, err := listenerDSN(o.URL, role, config.ApplicationName+" listener")
	if err != nil {
		return nil, err
	}
	s := &Store{
		db: sqlx.NewDb(sql.OpenDB(connector), "postgres"), role: role, listener: listener, clock: o.Clock,
	}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	conns := cmp.Or(o.MaxConns, defaultMaxConns)
	s.db.SetMaxOpenConns(conns)
	s.db.SetMaxIdleConns(conns)
	s.db.SetConnMaxIdleTime(maxConnIdle)
	s.db.SetConnMaxLifetime(maxConnLife)
	if err := s.ping(ctx); err != nil {
		return nil, fmt.Errorf("opening the database: %w", errors.Join(err, s.db.Close()))
	}
	return s, nil
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.ping(ctx); err != nil {
		return fmt.Errorf("asking the database whether it is there: %w", err)
	}
	return nil
}

// ping is an empty transaction. The pool's own Ping would not try again over a
// connection that has died in it, and keeps the reason of a refusal to itself.
func (s *Store) ping(ctx context.Context) error {
	return s.read(ctx, "", func(*tx) error { return nil })
}

// Close closes the pool, waiting for statements under way.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}

// errURL stands for every error of parsing a URL, since any part of what could
// not be parsed may be the password.
var errURL = errors.New("database URL: not understood; want postgres://USER:PASSWORD@HOST:PORT/NAME or key=value pairs")

// parseURL reads a URL or key=value pairs and sets what every connection of
// this package has in common.
func parseURL(url string) (pq.Config, error) {
	config, err := pq.NewConfig(url)
	if err != nil {
		return pq.Config{}, errURL
	}
	if config.Runtime == nil {
		config.Runtime = make(map[string]string)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = defaultConnectTimeout
	}
	// Parameters travel with their statement, which saves the round trip
	// that would ask for their types first.
	config.BinaryParameters = true
	config.Runtime["TimeZone"] = "UTC"
	config.Runtime["search_path"] = "public, pg_temp"
	return config, nil
}

var (
	_ engine.Keys       = (*Store)(nil)
	_ engine.Resources  = (*Store)(nil)
	_ engine.UsageStore = (*Store)(nil)
	_ quota.Store       = (*Store)(nil)
)
