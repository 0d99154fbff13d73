package engine

import "time"

// Scenario is a folder of simulations.
type Scenario struct {
	ID          string // UUID
	TenantID    string
	Environment Environment
	Name        string
	Description string
	CreatedAt   time.Time
	UpdatedAt   time.Time
}
