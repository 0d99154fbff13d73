package postgres_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/postgres"
)

func TestDeleteExpired(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, digest := newTenant(t, s)
	hour := start.Add(time.Hour)
	grace := newDigest()
	must[engine.Key](t)(s.RotateKey(t.Context(), tenant.ID, key.ID, grace, hour))
	must[engine.Key](t)(s.RotateKey(t.Context(), tenant.ID, key.ID, newDigest(), hour.Add(time.Microsecond)))
	records := newRecords(2*postgres.DeleteChunk + 10)
	for i := range records {
		records[i].ExpiresAt = hour
	}
	records[7].ExpiresAt = hour.Add(time.Microsecond)
	for chunk := range slices.Chunk(records, 2000) {
		if err := s.SaveCounters(t.Context(), chunk); err != nil {
			t.Fatal(err)
		}
	}
	early, late := newIdempotency("early"), newIdempotency("late")
	early.ExpiresAt, late.ExpiresAt = hour, hour.Add(time.Microsecond)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), early))
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), late))

	if err := s.DeleteExpired(t.Context(), hour); err != nil {
		t.Fatal(err)
	}
	left := must[[]quota.Record](t)(s.LoadCounters(t.Context(), ids(records)))
	if len(left) != 1 || left[0].ID != records[7].ID {
		t.Errorf("%d counters are left, want the one that has not expired", len(left))
	}
	if _, err := s.FindKey(t.Context(), digest); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("the secret that ended: got %v, want %v", err, engine.ErrNotFound)
	}
	if _, err := s.FindKey(t.Context(), grace); err != nil {
		t.Errorf("the secret that ends later: %v", err)
	}
	var keys string
	db := pool(t, u)
	run(t, db, "ALTER TABLE idempotency NO FORCE ROW LEVEL SECURITY")
	if err := db.QueryRowContext(t.Context(), "SELECT string_agg(key, ' ') FROM idempotency").Scan(&keys); err != nil || keys != "late" {
		t.Errorf("answers left: %q, %v; want %q", keys, err, "late")
	}
}
