package quota

import (
	"context"
	"errors"
	"time"
)

// Ledger keeps what was used of every limit. It is safe for concurrent use.
//
// Memory, PostgreSQL and Redis implement it; enginetest.TestLedger holds all
// of them to one behaviour.
type Ledger interface {
	// Reserve takes the cost of every claim, or, if one limit refuses, takes
	// nothing at all. It fills verdicts, which must be as long as claims,
	// and reports whether all claims were admitted. An error means that the
	// answer is not known; nothing was admitted then.
	Reserve(ctx context.Context, at time.Time, claims []Claim, verdicts []Verdict) (bool, error)
	// Peek fills verdicts as Reserve would for a cost of 0: what is left of
	// each limit now. It takes nothing.
	Peek(ctx context.Context, at time.Time, claims []Claim, verdicts []Verdict) error
}

// ErrUnavailable means that the ledger's store cannot be reached, so that the
// answer to a claim is not known. It is never an allow.
var ErrUnavailable = errors.New("quota ledger unavailable")

// ErrInvalidClaim is wrapped by the errors for claims that cannot be counted:
// a negative cost, the same counter twice in one call, a time before 1970 or
// after 2199, verdicts of another length than the claims. A limit that cannot
// be counted is ErrInvalidLimit.
var ErrInvalidClaim = errors.New("invalid claim")

// CounterID identifies the state of one limit of one subject. A limit that
// changes its algorithm or window is another counter; one that changes its
// number is the same, so that the change acts on the running window.
type CounterID struct {
	TenantID  string
	Subject   string
	Name      string
	Algorithm Algorithm
	Window    time.Duration
}

// Record is the stored state of a counter. State is opaque to stores.
type Record struct {
	ID    CounterID
	State []byte
	// ExpiresAt is when the state no longer matters and may be deleted.
	ExpiresAt time.Time
}

// Store keeps the counters of a Durable ledger. Its errors mean that the
// answer is not known.
type Store interface {
	// LoadCounters returns the records that exist among ids, in any order.
	LoadCounters(ctx context.Context, ids []CounterID) ([]Record, error)
	// SaveCounters writes all records or none. No id occurs twice.
	SaveCounters(ctx context.Context, records []Record) error
}
