package server

import (
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/twyn/twyn/engine"
)

// The stores the API needs. server/postgres implements them all. Each method
// works for one tenant and sees nothing of any other; a thing that does not
// exist there is engine.ErrNotFound, a store that is away an error that wraps
// engine.ErrUnavailable.

// Decider decides requests; *engine.Engine is one.
type Decider interface {
	Decide(ctx context.Context, request *engine.Request) (engine.Decision, error)
}

// KeyStore keeps API keys. Lists are newest first.
type KeyStore interface {
	CreateKey(ctx context.Context, key engine.Key, secret engine.Digest) error
	Key(ctx context.Context, tenantID, keyID string) (engine.Key, error)
	// Keys lists the keys of the given environments and counts them all.
	Keys(ctx context.Context, tenantID string, environments []engine.Environment, page engine.Page) (keys []engine.Key, total int, err error)
	UpdateKey(ctx context.Context, tenantID, keyID string, change engine.KeyChange) (engine.Key, error)
	DeleteKey(ctx context.Context, tenantID, keyID string) error
	// RotateKey gives the key a new secret. Every older secret ends at
	// oldEnds, or sooner where it or the key would have ended sooner.
	RotateKey(ctx context.Context, tenantID, keyID string, secret engine.Digest, oldEnds time.Time) (engine.Key, error)
}

// TenantStore keeps tenants. Only operators reach it.
type TenantStore interface {
	// CreateTenant makes a tenant and its first key together.
	CreateTenant(ctx context.Context, tenant engine.Tenant, first engine.Key, secret engine.Digest) error
	Tenant(ctx context.Context, tenantID string) (engine.Tenant, error)
	// Tenants lists tenants, newest first, and counts them all.
	Tenants(ctx context.Context, page engine.Page) (tenants []engine.Tenant, total int, err error)
	// SetTenantActive disables or enables a tenant.
	SetTenantActive(ctx context.Context, tenantID string, active bool) (engine.Tenant, error)
}

// ScenarioStore keeps scenarios. Lists are newest first.
type ScenarioStore interface {
	// CreateScenario stores the scenario and, if idem is not nil, the answer
	// in idem with it. If idem's key was used before it stores nothing and
	// returns the earlier answer.
	CreateScenario(ctx context.Context, scenario engine.Scenario, idem *engine.Idempotency) (earlier *engine.Idempotency, err error)
	Scenario(ctx context.Context, tenantID, id string) (engine.Scenario, error)
	Scenarios(ctx context.Context, tenantID string, environments []engine.Environment, page engine.Page) (scenarios []engine.Scenario, total int, err error)
	UpdateScenario(ctx context.Context, tenantID, id string, change engine.ScenarioChange, at time.Time) (engine.Scenario, error)
	// DeleteScenario deletes the scenario and keeps its simulations, whose
	// ScenarioID becomes "".
	DeleteScenario(ctx context.Context, tenantID, id string, at time.Time) error
}

// SimulationStore keeps simulations. Lists are newest first.
type SimulationStore interface {
	// CreateSimulation is to simulations what CreateScenario is to scenarios.
	CreateSimulation(ctx context.Context, simulation engine.Simulation, idem *engine.Idempotency) (earlier *engine.Idempotency, err error)
	Simulation(ctx context.Context, tenantID, id string) (engine.Simulation, error)
	Simulations(ctx context.Context, tenantID string, filter engine.SimulationFilter, page engine.Page) (simulations []engine.Simulation, total int, err error)
	// ConfigureSimulation gives the simulation a config, clears metrics,
	// analysis and error, and appends COMPLETED_CONFIG to its states.
	ConfigureSimulation(ctx context.Context, tenantID, id string, config []byte, at time.Time) (engine.Simulation, error)
	// RestartSimulation clears config, metrics, analysis and error, sets the
	// prompt if it is not "", and puts the simulation back to PENDING.
	RestartSimulation(ctx context.Context, tenantID, id, prompt string, at time.Time) (engine.Simulation, error)
	DeleteSimulation(ctx context.Context, tenantID, id string) error
}

// DecisionStore keeps the decision log. Lists are newest first.
type DecisionStore interface {
	Decision(ctx context.Context, tenantID, id string) (engine.DecisionRecord, error)
	// Decisions lists records without their inputs.
	Decisions(ctx context.Context, tenantID string, filter engine.DecisionFilter) ([]engine.DecisionRecord, error)
}

// Explainer asks a revision of the policies again and tells which rules held.
// A revision that it does not have is engine.ErrNotFound.
type Explainer interface {
	Explain(ctx context.Context, revision string, input json.RawMessage) ([]engine.Explanation, error)
}

// UsageCounter keeps usage_count and last_used_at. Flush writes what is still
// in memory, so that a read that follows is exact.
type UsageCounter interface {
	Flush(ctx context.Context) error
}

// Revoker makes every cache drop what it knows of a key or a tenant. When it
// has returned, no decision is made on the old state.
type Revoker interface {
	RevokeKey(ctx context.Context, tenantID, keyID string) error
	RevokeTenant(ctx context.Context, tenantID string) error
}

// Pinger tells whether the store answers.
type Pinger interface {
	Ping(ctx context.Context) error
}

// PolicyDesk is where operators hand policies in, make them live and take them
// back; *policies.Desk is one. What cannot go live is an
// *engine.PolicyRefusedError.
type PolicyDesk interface {
	// Unpack returns the files of an OPA bundle, for Submit.
	Unpack(r io.Reader) (map[string]string, error)
	// Submit checks a revision and keeps it as a candidate.
	Submit(ctx context.Context, revision engine.PolicyRevision) (engine.PolicyRevision, error)
	Revision(ctx context.Context, id string) (engine.PolicyRevision, error)
	// Revisions lists revisions without their files, newest first.
	Revisions(ctx context.Context, page engine.Page) (revisions []engine.PolicyRevision, total int, err error)
	// Diff returns a unified diff of each file that differs, by path.
	Diff(ctx context.Context, from, to string) (map[string]string, error)
	Live(ctx context.Context) (engine.LivePolicy, error)
	Activate(ctx context.Context, id, by string, at time.Time) (engine.LivePolicy, error)
	// Rollback takes the revision from back, or whatever is live if it is "".
	Rollback(ctx context.Context, from, by string, at time.Time) (engine.LivePolicy, error)
	Evaluate(ctx context.Context, id string, input *engine.Input, explain bool) (engine.PolicyEvaluation, error)
	// Data returns the data documents at a path, all of them for "".
	Data(ctx context.Context, path string) (engine.PolicyData, error)
	PutData(ctx context.Context, path string, document json.RawMessage, by string, at time.Time) (engine.PolicyData, error)
	// PatchData merges a document into what is at a path (RFC 7396).
	PatchData(ctx context.Context, path string, patch json.RawMessage, by string, at time.Time) (engine.PolicyData, error)
}
