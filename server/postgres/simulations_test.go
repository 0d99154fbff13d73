package postgres_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestSimulationRoundTrip(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	scenario := newScenario(t, tenant.ID)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
	for name, change := range map[string]func(*engine.Simulation){
		"plain":    func(*engine.Simulation) {},
		"test":     func(s *engine.Simulation) { s.Environment = engine.Test },
		"no tags":  func(s *engine.Simulation) { s.Tags = []string{} },
		"odd tags": func(s *engine.Simulation) { s.Tags = []string{"", "NULL", `a,"b"\{}`, "ü"} },
		"scenario": func(s *engine.Simulation) { s.ScenarioID = scenario.ID },
		"everything": func(s *engine.Simulation) {
			s.WhatIf, s.Trace, s.Config = json.RawMessage(`{"limit": 5}`), json.RawMessage(`[1, "two", null]`), json.RawMessage(`{"step_unit": "day"}`)
			s.Metrics, s.Analysis, s.ErrorLog = json.RawMessage(`{"global": {}}`), json.RawMessage(`{"risks": []}`), "none"
		},
		"trace of null": func(s *engine.Simulation) { s.Trace = json.RawMessage(`null`) },
		"no states":     func(s *engine.Simulation) { s.States = []engine.SimulationState{} },
	} {
		want := newSimulation(t, tenant.ID)
		change(&want)
		must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), want, nil))
		got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, want.ID))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%+v, want\n%+v", name, got, want)
		}
	}
	for _, status := range engine.SimulationStatuses() {
		want := newSimulation(t, tenant.ID)
		want.Status = status
		must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), want, nil))
		if got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, want.ID)); got.Status != status {
			t.Errorf("got %s, want %s", got.Status, status)
		}
	}
	bare := newSimulation(t, tenant.ID)
	bare.Tags, bare.Metadata, bare.States = nil, nil, nil
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), bare, nil))
	got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, bare.ID))
	if got.Tags == nil || string(got.Metadata) != "{}" || got.States == nil {
		t.Errorf("what was left out reads as %#v, %s and %#v", got.Tags, got.Metadata, got.States)
	}
}

func TestCreateSimulationRefuses(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	other, _, _ := newTenant(t, s)
	foreign, stored := newScenario(t, other.ID), newSimulation(t, tenant.ID)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), foreign, nil))
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), stored, nil))
	for name, c := range map[string]struct {
		change func(*engine.Simulation)
		want   error
	}{
		"scenario of another tenant": {func(s *engine.Simulation) { s.ScenarioID = foreign.ID }, engine.ErrNotFound},
		"unknown scenario":           {func(s *engine.Simulation) { s.ScenarioID = newUUID(t) }, engine.ErrNotFound},
		"malformed scenario":         {func(s *engine.Simulation) { s.ScenarioID = "abc" }, engine.ErrNotFound},
		"unknown tenant":             {func(s *engine.Simulation) { s.TenantID = engine.NewTenantID() }, engine.ErrNotFound},
		"same id":                    {func(s *engine.Simulation) { s.ID = stored.ID }, engine.ErrConflict},
		"odd status":                 {func(s *engine.Simulation) { s.Status = "DONE" }, nil},
		"odd environment":            {func(s *engine.Simulation) { s.Environment = "" }, nil},
		"metadata of an array":       {func(s *engine.Simulation) { s.Metadata = json.RawMessage(`[]`) }, nil},
		"config of a number":         {func(s *engine.Simulation) { s.Config = json.RawMessage(`1`) }, nil},
		"metadata that is no JSON":   {func(s *engine.Simulation) { s.Metadata = json.RawMessage(`{`) }, nil},
	} {
		simulation := newSimulation(t, tenant.ID)
		change := c.change
		change(&simulation)
		idem := newIdempotency(name)
		_, err := s.CreateSimulation(t.Context(), simulation, idem)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		// What was refused leaves no answer behind.
		if earlier, err := s.CreateSimulation(t.Context(), newSimulation(t, tenant.ID), idem); err != nil || earlier != nil {
			t.Errorf("%s: the key of a refused request gives %v, %v", name, earlier, err)
		}
	}
}

