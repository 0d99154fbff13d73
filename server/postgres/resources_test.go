package postgres_test

import (
	"context"
	"errors"
	"testing"

	"github.com/twyn/twyn/engine"
)

func TestFindResource(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, _ := newTenant(t, s)
	scenario, simulation := newScenario(t, tenant.ID), newSimulation(t, tenant.ID)
	simulation.Environment = engine.Test
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), simulation, nil))
	for _, want := range []engine.Resource{
		{Type: "key", ID: key.ID, TenantID: tenant.ID, Environment: engine.Live},
		{Type: "scenario", ID: scenario.ID, TenantID: tenant.ID, Environment: engine.Live},
		{Type: "simulation", ID: simulation.ID, TenantID: tenant.ID, Environment: engine.Test},
		{Type: "tenant", ID: tenant.ID, TenantID: tenant.ID},
		{Type: "tenant", ID: engine.PlatformTenantID, TenantID: engine.PlatformTenantID},
	} {
		got, err := s.FindResource(t.Context(), engine.Target{Type: want.Type, ID: want.ID})
		if err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestFindResourceThatDoesNotExist(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	for _, target := range []engine.Target{
		{Type: "key", ID: engine.NewKeyID()},
		{Type: "scenario", ID: newUUID(t)},
		{Type: "simulation", ID: newUUID(t)},
		{Type: "tenant", ID: engine.NewTenantID()},
	} {
		if _, err := s.FindResource(t.Context(), target); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%+v: got %v, want %v", target, err, engine.ErrNotFound)
		}
		for _, id := range append(malformedUUIDs(newUUID(t)), "key_", "ten_x", "key_\xff") {
			// A context that has ended would show a query.
			if _, err := s.FindResource(cancelled(t), engine.Target{Type: target.Type, ID: id}); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("%s %q: got %v, want %v without a query", target.Type, id, err, engine.ErrNotFound)
			}
		}
		if _, err := s.FindResource(cancelled(t), target); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v: got %v, want %v", target, err, context.Canceled)
		}
	}
	_, err := s.FindResource(t.Context(), engine.Target{Type: "plugin", ID: newUUID(t)})
	if err == nil || errors.Is(err, engine.ErrNotFound) {
		t.Errorf("an unknown type: got %v, want an error that is not %v", err, engine.ErrNotFound)
	}
}
