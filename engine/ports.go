package engine

import (
	"context"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// Identity is what a digest leads to: the key, its tenant, and until when the
// secret itself is good (a rotated secret ends before its key does).
type Identity struct {
	Principal

	Digest Digest
	// NotAfter is when this secret ends; zero: with the key.
	NotAfter time.Time
}

// Keys finds API keys. It returns ErrNotFound for a digest that belongs to no
// key and an error that wraps ErrUnavailable if the answer is not known.
// Disabled and expired keys are found; the engine judges them. The Identity is
// shared; callers do not change it.
type Keys interface {
	FindKey(ctx context.Context, digest Digest) (*Identity, error)
}

// Resources finds who owns a resource, whatever tenant asks. It returns
// ErrNotFound for an id that does not exist or is not well formed and an error
// that wraps ErrUnavailable if the answer is not known.
type Resources interface {
	FindResource(ctx context.Context, target Target) (Resource, error)
}

// Policy judges an authenticated request. An error, whatever its cause, makes
// the decision a Deny: with ReasonPolicyTimeout if it wraps ErrPolicyTimeout,
// else with ReasonPolicyError.
type Policy interface {
	Judge(ctx context.Context, question Question) (Judgement, error)
}

// Judgement is what a policy says. It may be shared; callers do not change it.
type Judgement struct {
	Allow bool
	// Reasons says why; a denial without any is given a general one.
	Reasons []Reason
	// Limits are the limits that apply, whether or not the request is
	// allowed. An allowed request without limits falls under the key's
	// rate limit.
	Limits []PolicyLimit
	// Revision names the policy.
	Revision string
}

// PolicyLimit is a limit as a policy states it.
type PolicyLimit struct {
	quota.Limit

	// Scope says who counts together.
	Scope LimitScope
	// Cost multiplies the request's cost under this limit; 0 means 1.
	Cost int64
}

// LimitScope says whose requests count together under a limit.
type LimitScope string

// The scopes of a limit.
const (
	PerKey         LimitScope = "key"
	PerTenant      LimitScope = "tenant"
	PerEnvironment LimitScope = "environment" // a tenant's live or test keys
)

// Recorder learns of every decision. It must not block and must not keep the
// pointers beyond the call.
type Recorder interface {
	Record(ctx context.Context, request *Request, decision *Decision)
}
