package engine

import (
	"encoding/json"
	"time"
)

// SimulationStatus is where a simulation stands in its life.
type SimulationStatus string

// The statuses, in the order in which a simulation passes them. Failed can
// follow any Processing status.
const (
	SimulationPending              SimulationStatus = "PENDING"
	SimulationProcessingConfig     SimulationStatus = "PROCESSING_CONFIG"
	SimulationCompletedConfig      SimulationStatus = "COMPLETED_CONFIG"
	SimulationProcessingSimulation SimulationStatus = "PROCESSING_SIMULATION"
	SimulationCompletedSimulation  SimulationStatus = "COMPLETED_SIMULATION"
	SimulationProcessingAnalysis   SimulationStatus = "PROCESSING_ANALYSIS"
	SimulationCompletedAnalysis    SimulationStatus = "COMPLETED_ANALYSIS"
	SimulationFailed               SimulationStatus = "FAILED"
)

// SimulationStatuses lists every status in order.
func SimulationStatuses() []SimulationStatus {
	return []SimulationStatus{
		SimulationPending, SimulationProcessingConfig, SimulationCompletedConfig,
		SimulationProcessingSimulation, SimulationCompletedSimulation,
		SimulationProcessingAnalysis, SimulationCompletedAnalysis, SimulationFailed,
	}
}

// SimulationState is one entry of a simulation's life so far.
type SimulationState struct {
	Name SimulationStatus `json:"name"`
	At   time.Time        `json:"at"`
}

// Simulation is API traffic to be played through the engine. The JSON fields
// hold what the HTTP contract describes, already validated.
type Simulation struct {
	ID          string // UUID
	TenantID    string
	Environment Environment
	Status      SimulationStatus
	Title       string
	Prompt      string
	Tags        []string
	ScenarioID  string          // "": none
	Metadata    json.RawMessage // a JSON object
	WhatIf      json.RawMessage // a JSON object, nil: none
	Trace       json.RawMessage // a JSON value, nil: none
	Config      json.RawMessage // a JSON object, nil: not made yet
	Metrics     json.RawMessage // nil: not run yet
	Analysis    json.RawMessage // nil: not analysed yet
	States      []SimulationState
	ErrorLog    string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}