func TestSimulationsFilters(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	other, _, _ := newTenant(t, s)
	scenario := newScenario(t, tenant.ID)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), scenario, nil))
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), newSimulation(t, other.ID), nil))
	var all []engine.Simulation
	for i := range 24 {
		simulation := newSimulation(t, tenant.ID)
		simulation.Title, simulation.CreatedAt = name(i), start.Add(time.Duration(i/2)*time.Second)
		simulation.Tags = [][]string{{"retail", "q4"}, {"retail"}, {}, {"retail,q4"}}[i%4]
		if i%2 == 0 {
			simulation.Environment = engine.Test
		}
		if i%3 == 0 {
			simulation.ScenarioID = scenario.ID
		}
		simulation.Status = engine.SimulationStatuses()[i%8]
		must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), simulation, nil))
		all = append(all, simulation)
	}
	sortNewest(all, func(s engine.Simulation) (time.Time, string) { return s.CreatedAt, s.ID })
	after, before := start.Add(3*time.Second), start.Add(9*time.Second)
	for name, c := range map[string]struct {
		filter engine.SimulationFilter
		keep   func(engine.Simulation) bool
	}{
		"everything":       {engine.SimulationFilter{}, func(engine.Simulation) bool { return true }},
		"both":             {engine.SimulationFilter{Environments: engine.Live.Visible()}, func(engine.Simulation) bool { return true }},
		"test":             {engine.SimulationFilter{Environments: engine.Test.Visible()}, func(s engine.Simulation) bool { return s.Environment == engine.Test }},
		"status":           {engine.SimulationFilter{Status: engine.SimulationFailed}, func(s engine.Simulation) bool { return s.Status == engine.SimulationFailed }},
		"tag":              {engine.SimulationFilter{Tag: "retail"}, func(s engine.Simulation) bool { return len(s.Tags) > 0 && s.Tags[0] == "retail" }},
		"tag with comma":   {engine.SimulationFilter{Tag: "retail,q4"}, func(s engine.Simulation) bool { return len(s.Tags) > 0 && s.Tags[0] == "retail,q4" }},
		"unknown tag":      {engine.SimulationFilter{Tag: "RETAIL"}, func(engine.Simulation) bool { return false }},
		"scenario":         {engine.SimulationFilter{ScenarioID: scenario.ID}, func(s engine.Simulation) bool { return s.ScenarioID == scenario.ID }},
		"unknown scenario": {engine.SimulationFilter{ScenarioID: newUUID(t)}, func(engine.Simulation) bool { return false }},
		"after":            {engine.SimulationFilter{CreatedAfter: after}, func(s engine.Simulation) bool { return s.CreatedAt.After(after) }},
		"before":           {engine.SimulationFilter{CreatedBefore: before}, func(s engine.Simulation) bool { return s.CreatedAt.Before(before) }},
		"all of them": {
			engine.SimulationFilter{
				Environments: engine.Test.Visible(), Status: engine.SimulationPending, Tag: "retail", ScenarioID: scenario.ID,
				CreatedAfter: start.Add(-1 * time.Second), CreatedBefore: before.Add(time.Hour),
			},
			func(s engine.Simulation) bool {
				return s.Environment == engine.Test && s.Status == engine.SimulationPending && s.ScenarioID != "" && len(s.Tags) > 0
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkPages(t, only(all, c.keep), func(p engine.Page) ([]engine.Simulation, int, error) {
				return s.Simulations(t.Context(), tenant.ID, c.filter, p)
			})
		})
	}
	list, total, err := s.Simulations(t.Context(), tenant.ID, engine.SimulationFilter{ScenarioID: "abc"}, engine.Page{Limit: 9})
	if len(list) != 0 || total != 0 || err != nil {
		t.Errorf("a malformed scenario gives %d of %d, %v", len(list), total, err)
	}
}

