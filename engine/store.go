package engine

import (
	"time"
)

// This file holds the words in which the stores of keys, tenants, scenarios
// and simulations are spoken to. The interfaces themselves sit with their
// consumers; server/postgres implements them.

// Page selects a part of a list.
type Page struct {
	Limit  int
	Offset int
}

// KeyChange changes the parts of a Key that are not nil.
type KeyChange struct {
	Name      *string
	Active    *bool
	RateLimit *int64
	ExpiresAt *time.Time // the zero time: never
	Scopes    *Scopes
	Metadata  *map[string]any
}

// ScenarioChange replaces what a client may set of a Scenario.
type ScenarioChange struct {
	Name        string
	Description string
}

// SimulationFilter selects simulations; zero fields select everything.
type SimulationFilter struct {
	Environments  []Environment
	Status        SimulationStatus
	Tag           string
	ScenarioID    string
	CreatedAfter  time.Time // exclusive
	CreatedBefore time.Time // exclusive
}

// Idempotency lets a client repeat a POST that creates something: the first
// answer is kept with what it created, in one transaction, and replayed.
type Idempotency struct {
	// Key is the client's Idempotency-Key, unique per tenant, environment
	// and Route.
	Key         string
	Environment Environment
	Route       string
	// Fingerprint is a digest of the request body; the same Key with another
	// one is a mistake of the client.
	Fingerprint Digest
	// Status and Body are the answer.
	Status int
	Body   []byte
	// CreatedAt is when it was first given, ExpiresAt when it is forgotten.
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Usage is what one key used since it was last written down.
type Usage struct {
	TenantID   string
	KeyID      string
	Count      int64
	LastUsedAt time.Time
}
