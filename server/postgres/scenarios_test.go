package postgres_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestScenario(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	scenario := newScenario(t, tenant.ID)
	scenario.Description = `'"\` + "\n\tüñ"
	if _, err := s.CreateScenario(t.Context(), scenario, nil); err != nil {
		t.Fatal(err)
	}
	if got := must[engine.Scenario](t)(s.Scenario(t.Context(), tenant.ID, scenario.ID)); got != scenario {
		t.Errorf("got %+v, want %+v", got, scenario)
	}
	if _, err := s.CreateScenario(t.Context(), scenario, nil); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("again: got %v, want %v", err, engine.ErrConflict)
	}
	lost := newScenario(t, engine.NewTenantID())
	if _, err := s.CreateScenario(t.Context(), lost, nil); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("without a tenant: got %v, want %v", err, engine.ErrNotFound)
	}
	at := start.Add(time.Hour)
	scenario.Name, scenario.Description, scenario.UpdatedAt = "Cyber Monday", "", at
	got, err := s.UpdateScenario(t.Context(), tenant.ID, scenario.ID, engine.ScenarioChange{Name: "Cyber Monday"}, at)
	if err != nil || got != scenario {
		t.Errorf("got %+v, %v; want %+v", got, err, scenario)
	}
	if got := must[engine.Scenario](t)(s.Scenario(t.Context(), tenant.ID, scenario.ID)); got != scenario {
		t.Errorf("got %+v, want %+v", got, scenario)
	}
}

func TestScenariosListsNewestFirst(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	other, _, _ := newTenant(t, s)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), newScenario(t, other.ID), nil))
	var want []engine.Scenario
	for i := range 8 {
		scenario := newScenario(t, tenant.ID)
		scenario.Name, scenario.CreatedAt = name(i), start.Add(time.Duration(i/2)*time.Second)
		if i%3 == 0 {
			scenario.Environment = engine.Test
		}
		must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
		want = append(want, scenario)
	}
	sortNewest(want, func(s engine.Scenario) (time.Time, string) { return s.CreatedAt, s.ID })
	checkPages(t, want, func(p engine.Page) ([]engine.Scenario, int, error) {
		return s.Scenarios(t.Context(), tenant.ID, engine.Live.Visible(), p)
	})
	want = only(want, func(s engine.Scenario) bool { return s.Environment == engine.Test })
	checkPages(t, want, func(p engine.Page) ([]engine.Scenario, int, error) {
		return s.Scenarios(t.Context(), tenant.ID, engine.Test.Visible(), p)
	})
}

func TestDeleteScenarioKeepsItsSimulations(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, _, _ := newTenant(t, s)
	owner := pool(t, u)
	for how, remove := range map[string]func(id string) error{
		"by the store": func(id string) error { return s.DeleteScenario(t.Context(), tenant.ID, id, start.Add(time.Hour)) },
		"by hand": func(id string) error {
			// Without parameters these are one transaction.
			_, err := owner.ExecContext(t.Context(), "SET LOCAL ROLE twyn_server; SET LOCAL twyn.tenant = '"+tenant.ID+"'; DELETE FROM scenarios WHERE id = '"+id+"'")
			return err
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			scenario, simulation, bystander := newScenario(t, tenant.ID), newSimulation(t, tenant.ID), newSimulation(t, tenant.ID)
			simulation.ScenarioID = scenario.ID
			must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
			must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), simulation, nil))
			must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), bystander, nil))
			if err := remove(scenario.ID); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Scenario(t.Context(), tenant.ID, scenario.ID); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("got %v, want %v", err, engine.ErrNotFound)
			}
			got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, simulation.ID))
			if got.ScenarioID != "" || got.Prompt != simulation.Prompt {
				t.Errorf("the simulation is in %q", got.ScenarioID)
			}
			if want := start.Add(time.Hour); how == "by the store" && !got.UpdatedAt.Equal(want) {
				t.Errorf("the simulation was changed at %v, want %v", got.UpdatedAt, want)
			}
			if got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, bystander.ID)); !got.UpdatedAt.Equal(start) {
				t.Error("a simulation of no scenario was changed")
			}
		})
	}
}

func TestScenariosThatDoNotExist(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	other, _, _ := newTenant(t, s)
	foreign := newScenario(t, other.ID)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), foreign, nil))
	for _, id := range append(malformedUUIDs(foreign.ID), newUUID(t), foreign.ID) {
		for what, call := range map[string]func() error{
			"read": func() error { _, err := s.Scenario(t.Context(), tenant.ID, id); return err },
			"update": func() error {
				_, err := s.UpdateScenario(t.Context(), tenant.ID, id, engine.ScenarioChange{Name: "x"}, start)
				return err
			},
			"delete": func() error { return s.DeleteScenario(t.Context(), tenant.ID, id, start) },
		} {
			if err := call(); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("%s %q: got %v, want %v", what, id, err, engine.ErrNotFound)
			}
		}
	}
	if got := must[engine.Scenario](t)(s.Scenario(t.Context(), other.ID, foreign.ID)); got != foreign {
		t.Errorf("the scenario of another tenant is now %+v", got)
	}
}

// malformedUUIDs are forms of id, and of nothing, that the API does not know.
func malformedUUIDs(id string) []string {
	return []string{
		"", "abc123", "sim_123", strings.ToUpper(id), "{" + id + "}", "urn:uuid:" + id, strings.ReplaceAll(id, "-", ""),
		id + " ", id[:35], id[:35] + "\x00", id[:35] + "g", strings.Repeat("-", 36),
	}
}
