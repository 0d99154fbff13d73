package engine

import "time"

// PlatformTenantID is the tenant of the operators. It exists from the first
// migration; only its keys may hold operator scopes.
const PlatformTenantID = "platform"

// Tenant is an organisation. Every key, scenario and simulation has one.
type Tenant struct {
	ID        string
	Name      string
	Active    bool
	CreatedAt time.Time
}

// Environment separates test traffic from live traffic inside a tenant.
type Environment string

// The environments. A test key sees and touches test resources only.
const (
	Live Environment = "live"
	Test Environment = "test"
)

// Valid reports whether e is one of the environments.
func (e Environment) Valid() bool { return e == Live || e == Test }

// Visible lists the environments whose resources a key of environment e sees:
// a live key both, a test key its own.
func (e Environment) Visible() []Environment {
	if e == Live {
		return []Environment{Live, Test}
	}
	return []Environment{Test}
}
