// Package quota holds limits: given what was used so far, a limit, a cost and a
// time, may this request pass, what is left, and when is the limit whole again.
//
// # Arithmetic
//
// Each algorithm stands in a file of its own and is pure: state, limit, cost
// and time in, verdict and new state out. algorithms.go lists them.
//
// # Ledgers
//
// ledger.go declares Ledger, the port that keeps their state. Memory keeps it
// in process; Durable keeps it in process and tells a Store in advance what may
// be used, so that a crash never gives anyone a fresh limit. Both stand on the
// same table of counters (table.go, call.go).
//
// # Time
//
// Nothing here reads a clock: the time of every call is the time of its
// request. Requests race each other, so a call whose time lies before what a
// counter has seen is judged at the time of the counter. A limit that was used
// in a time to come, because a clock ran ahead, is held until then.
//
// # Imports
//
// The package knows no HTTP and no storage and must import the standard library
// only.
package quota

import (
	"errors"
	"fmt"
	"time"
)

// Algorithm names how a limit counts.
type Algorithm string

// The algorithms a limit may name.
const (
	// FixedWindow opens a window with its first request, admits Limit units
	// in it, and forgets them all when the window ends.
	FixedWindow Algorithm = "fixed_window"
	// SlidingWindow admits at most Limit units in any span of Window.
	SlidingWindow Algorithm = "sliding_window"
	// TokenBucket refills at Limit units per Window and holds at most Burst
	// units (GCRA, the generic cell rate algorithm of ITU-T I.371).
	TokenBucket Algorithm = "token_bucket"
)

// Bounds of a limit. Outside them a limit is an error, never "no limit".
const (
	MaxLimit  = 1_000_000_000
	MaxWindow = 400 * 24 * time.Hour
	MinWindow = time.Second

	maxNameBytes = 64
)

// Limit is one limit as a policy or a plugin states it.
type Limit struct {
	// Name tells the limits of one subject apart, e.g. "key" or "burst".
	Name string
	// Limit is how many units of cost the window admits. 0 admits nothing.
	Limit int64
	// Window is the span the limit speaks of.
	Window time.Duration
	// Algorithm is how the limit counts.
	Algorithm Algorithm
	// Burst is the capacity of a token bucket; 0 means Limit. The other
	// algorithms ignore it.
	Burst int64
}

// ErrInvalidLimit is wrapped by every error of Limit.Validate.
var ErrInvalidLimit = errors.New("invalid limit")

// Validate reports whether the limit can be counted at all.
func (l Limit) Validate() error {
	switch {
	case l.Name == "" || len(l.Name) > maxNameBytes:
		return fmt.Errorf("%w: name %q: want 1 to %d bytes", ErrInvalidLimit, l.Name, maxNameBytes)
	case l.Limit < 0 || l.Limit > MaxLimit:
		return fmt.Errorf("%w %q: limit %d: want 0 to %d", ErrInvalidLimit, l.Name, l.Limit, int64(MaxLimit))
	case l.Window < MinWindow || l.Window > MaxWindow:
		return fmt.Errorf("%w %q: window %s: want %s to %s", ErrInvalidLimit, l.Name, l.Window, MinWindow, MaxWindow)
	case l.Burst < 0 || l.Burst > MaxLimit:
		return fmt.Errorf("%w %q: burst %d: want 0 to %d", ErrInvalidLimit, l.Name, l.Burst, int64(MaxLimit))
	}
	switch l.Algorithm {
	case FixedWindow, SlidingWindow, TokenBucket:
		return nil
	default:
		return fmt.Errorf("%w %q: algorithm %q: want fixed_window, sliding_window or token_bucket", ErrInvalidLimit, l.Name, l.Algorithm)
	}
}

// Claim asks one limit of one subject for Cost units.
type Claim struct {
	// TenantID is the tenant whose state this is. It separates tenants in
	// every store and is part of the identity of the counter.
	TenantID string
	// Subject is who counts together under the limit, e.g. "key:key_abc".
	Subject string
	Limit   Limit
	// Cost is how many units the request takes; at least 0.
	Cost int64
}

// Verdict is what one limit says to one claim.
type Verdict struct {
	// Name, Limit and Window repeat the limit that was judged.
	Name   string
	Limit  int64
	Window time.Duration
	// Admitted tells whether this limit alone would let the claim pass.
	Admitted bool
	// Remaining is what is left after the decision, never below 0.
	Remaining int64
	// Reset is when the limit is whole again if nothing more is taken. For
	// an unused limit it is the time of the claim plus the window.
	Reset time.Time
	// RetryAfter is how long the same claim has to wait; 0 if Admitted. A
	// claim that can never pass (its cost exceeds the limit) waits a window.
	RetryAfter time.Duration
}
