package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/lib/pq"

	"github.com/twyn/twyn/engine"
)

// simulationRow is a row of simulations. Lists leave out what can be large:
// what_if, trace, config, metrics and analysis.
type simulationRow struct {
	ID          string         `db:"id"`
	TenantID    string         `db:"tenant_id"`
	Environment string         `db:"environment"`
	Status      string         `db:"status"`
	Title       string         `db:"title"`
	Prompt      string         `db:"prompt"`
	Tags        pq.StringArray `db:"tags"`
	ScenarioID  *string        `db:"scenario_id"`
	Metadata    []byte         `db:"metadata"`
	WhatIf      []byte         `db:"what_if"`
	Trace       []byte         `db:"trace"`
	Config      []byte         `db:"config"`
	Metrics     []byte         `db:"metrics"`
	Analysis    []byte         `db:"analysis"`
	States      []byte         `db:"states"`
	ErrorLog    string         `db:"error_log"`
	CreatedAt   time.Time      `db:"created_at"`
	UpdatedAt   time.Time      `db:"updated_at"`
}

func (r *simulationRow) simulation() (engine.Simulation, error) {
	s := engine.Simulation{
		ID: r.ID, TenantID: r.TenantID, Environment: engine.Environment(r.Environment),
		Status: engine.SimulationStatus(r.Status), Title: r.Title, Prompt: r.Prompt, Tags: r.Tags,
		Metadata: r.Metadata, WhatIf: r.WhatIf, Trace: r.Trace, Config: r.Config, Metrics: r.Metrics, Analysis: r.Analysis,
		ErrorLog: r.ErrorLog, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.ScenarioID != nil {
		s.ScenarioID = *r.ScenarioID
	}
	if err := json.Unmarshal(r.States, &s.States); err != nil {
		return engine.Simulation{}, fmt.Errorf("states: %w", err)
	}
	return s, nil
}

const insertSimulation = `
INSERT INTO simulations (tenant_id, id, environment, status, title, prompt, tags, scenario_id, metadata, what_if, trace,
    config, metrics, analysis, states, error_log, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`

// CreateSimulation stores the simulation and, if idem is not nil, the answer
// in idem with it. If idem's key was used before it stores nothing and returns
// the earlier answer, also if its fingerprint is another. A scenario that does
// not exist in the tenant is engine.ErrNotFound.
func (s *Store) CreateSimulation(
	ctx context.Context, simulation engine.Simulation, idem *engine.Idempotency,
) (earlier *engine.Idempotency, err error) {
	earlier, err = s.create(ctx, simulation.TenantID, idem, func(t *tx) error {
		return t.createSimulation(ctx, &simulation)
	})
	if err != nil {
		return nil, fmt.Errorf("creating a simulation: %w", err)
	}
	return earlier, nil
}

func (t *tx) createSimulation(ctx context.Context, s *engine.Simulation) error {
	var scenarioID *string
	if s.ScenarioID != "" {
		if !wellFormedUUID(s.ScenarioID) {
			return fmt.Errorf("%w: its scenario", engine.ErrNotFound)
		}
		scenarioID = &s.ScenarioID
	}
	metadata := "{}"
	if len(s.Metadata) > 0 {
		metadata = string(s.Metadata)
	}
	states, err := statesJSON(s.States)
	if err != nil {
		return err
	}
	tags := pq.StringArray(s.Tags)
	if tags == nil {
		tags = pq.StringArray{}
	}
	_, err = t.exec(ctx, insertSimulation, s.TenantID, s.ID, string(s.Environment), string(s.Status), s.Title, s.Prompt,
		tags, scenarioID, metadata, rawJSON(s.WhatIf), rawJSON(s.Trace), rawJSON(s.Config),
		rawJSON(s.Metrics), rawJSON(s.Analysis), states, s.ErrorLog, s.CreatedAt, s.UpdatedAt)
	return err
}

// statesJSON is states as a parameter, an array even if there are none.
func statesJSON(states []engine.SimulationState) (string, error) {
	if states == nil {
		return "[]", nil
	}
	text, err := json.Marshal(states)
	if err != nil {
		return "", fmt.Errorf("states: %w", err)
	}
	return string(text), nil
}

const selectSimulation = `
SELECT id, tenant_id, environment, status, title, prompt, tags, scenario_id, metadata, what_if, trace,
    config, metrics, analysis, states, error_log, created_at, updated_at
FROM simulations
WHERE tenant_id = $1 AND id = $2`

// Simulation returns a simulation of the tenant.
func (s *Store) Simulation(ctx context.Context, tenantID, id string) (engine.Simulation, error) {
	return s.oneSimulation(ctx, "reading a simulation", s.read, tenantID, id, func(t *tx, row *simulationRow) error {
		return t.one(ctx, row, selectSimulation, tenantID, id)
	})
}

// oneSimulation runs f, which reads the row of one simulation, in a
// transaction.
func (s *Store) oneSimulation(
	ctx context.Context, doing string, transact func(context.Context, string, func(*tx) error) error,
	tenantID, id string, f func(*tx, *simulationRow) error,
) (simulation engine.Simulation, err error) {
	if !wellFormedUUID(id) {
		return engine.Simulation{}, fmt.Errorf("%s: %w", doing, engine.ErrNotFound)
	}
	err = transact(ctx, tenantID, func(t *tx) error {
		var row simulationRow
		if err := f(t, &row); err != nil {
			return err
		}
		simulation, err = row.simulation()
		return err
	})
	if err != nil {
		return engine.Simulation{}, fmt.Errorf("%s: %w", doing, err)
	}
	return simulation, nil
}

const selectSimulations = `
SELECT id, tenant_id, environment, status, title, prompt, tags, scenario_id, metadata, states, error_log, created_at, updated_at
FROM simulations
WHERE tenant_id = $1
    AND (cardinality($2::text[]) = 0 OR environment = ANY ($2))
    AND ($3::text = '' OR status = $3)
    AND ($4::text = '' OR tags @> ARRAY[$4])
    AND ($5::uuid IS NULL OR scenario_id = $5)
    AND ($6::timestamptz IS NULL OR created_at > $6)
    AND ($7::timestamptz IS NULL OR created_at < $7)
ORDER BY created_at DESC, id DESC
LIMIT $8 OFFSET $9`

const countSimulations = `
SELECT count(*)
FROM simulations
WHERE tenant_id = $1
    AND (cardinality($2::text[]) = 0 OR environment = ANY ($2))
    AND ($3::text = '' OR status = $3)
    AND ($4::text = '' OR tags @> ARRAY[$4])
    AND ($5::uuid IS NULL OR scenario_id = $5)
    AND ($6::timestamptz IS NULL OR created_at > $6)
    AND ($7::timestamptz IS NULL OR created_at < $7)`

// Simulations lists the tenant's simulations that the filter selects, newest
// first, and counts them all. WhatIf, Trace, Config, Metrics and Analysis are
// nil in a list: they can be large, and no list shows them.
func (s *Store) Simulations(
	ctx context.Context, tenantID string, filter engine.SimulationFilter, page engine.Page,
) (simulations []engine.Simulation, total int, err error) {
	if filter.ScenarioID != "" && !wellFormedUUID(filter.ScenarioID) {
		return nil, 0, nil
	}
	limit, offset := window(page)
	args := filterArgs(tenantID, &filter)
	err = s.list(ctx, tenantID, func(t *tx) error {
		var rows []simulationRow
		if err := t.all(ctx, &rows, selectSimulations, append(args[:len(args):len(args)], limit, offset)...); err != nil {
			return err
		}
		if err := t.one(ctx, &total, countSimulations, args...); err != nil {
			return err
		}
		simulations, err = convert(rows, (*simulationRow).simulation)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing simulations: %w", err)
	}
	return simulations, total, nil
}

// filterArgs are the first seven parameters of a list.
func filterArgs(tenantID string, f *engine.SimulationFilter) []any {
	var scenarioID *string
	if f.ScenarioID != "" {
		scenarioID = &f.ScenarioID
	}
	return []any{
		tenantID, names(f.Environments), string(f.Status), f.Tag, scenarioID, null(f.CreatedAfter), null(f.CreatedBefore),
	}
}

const configureSimulation = `
UPDATE simulations
SET status = 'COMPLETED_CONFIG', config = $3, metrics = NULL, analysis = NULL, error_log = '',
    states = states || $4::jsonb, updated_at = $5
WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, environment, status, title, prompt, tags, scenario_id, metadata, what_if, trace,
    config, metrics, analysis, states, error_log, created_at, updated_at`

// ConfigureSimulation gives a simulation a config, clears metrics, analysis
// and error, and appends COMPLETED_CONFIG to its states.
func (s *Store) ConfigureSimulation(
	ctx context.Context, tenantID, id string, config []byte, at time.Time,
) (engine.Simulation, error) {
	return s.oneSimulation(ctx, "configuring a simulation", s.write, tenantID, id, func(t *tx, row *simulationRow) error {
		state, err := statesJSON([]engine.SimulationState{{Name: engine.SimulationCompletedConfig, At: at.UTC()}})
		if err != nil {
			return err
		}
		return t.one(ctx, row, configureSimulation, tenantID, id, rawJSON(config), state, at)
	})
}

const restartSimulation = `
UPDATE simulations
SET status = 'PENDING', config = NULL, metrics = NULL, analysis = NULL, error_log = '',
    prompt = COALESCE(NULLIF($3, ''), prompt), states = states || $4::jsonb, updated_at = $5
WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, environment, status, title, prompt, tags, scenario_id, metadata, what_if, trace,
    config, metrics, analysis, states, error_log, created_at, updated_at`

// RestartSimulation clears config, metrics, analysis and error, sets the
// prompt if it is not "", and puts the simulation back to PENDING, which it
// appends to its states.
func (s *Store) RestartSimulation(
	ctx context.Context, tenantID, id, prompt string, at time.Time,
) (engine.Simulation, error) {
	return s.oneSimulation(ctx, "restarting a simulation", s.write, tenantID, id, func(t *tx, row *simulationRow) error {
		state, err := statesJSON([]engine.SimulationState{{Name: engine.SimulationPending, At: at.UTC()}})
		if err != nil {
			return err
		}
		return t.one(ctx, row, restartSimulation, tenantID, id, prompt, state, at)
	})
}

const deleteSimulation = `
DELETE FROM simulations
WHERE tenant_id = $1 AND id = $2`

// DeleteSimulation deletes a simulation.
func (s *Store) DeleteSimulation(ctx context.Context, tenantID, id string) error {
	err := engine.ErrNotFound
	if wellFormedUUID(id) {
		err = s.write(ctx, tenantID, func(t *tx) error { return t.execOne(ctx, deleteSimulation, tenantID, id) })
	}
	if err != nil {
		return fmt.Errorf("deleting a simulation: %w", err)
	}
	return nil
}
