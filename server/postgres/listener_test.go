package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

// listen collects what a listener is told, from its first connection on.
func listen(t *testing.T, s *postgres.Store) <-chan string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan string, 100), make(chan error, 1)
	go func() {
		done <- s.Listen(ctx,
			func(tenantID, keyID string) { told <- "key " + tenantID + " " + keyID },
			func(tenantID string) { told <- "tenant " + tenantID },
			func() { told <- "gap" })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if got := <-told; got != "gap" {
		t.Fatalf("first told %q, want a gap", got)
	}
	return told
}

func TestListenHearsEveryRevocationAndNothingElse(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, _ := newTenant(t, s)
	told := listen(t, s)
	keyTold, tenantTold := "key "+tenant.ID+" "+key.ID, "tenant "+tenant.ID
	change := func(c engine.KeyChange) func() error {
		return func() error { _, err := s.UpdateKey(t.Context(), tenant.ID, key.ID, c); return err }
	}
	active := func(on bool) func() error {
		return func() error { _, err := s.SetTenantActive(t.Context(), tenant.ID, on); return err }
	}
	db := pool(t, u)
	for _, step := range []struct {
		name string
		do   func() error
		want string // "": nothing
	}{
		{"usage", func() error {
			return s.AddUsage(t.Context(), []engine.Usage{{TenantID: tenant.ID, KeyID: key.ID, Count: 5, LastUsedAt: start}})
		}, ""},
		{"new key", func() error { return s.CreateKey(t.Context(), newKey(tenant.ID), newDigest()) }, ""},
		{"no change", change(engine.KeyChange{Name: &key.Name}), ""},
		{"name", change(engine.KeyChange{Name: ref("new")}), keyTold},
		{"disable", change(engine.KeyChange{Active: ref(false)}), keyTold},
		{"enable", change(engine.KeyChange{Active: ref(true)}), keyTold},
		{"limit", change(engine.KeyChange{RateLimit: ref(int64(1))}), keyTold},
		{"scopes", change(engine.KeyChange{Scopes: ref(engine.Scopes{"keys:read"})}), keyTold},
		{"metadata", change(engine.KeyChange{Metadata: ref(map[string]any{"a": "b"})}), keyTold},
		{"expiry", change(engine.KeyChange{ExpiresAt: ref(start.Add(time.Hour))}), keyTold},
		{"rotation", func() error {
			_, err := s.RotateKey(t.Context(), tenant.ID, key.ID, newDigest(), start.Add(time.Minute))
			return err
		}, keyTold},
		{"end of a secret", func() error { return s.DeleteExpired(t.Context(), start.Add(time.Minute)) }, keyTold},
		{"same state of the tenant", active(true), ""},
		{"tenant disabled", active(false), tenantTold},
		{"tenant enabled", active(true), tenantTold},
		{"by hand", func() error {
			run(t, db, "ALTER TABLE keys NO FORCE ROW LEVEL SECURITY")
			run(t, db, "UPDATE keys SET active = false WHERE id = '"+key.ID+"'")
			return nil
		}, keyTold},
		{"deletion", func() error { return s.DeleteKey(t.Context(), tenant.ID, key.ID) }, keyTold},
		{"something unknown", func() error { run(t, db, "SELECT pg_notify('twyn_revoked', 'plugin:x:y:z')"); return nil }, "gap"},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		// A mark after each step shows where its notifications end.
		mark := strings.ReplaceAll(step.name, " ", "-")
		run(t, db, "SELECT pg_notify('twyn_revoked', 'tenant:"+mark+"')")
		var got []string
		for one := <-told; one != "tenant "+mark; one = <-told {
			got = append(got, one)
		}
		if text := strings.Join(got, ", "); text != step.want {
			t.Errorf("%s: told %q, want %q", step.name, text, step.want)
		}
	}
}

func TestListenTellsOfAGapAfterALostConnection(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, _, _ := newTenant(t, s)
	told := listen(t, s)
	db := pool(t, u)
	for range 2 {
		run(t, db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'twyn listener'")
		if got := <-told; got != "gap" {
			t.Errorf("told %q, want a gap", got)
		}
		run(t, db, "SELECT pg_notify('twyn_revoked', 'tenant:"+tenant.ID+"')")
		if got, want := <-told, "tenant "+tenant.ID; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	}
}

func TestListenWaitsForADatabaseThatIsAway(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := openURL(t, db.URL)
	owner := pool(t, db.URL)
	run(t, owner, "ALTER DATABASE "+db.Name+" CONNECTION LIMIT 0")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- s.Listen(ctx, func(string, string) {}, func(string) {}, func() { t.Error("told of a connection") })
	}()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
