package postgres_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/postgres"
)

func newIdempotency(key string) *engine.Idempotency {
	return &engine.Idempotency{
		Key: key, Environment: engine.Live, Route: "/v1/scenarios", Fingerprint: newDigest(), Status: 201,
		Body: []byte{'{', 0, 0xff, '}'}, CreatedAt: start, ExpiresAt: start.Add(24 * time.Hour),
	}
}

func TestIdempotencyReplaysTheFirstAnswer(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	first := newIdempotency("k")
	create := func(idem *engine.Idempotency) (*engine.Idempotency, bool) {
		t.Helper()
		scenario := newScenario(t, tenant.ID)
		earlier := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, idem))
		_, err := s.Scenario(t.Context(), tenant.ID, scenario.ID)
		return earlier, err == nil
	}
	if earlier, stored := create(first); earlier != nil || !stored {
		t.Fatalf("the first: got %v, stored %v", earlier, stored)
	}
	other := newIdempotency("k")
	other.Status, other.Body = 409, nil
	for name, again := range map[string]*engine.Idempotency{"same": first, "another fingerprint": other} {
		if earlier, stored := create(again); !reflect.DeepEqual(earlier, first) || stored {
			t.Errorf("%s: got %+v, stored %v; want %+v", name, earlier, stored, first)
		}
	}
	for name, change := range map[string]func(*engine.Idempotency){
		"another key":         func(i *engine.Idempotency) { i.Key = "K" },
		"another environment": func(i *engine.Idempotency) { i.Environment = engine.Test },
		"another route":       func(i *engine.Idempotency) { i.Route = "/v1/simulations" },
	} {
		idem := newIdempotency("k")
		change(idem)
		if earlier, stored := create(idem); earlier != nil || !stored {
			t.Errorf("%s: got %v, stored %v", name, earlier, stored)
		}
	}
	foreign, _, _ := newTenant(t, s)
	if earlier := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, foreign.ID), newIdempotency("k"))); earlier != nil {
		t.Error("another tenant's answer was given")
	}
}

func TestIdempotencyExpires(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	first := newIdempotency("k")
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), first))
	before, after := newIdempotency("k"), newIdempotency("k")
	before.CreatedAt = first.ExpiresAt.Add(-time.Microsecond)
	after.CreatedAt, after.ExpiresAt = first.ExpiresAt, first.ExpiresAt.Add(time.Hour)
	if got := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), before)); !reflect.DeepEqual(got, first) {
		t.Errorf("just before: got %+v, want %+v", got, first)
	}
	if got := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), after)); got != nil {
		t.Errorf("when expired: got %+v, want none", got)
	}
	if got := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), before)); !reflect.DeepEqual(got, after) {
		t.Errorf("then: got %+v, want %+v", got, after)
	}
}

func TestIdempotencyRace(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	for round := range 5 {
		race(t, s, tenant.ID, name(round))
	}
}

// race lets several requests with one key create at once and wants one object
// and one answer.
func race(t *testing.T, s *postgres.Store, tenantID, key string) {
	t.Helper()
	type result struct {
		id      string
		idem    *engine.Idempotency
		earlier *engine.Idempotency
	}
	var wg sync.WaitGroup
	results := make([]result, 12)
	for i := range results {
		simulation, idem := newSimulation(t, tenantID), newIdempotency(key)
		wg.Go(func() {
			earlier, err := s.CreateSimulation(t.Context(), simulation, idem)
			if err != nil {
				t.Error(err)
			}
			results[i] = result{simulation.ID, idem, earlier}
		})
	}
	wg.Wait()
	winners := only(results, func(r result) bool { return r.earlier == nil })
	if len(winners) != 1 {
		t.Fatalf("%d requests created, want 1", len(winners))
	}
	for _, r := range results {
		if r.earlier != nil && !reflect.DeepEqual(r.earlier, winners[0].idem) {
			t.Errorf("got another answer than the winner's: %+v", r.earlier)
		}
		_, err := s.Simulation(t.Context(), tenantID, r.id)
		if won := r.id == winners[0].id; won != (err == nil) {
			t.Errorf("simulation of a request that won %v: %v", won, err)
		}
	}
}

func TestIdempotencyWaitsForTheOtherTransaction(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, _, _ := newTenant(t, s)
	for _, commit := range []bool{true, false} {
		idem := newIdempotency(map[bool]string{true: "commits", false: "rolls back"}[commit])
		tx, err := pool(t, u).BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }()
		for _, statement := range []string{"SET LOCAL ROLE twyn_server", "SET LOCAL twyn.tenant = '" + tenant.ID + "'"} {
			if _, err := tx.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tx.ExecContext(t.Context(), `INSERT INTO idempotency (tenant_id, environment, route, key, fingerprint, status, body, created_at, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`, tenant.ID, string(idem.Environment), idem.Route, idem.Key, idem.Fingerprint[:],
			idem.Status, idem.Body, idem.CreatedAt, idem.ExpiresAt); err != nil {
			t.Fatal(err)
		}
		answer := make(chan *engine.Idempotency, 1)
		go func() {
			defer close(answer)
			earlier, err := s.CreateScenario(t.Context(), newScenario(t, tenant.ID), newIdempotency(idem.Key))
			if err != nil {
				t.Error(err)
			}
			answer <- earlier
		}()
		waitFor(t, pool(t, u), `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
			AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO idempotency%')`)
		if commit {
			err = tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
		if earlier := <-answer; commit != (earlier != nil) || (commit && !reflect.DeepEqual(earlier, idem)) {
			t.Errorf("other transaction commits %v: got %+v", commit, earlier)
		}
	}
}

func TestIdempotencyIsForgottenWithAFailedCreation(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	scenario, idem := newScenario(t, tenant.ID), newIdempotency("k")
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
	if _, err := s.CreateScenario(t.Context(), scenario, idem); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("got %v, want %v", err, engine.ErrConflict)
	}
	if earlier := must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, tenant.ID), idem)); earlier != nil {
		t.Errorf("got %+v, want none", earlier)
	}
}