func TestSimulationsListsLeaveOutWhatIsLarge(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	simulation := newSimulation(t, tenant.ID)
	simulation.Trace, simulation.Config = json.RawMessage(`[]`), json.RawMessage(`{}`)
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), simulation, nil))
	list, _, err := s.Simulations(t.Context(), tenant.ID, engine.SimulationFilter{}, engine.Page{Limit: 1})
	simulation.Trace, simulation.Config = nil, nil
	if err != nil || !reflect.DeepEqual(list, []engine.Simulation{simulation}) {
		t.Errorf("got %+v, %v; want %+v", list, err, simulation)
	}
}

func TestConfigureAndRestartSimulation(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	want := newSimulation(t, tenant.ID)
	want.Status, want.Metrics, want.Analysis, want.ErrorLog = engine.SimulationFailed, json.RawMessage(`{}`), json.RawMessage(`{}`), "broken"
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), want, nil))
	check := func(got engine.Simulation, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("got\n%+v, %v; want\n%+v", got, err, want)
		}
		if got := must[engine.Simulation](t)(s.Simulation(t.Context(), tenant.ID, want.ID)); !reflect.DeepEqual(got, want) {
			t.Fatalf("reads as\n%+v, want\n%+v", got, want)
		}
	}
	at := start.Add(time.Minute)
	want.Status, want.Config, want.Metrics, want.Analysis, want.ErrorLog = engine.SimulationCompletedConfig, json.RawMessage(`{"seed": 1}`), nil, nil, ""
	want.States, want.UpdatedAt = append(want.States, engine.SimulationState{Name: engine.SimulationCompletedConfig, At: at}), at
	check(s.ConfigureSimulation(t.Context(), tenant.ID, want.ID, want.Config, at))
	at = at.Add(time.Minute)
	want.Status, want.Config, want.Prompt = engine.SimulationPending, nil, "another"
	want.States, want.UpdatedAt = append(want.States, engine.SimulationState{Name: engine.SimulationPending, At: at}), at
	check(s.RestartSimulation(t.Context(), tenant.ID, want.ID, "another", at))
	at = at.Add(time.Minute)
	want.States, want.UpdatedAt = append(want.States, engine.SimulationState{Name: engine.SimulationPending, At: at}), at
	check(s.RestartSimulation(t.Context(), tenant.ID, want.ID, "", at))
}

func TestSimulationsThatDoNotExist(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	other, _, _ := newTenant(t, s)
	foreign, own := newSimulation(t, other.ID), newSimulation(t, tenant.ID)
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), foreign, nil))
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), own, nil))
	for _, id := range append(malformedUUIDs(foreign.ID), newUUID(t), foreign.ID) {
		for what, call := range map[string]func() error{
			"read": func() error { _, err := s.Simulation(t.Context(), tenant.ID, id); return err },
			"configure": func() error {
				_, err := s.ConfigureSimulation(t.Context(), tenant.ID, id, []byte(`{}`), start)
				return err
			},
			"restart": func() error { _, err := s.RestartSimulation(t.Context(), tenant.ID, id, "x", start); return err },
			"delete":  func() error { return s.DeleteSimulation(t.Context(), tenant.ID, id) },
		} {
			if err := call(); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("%s %q: got %v, want %v", what, id, err, engine.ErrNotFound)
			}
		}
	}
	if got := must[engine.Simulation](t)(s.Simulation(t.Context(), other.ID, foreign.ID)); !reflect.DeepEqual(got, foreign) {
		t.Errorf("the simulation of another tenant is now %+v", got)
	}
	if err := s.DeleteSimulation(t.Context(), tenant.ID, own.ID); err != nil {
		t.Error(err)
	}
	if _, err := s.Simulation(t.Context(), tenant.ID, own.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("got %v, want %v", err, engine.ErrNotFound)
	}
}
