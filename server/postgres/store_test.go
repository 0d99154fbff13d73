package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

// password is in the URLs of these tests and in no error.
const password = "correct-horse#battery"

// closedAddress is one on which nothing listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestOpenRefusesWithoutThePassword(t *testing.T) {
	t.Parallel()
	u := pgtest.Empty(t).URL
	escaped := url.QueryEscape(password)
	for name, c := range map[string]struct {
		url         string
		unavailable bool
	}{
		"nothing listens":        {"postgres://twyn:" + escaped + "@" + closedAddress(t) + "/twyn?sslmode=disable", true},
		"nothing listens, pairs": {"host=127.0.0.1 port=1 user=twyn password='" + password + "' sslmode=disable", true},
		"no such socket":         {"host=/nonexistent user=twyn password='" + password + "'", true},
		"wrong user":             {withUser(t, u, "nobody", password), true},
		"no such database":       {otherDatabase(t, u, "twyn_missing"), true},
		"bad port":               {"postgres://twyn:" + password + "@127.0.0.1:port/twyn", false},
		"bad escape":             {"postgres://twyn:%zz" + password + "@127.0.0.1/twyn", false},
		"unfinished quote":       {"host=127.0.0.1 password='" + password, false},
		"no pair":                {"host=127.0.0.1 " + password, false},
		"odd sslmode":            {"postgres://twyn:" + escaped + "@127.0.0.1/twyn?sslmode=" + escaped, false},
	} {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: c.url})
		if err == nil {
			_ = s.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		if errors.Is(err, engine.ErrUnavailable) != c.unavailable {
			t.Errorf("%s: got %v, want unavailable %v", name, err, c.unavailable)
		}
		for what, err := range map[string]error{
			"open":    err,
			"migrate": postgres.Migrate(t.Context(), c.url, nil),
			"status":  second(postgres.MigrationStatus(t.Context(), c.url)),
			"pending": second(postgres.Pending(t.Context(), c.url)),
		} {
			if err == nil {
				t.Errorf("%s, %s: no error", name, what)
			} else if text := err.Error(); strings.Contains(text, password) || strings.Contains(text, escaped) ||
				strings.Contains(text, "correct-horse") || strings.Contains(text, "battery") {
				t.Errorf("%s, %s: the error holds the password", name, what)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestOpenSetsUpItsConnections(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	parsed, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := parsed.User.Password()
	host := parsed.Hostname()
	if socket := parsed.Query().Get("host"); socket != "" {
		host = socket
	}
	port := parsed.Port()
	if p := parsed.Query().Get("port"); p != "" {
		port = p
	}
	pairs := "dbname='" + db.Name + "' host='" + host + "' user='" + parsed.User.Username() + "' password='" + secret + "' sslmode=disable"
	if port != "" {
		pairs += " port=" + port
	}
	for _, u := range []string{db.URL, pairs} {
		s, err := postgres.Open(t.Context(), postgres.Options{URL: u, ApplicationName: "it's", StatementTimeout: 1234 * time.Millisecond, MaxConns: 3})
		if err != nil {
			t.Fatal(err)
		}
		for setting, want := range map[string]string{
			"role": "twyn_server", "TimeZone": "UTC", "statement_timeout": "1234ms", "application_name": "it's",
			"search_path": "public, pg_temp",
		} {
			var got string
			if err := s.DB().QueryRowContext(t.Context(), "SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
				t.Errorf("%s: got %q, %v; want %q", setting, got, err, want)
			}
		}
		if got := s.DB().Stats().MaxOpenConnections; got != 3 {
			t.Errorf("got %d connections, want 3", got)
		}
		if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
			t.Error(err)
		}
		if err := s.Ping(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("closed: got %v, want %v", err, engine.ErrUnavailable)
		}
	}
}

func TestWithoutATenantNothingIsVisible(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	newTenant(t, s)
	for _, table := range []string{"keys", "scenarios", "simulations", "idempotency"} {
		var n int
		if err := s.DB().QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil || n != 0 {
			t.Errorf("%s: %d rows, %v", table, n, err)
		}
	}
	for _, statement := range []string{
		"SELECT digest FROM secrets", "SELECT * FROM secrets", "SELECT * FROM tenants", "SELECT * FROM counters",
		"DELETE FROM secrets", "UPDATE keys SET usage_count = 0", "UPDATE keys SET tenant_id = 'platform'",
		"UPDATE simulations SET tenant_id = 'platform'", "TRUNCATE keys", "ALTER TABLE keys DISABLE ROW LEVEL SECURITY",
	} {
		if _, err := s.DB().ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("twyn_server, %s: got %v, want a refusal", statement, err)
		}
	}
	owner := pool(t, u)
	for _, statement := range []string{
		"SELECT body FROM idempotency", "SELECT prompt FROM simulations", "SELECT name FROM scenarios", "DELETE FROM keys",
		"UPDATE keys SET active = true", "INSERT INTO secrets DEFAULT VALUES", "UPDATE secrets SET ends_at = NULL",
		"UPDATE tenants SET name = 'x'", "DELETE FROM tenants", "UPDATE counters SET tenant_id = 'x'",
	} {
		tx, err := owner.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = tx.ExecContext(t.Context(), "SET LOCAL ROLE twyn_system")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "42501") {
			t.Errorf("twyn_system, %s: got %v, want a refusal", statement, err)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNobodyButTheOwnerMakesTables(t *testing.T) {
	t.Parallel()
	_, u := open(t)
	// Before PostgreSQL 15 the schema is the superuser's and so is the right.
	const question = `SELECT current_setting('server_version_num')::int < 150000
		OR NOT has_schema_privilege('twyn_server', 'public', 'CREATE') AND NOT has_schema_privilege('twyn_system', 'public', 'CREATE')`
	var refused bool
	if err := pool(t, u).QueryRowContext(t.Context(), question).Scan(&refused); err != nil || !refused {
		t.Errorf("refused %v, %v", refused, err)
	}
}

// calls are one of each kind of call, by name.
func calls(s *postgres.Store, tenantID, keyID string) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"read":         func(ctx context.Context) error { _, err := s.Key(ctx, tenantID, keyID); return err },
		"list":         func(ctx context.Context) error { _, _, err := s.Keys(ctx, tenantID, nil, engine.Page{}); return err },
		"write":        func(ctx context.Context) error { return s.DeleteKey(ctx, tenantID, engine.NewKeyID()) },
		"read system":  func(ctx context.Context) error { _, err := s.FindKey(ctx, newDigest()); return err },
		"list system":  func(ctx context.Context) error { _, _, err := s.Tenants(ctx, engine.Page{}); return err },
		"write system": func(ctx context.Context) error { return s.DeleteExpired(ctx, start) },
		"counters": func(ctx context.Context) error {
			_, err := s.LoadCounters(ctx, []quota.CounterID{{TenantID: tenantID}})
			return err
		},
		"ping": func(ctx context.Context) error { return s.Ping(ctx) },
	}
}

func TestContextErrorsStayContextErrors(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, _ := newTenant(t, s)
	past, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for name, call := range calls(s, tenant.ID, key.ID) {
		if err := call(cancelled(t)); !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, context.Canceled)
		}
		if err := call(past); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, context.DeadlineExceeded)
		}
	}
}

