package postgres_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/migrations"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
	"github.com/twyn/twyn/server/postgres/private"
)

// schema describes everything that migrations make.
const schema = `
SELECT string_agg(line, E'\n' ORDER BY line) FROM (
    SELECT format('column %s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attcollation, attacl::text)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT format('table %s %s %s %s %s', oid::regclass, relrowsecurity, relforcerowsecurity, relacl::text, reloptions::text)
    FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm', 'p')
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL
    SELECT format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT format('policy %s', p::text) FROM pg_policies AS p WHERE schemaname = 'public'
    UNION ALL
    SELECT pg_get_triggerdef(t.oid) FROM pg_trigger AS t WHERE NOT tgisinternal
    UNION ALL
    SELECT pg_get_functiondef(oid) || proacl::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS lines (line)
WHERE line NOT LIKE '%goose_db_version%'`

func describe(t *testing.T, db *sql.DB) string {
	t.Helper()
	var text sql.NullString
	if err := db.QueryRowContext(t.Context(), schema).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text.String
}

func newProvider(t *testing.T, u string) (*goose.Provider, *sql.DB) {
	t.Helper()
	db := pool(t, u)
	provider, err := postgres.NewProvider(db)
	if err != nil {
		t.Fatal(err)
	}
	return provider, db
}

func TestEachMigrationUpDownUp(t *testing.T) {
	t.Parallel()
	provider, db := newProvider(t, pgtest.Empty(t).URL)
	for _, source := range provider.ListSources() {
		before := describe(t, db)
		if _, err := provider.UpByOne(t.Context()); err != nil {
			t.Fatalf("%s up: %v", source.Path, err)
		}
		after := describe(t, db)
		if after == before {
			t.Errorf("%s changes nothing that the test sees", source.Path)
		}
		if _, err := provider.Down(t.Context()); err != nil {
			t.Fatalf("%s down: %v", source.Path, err)
		}
		if got := describe(t, db); got != before {
			t.Errorf("%s down leaves\n%s\nwant\n%s", source.Path, got, before)
		}
		if _, err := provider.UpByOne(t.Context()); err != nil {
			t.Fatalf("%s up again: %v", source.Path, err)
		}
		if got := describe(t, db); got != after {
			t.Errorf("%s up again gives\n%s\nwant\n%s", source.Path, got, after)
		}
	}
}

func TestAllMigrationsDownOverData(t *testing.T) {
	t.Parallel()
	u := pgtest.Empty(t).URL
	if err := postgres.Migrate(t.Context(), u, nil); err != nil {
		t.Fatal(err)
	}
	s := openURL(t, u)
	tenant, _, _ := newTenant(t, s)
	simulation := newSimulation(t, tenant.ID)
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), simulation, newIdempotency("k")))
	if err := s.SaveCounters(t.Context(), newRecords(3)); err != nil {
		t.Fatal(err)
	}
	provider, db := newProvider(t, u)
	if _, err := provider.DownTo(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if left := describe(t, db); left != "" {
		t.Errorf("left is\n%s", left)
	}
	if err := postgres.Migrate(t.Context(), u, nil); err != nil {
		t.Fatal(err)
	}
	newTenant(t, s)
}

func TestMigrateTellsWhatItDid(t *testing.T) {
	t.Parallel()
	u := pgtest.Empty(t).URL
	names, err := fs.Glob(migrations.FS, "*.sql")
	if err != nil || len(names) == 0 {
		t.Fatal(names, err)
	}
	status := func(applied bool) {
		t.Helper()
		list := must[[]postgres.Migration](t)(postgres.MigrationStatus(t.Context(), u))
		if len(list) != len(names) {
			t.Fatalf("got %d migrations, want %d", len(list), len(names))
		}
		for i, m := range list {
			if m.Name != names[i] || m.Version != int64(i+1) || m.Applied != applied || m.AppliedAt.IsZero() == applied {
				t.Errorf("got %+v, want %s, applied %v", m, names[i], applied)
			}
		}
		want := 0
		if !applied {
			want = len(names)
		}
		if got := must[int](t)(postgres.Pending(t.Context(), u)); got != want {
			t.Errorf("got %d pending, want %d", got, want)
		}
	}
	status(false)
	if got := describe(t, pool(t, u)); got != "" {
		t.Errorf("asking for the status made\n%s", got)
	}
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		if err := postgres.Migrate(t.Context(), u, logger); err != nil {
			t.Fatal(err)
		}
		status(true)
	}
	if lines := strings.Count(log.String(), "\n"); lines != len(names) {
		t.Errorf("%d lines in the log, want %d:\n%s", lines, len(names), log.String())
	}
}

func TestManyMigrateOneDatabase(t *testing.T) {
	t.Parallel()
	u := pgtest.Empty(t).URL
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), u, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	newTenant(t, openURL(t, u))
}

// TestManyDatabasesMakeTheRoles migrates several databases at once in a cluster
// of its own, in which nobody has made the roles yet.
func TestManyDatabasesMakeTheRoles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cluster, err := private.Start(t.Context(), private.Options{DataDir: dir, Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
			return
		}
		// Started as root, it lives elsewhere, where no TempDir is removed.
		if elsewhere, err := os.Readlink(filepath.Join(dir, "postgres")); err == nil {
			if err := os.RemoveAll(elsewhere); err != nil {
				t.Error(err)
			}
		}
	})
	if _, err := postgres.Open(t.Context(), postgres.Options{URL: cluster.URL()}); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("a database that was never migrated: got %v, want %v", err, engine.ErrUnavailable)
	}
	db := pool(t, cluster.URL())
	var wg sync.WaitGroup
	for i := range 10 {
		database := fmt.Sprintf("tenth_%d", i)
		run(t, db, "CREATE DATABASE "+database)
		u := otherDatabase(t, cluster.URL(), database)
		wg.Go(func() {
			if err := postgres.Migrate(t.Context(), u, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var roles int
	err = db.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_roles WHERE rolname IN ('twyn_server', 'twyn_system') AND NOT rolcanlogin").Scan(&roles)
	if err != nil || roles != 2 {
		t.Errorf("got %d roles, %v; want 2", roles, err)
	}
}

func TestMigrateIsCancelled(t *testing.T) {
	t.Parallel()
	u := pgtest.Empty(t).URL
	if err := postgres.Migrate(cancelled(t), u, nil); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
