package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/twyn/twyn/engine"
)

// scenarioRow is a row of scenarios.
type scenarioRow struct {
	ID          string    `db:"id"`
	TenantID    string    `db:"tenant_id"`
	Environment string    `db:"environment"`
	Name        string    `db:"name"`
	Description string    `db:"description"`
	CreatedAt   time.Time `db:"created_at"`
	UpdatedAt   time.Time `db:"updated_at"`
}

func (r *scenarioRow) scenario() (engine.Scenario, error) {
	return engine.Scenario{
		ID: r.ID, TenantID: r.TenantID, Environment: engine.Environment(r.Environment), Name: r.Name,
		Description: r.Description, CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}, nil
}

const insertScenario = `
INSERT INTO scenarios (tenant_id, id, environment, name, description, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)`

// CreateScenario stores the scenario and, if idem is not nil, the answer in
// idem with it. If idem's key was used before it stores nothing and returns
// the earlier answer, also if its fingerprint is another.
func (s *Store) CreateScenario(
	ctx context.Context, scenario engine.Scenario, idem *engine.Idempotency,
) (earlier *engine.Idempotency, err error) {
	earlier, err = s.create(ctx, scenario.TenantID, idem, func(t *tx) error {
		_, err := t.exec(ctx, insertScenario, scenario.TenantID, scenario.ID, string(scenario.Environment), scenario.Name,
			scenario.Description, scenario.CreatedAt, scenario.UpdatedAt)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("creating a scenario: %w", err)
	}
	return earlier, nil
}

const selectScenario = `
SELECT id, tenant_id, environment, name, description, created_at, updated_at
FROM scenarios
WHERE tenant_id = $1 AND id = $2`

// Scenario returns a scenario of the tenant.
func (s *Store) Scenario(ctx context.Context, tenantID, id string) (engine.Scenario, error) {
	return s.oneScenario(ctx, "reading a scenario", s.read, tenantID, id, func(t *tx, row *scenarioRow) error {
		return t.one(ctx, row, selectScenario, tenantID, id)
	})
}

// oneScenario runs f, which reads the row of one scenario, in a transaction.
func (s *Store) oneScenario(
	ctx context.Context, doing string, transact func(context.Context, string, func(*tx) error) error,
	tenantID, id string, f func(*tx, *scenarioRow) error,
) (scenario engine.Scenario, err error) {
	if !wellFormedUUID(id) {
		return engine.Scenario{}, fmt.Errorf("%s: %w", doing, engine.ErrNotFound)
	}
	err = transact(ctx, tenantID, func(t *tx) error {
		var row scenarioRow
		if err := f(t, &row); err != nil {
			return err
		}
		scenario, err = row.scenario()
		return err
	})
	if err != nil {
		return engine.Scenario{}, fmt.Errorf("%s: %w", doing, err)
	}
	return scenario, nil
}

const selectScenarios = `
SELECT id, tenant_id, environment, name, description, created_at, updated_at
FROM scenarios
WHERE tenant_id = $1 AND environment = ANY ($2)
ORDER BY created_at DESC, id DESC
LIMIT $3 OFFSET $4`

const countScenarios = `
SELECT count(*)
FROM scenarios
WHERE tenant_id = $1 AND environment = ANY ($2)`

// Scenarios lists the tenant's scenarios of the given environments, newest
// first, and counts them all.
func (s *Store) Scenarios(
	ctx context.Context, tenantID string, environments []engine.Environment, page engine.Page,
) (scenarios []engine.Scenario, total int, err error) {
	limit, offset := window(page)
	err = s.list(ctx, tenantID, func(t *tx) error {
		var rows []scenarioRow
		if err := t.all(ctx, &rows, selectScenarios, tenantID, names(environments), limit, offset); err != nil {
			return err
		}
		if err := t.one(ctx, &total, countScenarios, tenantID, names(environments)); err != nil {
			return err
		}
		scenarios, err = convert(rows, (*scenarioRow).scenario)
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("listing scenarios: %w", err)
	}
	return scenarios, total, nil
}

const updateScenario = `
UPDATE scenarios
SET name = $3, description = $4, updated_at = $5
WHERE tenant_id = $1 AND id = $2
RETURNING id, tenant_id, environment, name, description, created_at, updated_at`

// UpdateScenario replaces what a client may set of a scenario and returns its
// new state.
func (s *Store) UpdateScenario(
	ctx context.Context, tenantID, id string, change engine.ScenarioChange, at time.Time,
) (engine.Scenario, error) {
	return s.oneScenario(ctx, "changing a scenario", s.write, tenantID, id, func(t *tx, row *scenarioRow) error {
		return t.one(ctx, row, updateScenario, tenantID, id, change.Name, change.Description, at)
	})
}

const lockScenario = `
SELECT id, tenant_id, environment, name, description, created_at, updated_at
FROM scenarios
WHERE tenant_id = $1 AND id = $2
FOR UPDATE`

const detachSimulations = `
UPDATE simulations
SET scenario_id = NULL, updated_at = $3
WHERE tenant_id = $1 AND scenario_id = $2`

const deleteScenario = `
DELETE FROM scenarios
WHERE tenant_id = $1 AND id = $2`

// DeleteScenario deletes a scenario and keeps its simulations, changed at at,
// whose ScenarioID becomes "".
func (s *Store) DeleteScenario(ctx context.Context, tenantID, id string, at time.Time) error {
	err := engine.ErrNotFound
	if wellFormedUUID(id) {
		err = s.write(ctx, tenantID, func(t *tx) error { return t.deleteScenario(ctx, tenantID, id, at) })
	}
	if err != nil {
		return fmt.Errorf("deleting a scenario: %w", err)
	}
	return nil
}

func (t *tx) deleteScenario(ctx context.Context, tenantID, id string, at time.Time) error {
	// The lock keeps new simulations out of the scenario until it is gone.
	var row scenarioRow
	if err := t.one(ctx, &row, lockScenario, tenantID, id); err != nil {
		return err
	}
	if _, err := t.exec(ctx, detachSimulations, tenantID, id, at); err != nil {
		return err
	}
	return t.execOne(ctx, deleteScenario, tenantID, id)
}
