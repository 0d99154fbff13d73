package engine

import (
	"fmt"
	"slices"
	"strings"
)

// Scopes are what an API key may do: "RESOURCE:ACTION" such as "keys:read",
// "RESOURCE:*" for every action, or "*" for everything a tenant may do itself.
// "*" does not reach the operators' resources; those are named one by one.
type Scopes []string

// The resources that scopes speak of.
var (
	tenantResources   = [...]string{"keys", "scenarios", "simulations", "plugins", "decisions", "traces"}
	operatorResources = [...]string{"tenants", "policies"}
)

// IsOperatorScope reports whether the scope reaches the operators' resources.
func IsOperatorScope(scope string) bool {
	resource, _, _ := strings.Cut(scope, ":")
	return slices.Contains(operatorResources[:], resource)
}

// ValidateScope reports whether the scope is well formed and known.
func ValidateScope(scope string) error {
	if scope == "*" {
		return nil
	}
	resource, action, ok := strings.Cut(scope, ":")
	if !ok || (action != "read" && action != "write" && action != "*") ||
		(!slices.Contains(tenantResources[:], resource) && !slices.Contains(operatorResources[:], resource)) {
		return fmt.Errorf("unknown scope %q", scope)
	}
	return nil
}

// Covers reports whether s grants everything that scope grants.
func (s Scopes) Covers(scope string) bool {
	resource, _, _ := strings.Cut(scope, ":")
	for _, have := range s {
		switch {
		case have == scope, have == resource+":*":
			return true
		case have == "*" && scope != "*" && !IsOperatorScope(scope):
			return true
		}
	}
	return false
}

// CoversAll reports whether s grants everything that other grants, and if not,
// names the first scope it lacks.
func (s Scopes) CoversAll(other Scopes) (lacking string, ok bool) {
	for _, scope := range other {
		if !s.Covers(scope) {
			return scope, false
		}
	}
	return "", true
}
