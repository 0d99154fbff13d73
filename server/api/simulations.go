package api

import "encoding/json"

// Simulation is a simulation without its config and results.
type Simulation struct {
	ID          string          `json:"id"`
	Status      string          `json:"status"`
	Title       string          `json:"title"`
	Prompt      string          `json:"prompt"`
	Tags        []string        `json:"tags"`
	TenantID    string          `json:"tenant_id"`
	ScenarioID  *string         `json:"scenario_id"`
	Environment string          `json:"environment"`
	Metadata    json.RawMessage `json:"metadata"`
	CreatedAt   Time            `json:"created_at"`
	UpdatedAt   Time            `json:"updated_at"`
	Lifecycle   Lifecycle       `json:"lifecycle"`
	ErrorLog    string          `json:"error_log,omitempty"`
}

// Lifecycle is the life of a simulation so far.
type Lifecycle struct {
	States []State `json:"states"`
}

// State is a status and when the simulation took it.
type State struct {
	Name string `json:"name"`
	At   Time   `json:"at"`
}

// Results answers GET /v1/simulations/{id}/results.
type Results struct {
	ID             string          `json:"id"`
	Status         string          `json:"status"`
	Title          string          `json:"title"`
	Prompt         string          `json:"prompt"`
	Tags           []string        `json:"tags"`
	TenantID       string          `json:"tenant_id"`
	ResultsVersion int             `json:"results_version"`
	Config         json.RawMessage `json:"config"`
	Metrics        json.RawMessage `json:"metrics"`
	Analysis       json.RawMessage `json:"analysis"`
}
