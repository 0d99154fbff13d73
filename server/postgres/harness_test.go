package postgres_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/server"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

var (
	_ server.KeyStore        = (*postgres.Store)(nil)
	_ server.TenantStore     = (*postgres.Store)(nil)
	_ server.ScenarioStore   = (*postgres.Store)(nil)
	_ server.SimulationStore = (*postgres.Store)(nil)
	_ server.DecisionStore   = (*postgres.Store)(nil)
	_ server.Pinger          = (*postgres.Store)(nil)
)

// start is when the tests take place.
var start = time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC)

func TestMain(m *testing.M) { pgtest.Main(m) }

// open opens a store over a database of its own and returns that too.
func open(t *testing.T) (*postgres.Store, string) {
	t.Helper()
	u := pgtest.New(t).URL
	return openURL(t, u), u
}

func openURL(t *testing.T, u string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), postgres.Options{URL: u, Clock: clock.NewManual(start)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// pool opens the database as its owner.
func pool(t *testing.T, u string) *sql.DB {
	t.Helper()
	c, err := pq.NewConnector(u)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(c)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func run(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// dump returns the rows of a table as text, ordered, of one tenant if named.
// Forced row-level security binds the owner too, so it is lifted for the look.
func dump(t *testing.T, db *sql.DB, table, tenantID string) string {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	if _, err := tx.ExecContext(t.Context(), "ALTER TABLE "+table+" NO FORCE ROW LEVEL SECURITY"); err != nil {
		t.Fatal(err)
	}
	column := "tenant_id"
	if table == "tenants" {
		column = "id"
	}
	var text string
	err = tx.QueryRowContext(t.Context(), "SELECT COALESCE(string_agg(r::text, E'\\n' ORDER BY r::text), '') FROM "+table+
		" AS r WHERE $1 = '' OR "+column+" = $1", tenantID).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// withUser changes the user of a URL.
func withUser(t *testing.T, u, name, password string) string {
	t.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	parsed.User = url.UserPassword(name, password)
	return parsed.String()
}

// otherDatabase changes the database of a URL.
func otherDatabase(t *testing.T, u, name string) string {
	t.Helper()
	parsed, err := url.Parse(u)
	if err != nil {
		t.Fatal(err)
	}
	parsed.Path = "/" + name
	return parsed.String()
}

func newDigest() (d engine.Digest) {
	_, _ = rand.Read(d[:])
	return d
}

func newUUID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func newKey(tenantID string) engine.Key {
	return engine.Key{
		ID: engine.NewKeyID(), TenantID: tenantID, Name: "Production Server", Environment: engine.Live, Active: true,
		RateLimit: 1000, Scopes: engine.Scopes{"*"}, Metadata: map[string]any{"team": "core"}, CreatedAt: start,
	}
}

// newTenant makes a tenant with one key and returns both and the key's digest.
func newTenant(t *testing.T, s *postgres.Store) (engine.Tenant, engine.Key, engine.Digest) {
	t.Helper()
	tenant := engine.Tenant{ID: engine.NewTenantID(), Name: "Acme", Active: true, CreatedAt: start}
	key, digest := newKey(tenant.ID), newDigest()
	if err := s.CreateTenant(t.Context(), tenant, key, digest); err != nil {
		t.Fatal(err)
	}
	return tenant, key, digest
}

func newScenario(t *testing.T, tenantID string) engine.Scenario {
	t.Helper()
	return engine.Scenario{
		ID: newUUID(t), TenantID: tenantID, Environment: engine.Live, Name: "Black Friday", Description: "A day of sales.",
		CreatedAt: start, UpdatedAt: start,
	}
}

func newSimulation(t *testing.T, tenantID string) engine.Simulation {
	t.Helper()
	return engine.Simulation{
		ID: newUUID(t), TenantID: tenantID, Environment: engine.Live, Status: engine.SimulationPending, Title: "Sales",
		Prompt: "A day of sales.", Tags: []string{"retail", "q4"}, Metadata: []byte(`{"a": 1}`),
		States:    []engine.SimulationState{{Name: engine.SimulationPending, At: start}},
		CreatedAt: start, UpdatedAt: start,
	}
}

// must returns the value of a call that has to succeed.
func must[T any](t *testing.T) func(v T, err error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// cancelled is a context that has ended.
func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func name(i int) string { return fmt.Sprintf("number %03d", i) }

// waitFor asks until the answer is true. It gives up when that must mean that
// something hangs.
func waitFor(t *testing.T, db *sql.DB, question string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for yes := false; !yes; {
		// The pause is for whom it waits for.
		if err := db.QueryRowContext(ctx, "SELECT ("+question+") FROM pg_sleep(0.005)").Scan(&yes); err != nil {
			t.Fatalf("waiting for %s: %v", question, err)
		}
	}
}

func hexOf(d engine.Digest) string { return hex.EncodeToString(d[:]) }

// verbose is an error with everything that formatting finds in it.
func verbose(err error) string { return fmt.Sprintf("%+v %#v", err, err) }
