package postgres

import (
	"context"
	"fmt"

	"github.com/twyn/twyn/engine"
)

// resourceRow is whose a resource is.
type resourceRow struct {
	TenantID    string `db:"tenant_id"`
	Environment string `db:"environment"`
}

const findKeyOwner = `
SELECT tenant_id, environment
FROM keys
WHERE id = $1`

const findScenarioOwner = `
SELECT tenant_id, environment
FROM scenarios
WHERE id = $1`

const findSimulationOwner = `
SELECT tenant_id, environment
FROM simulations
WHERE id = $1`

// A tenant is its own, in no environment.
const findTenantOwner = `
SELECT id AS tenant_id, '' AS environment
FROM tenants
WHERE id = $1`

const findDecisionOwner = `
SELECT tenant_id, environment
FROM decisions
WHERE id = $1`

// A policy revision is the platform's, in no environment.
const findPolicyOwner = `
SELECT 'platform' AS tenant_id, '' AS environment
FROM policies
WHERE id = $1`

// FindResource returns whose a key, scenario, simulation, decision, policy or tenant is,
// whatever tenant asks. An id that is not well formed is engine.ErrNotFound; a
// type that is not known is a defect.
func (s *Store) FindResource(ctx context.Context, target engine.Target) (engine.Resource, error) {
	var statement string
	var wellFormed bool
	switch target.Type {
	case "key":
		statement, wellFormed = findKeyOwner, wellFormedKeyID(target.ID)
	case "scenario":
		statement, wellFormed = findScenarioOwner, wellFormedUUID(target.ID)
	case "simulation":
		statement, wellFormed = findSimulationOwner, wellFormedUUID(target.ID)
	case "decision":
		statement = findDecisionOwner
		_, wellFormed = engine.ParseDecisionID(target.ID)
	case "policy":
		statement, wellFormed = findPolicyOwner, wellFormedName(target.ID, "rev_")
	case "tenant":
		statement, wellFormed = findTenantOwner, wellFormedTenantID(target.ID)
	default:
		return engine.Resource{}, fmt.Errorf("finding whose a resource is: type %q is not known", target.Type)
	}
	var row resourceRow
	err := engine.ErrNotFound
	if wellFormed {
		err = s.readSystem(ctx, func(t *tx) error { return t.one(ctx, &row, statement, target.ID) })
	}
	if err != nil {
		return engine.Resource{}, fmt.Errorf("finding whose a %s is: %w", target.Type, err)
	}
	return engine.Resource{
		Type: target.Type, ID: target.ID, TenantID: row.TenantID, Environment: engine.Environment(row.Environment),
	}, nil
}