func TestCancelledInTheMiddle(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, _ := newTenant(t, s)
	db := pool(t, u)
	lock(t, db, "keys")
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, err := s.Key(ctx, tenant.ID, key.ID); failed <- err }()
	waitFor(t, db, waiting)
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) || errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// waiting asks whether a statement of the store's waits for a lock.
const waiting = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
	AND application_name = 'twyn' AND wait_event_type = 'Lock')`

// lock locks a table until the returned function is called or the test ends.
func lock(t *testing.T, db *sql.DB, table string) (unlock func()) {
	t.Helper()
	tx, err := db.BeginTx(context.WithoutCancel(t.Context()), nil)
	if err != nil {
		t.Fatal(err)
	}
	unlock = func() { _ = tx.Rollback() }
	t.Cleanup(unlock)
	if _, err := tx.ExecContext(t.Context(), "LOCK TABLE "+table+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	return unlock
}

func TestStatementTimeoutIsUnavailable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	tenant, key, _ := newTenant(t, openURL(t, db.URL))
	s, err := postgres.Open(t.Context(), postgres.Options{URL: db.URL, StatementTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	lock(t, pool(t, db.URL), "keys")
	if _, err := s.Key(t.Context(), tenant.ID, key.ID); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, engine.ErrUnavailable)
	}
}

func TestLostConnections(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, _ := newTenant(t, s)
	db := pool(t, u)
	// Connections that died in the pool are not noticed by anyone.
	for name, call := range calls(s, tenant.ID, key.ID) {
		if err := s.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		terminate(t, db, "twyn")
		if err := call(t.Context()); err != nil && !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s over a connection that has died: %v", name, err)
		}
	}
	// One that dies under a statement: a read is tried again, a change is not.
	for name, c := range map[string]struct {
		call func() error
		want error
	}{
		"read":   {func() error { _, err := s.Key(t.Context(), tenant.ID, key.ID); return err }, nil},
		"change": {func() error { return s.DeleteKey(t.Context(), tenant.ID, key.ID) }, engine.ErrUnavailable},
	} {
		unlock := lock(t, db, "keys")
		failed := make(chan error, 1)
		go func() { failed <- c.call() }()
		waitFor(t, db, waiting)
		terminate(t, db, "twyn")
		unlock()
		if err := <-failed; !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// terminate ends the sessions that an application has now, and returns when
// they are gone.
func terminate(t *testing.T, db *sql.DB, application string) {
	t.Helper()
	var sessions string
	err := db.QueryRowContext(t.Context(), `SELECT COALESCE(array_agg(pid) FILTER (WHERE pg_terminate_backend(pid)), '{}')::text
		FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`, application).Scan(&sessions)
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, db, "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = ANY ('"+sessions+"'::int[]))")
}

func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, _ := newTenant(t, s)
	if err := s.DB().Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range calls(s, tenant.ID, key.ID) {
		if err := call(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, engine.ErrUnavailable)
		}
	}
}

func TestErrorsHoldNoDigest(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, digest := newTenant(t, s)
	run(t, pool(t, u), "ALTER TABLE secrets ADD CHECK (get_byte(digest, 0) = get_byte(digest, 0) AND ends_at IS NULL) NOT VALID")
	var errs []error
	errs = append(errs, s.CreateKey(t.Context(), newKey(tenant.ID), digest))
	_, err := s.RotateKey(t.Context(), tenant.ID, key.ID, digest, start)
	errs = append(errs, err)
	other := engine.Tenant{ID: engine.NewTenantID(), Name: "x", CreatedAt: start}
	errs = append(errs, s.CreateTenant(t.Context(), other, newKey(other.ID), digest))
	_, err = s.FindKey(cancelled(t), digest)
	errs = append(errs, err)
	hexed, quoted := hexOf(digest), string(digest[:])
	for i, err := range errs {
		for at := err; at != nil; at = errors.Unwrap(at) {
			for _, text := range []string{at.Error(), verbose(at)} {
				if strings.Contains(strings.ToLower(text), hexed[:8]) || strings.Contains(text, quoted) {
					t.Errorf("error %d holds a digest", i)
				}
			}
		}
	}
}
