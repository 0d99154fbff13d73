package engine

import "errors"

// The errors that ports return and callers test with errors.Is.
var (
	// ErrNotFound means that the thing asked for does not exist.
	ErrNotFound = errors.New("not found")
	// ErrUnavailable means that a store is away and the answer is not known.
	ErrUnavailable = errors.New("store unavailable")
	// ErrConflict means that the change contradicts the present state.
	ErrConflict = errors.New("conflict")
	// ErrPolicyTimeout means that a policy used up what one evaluation may
	// take.
	ErrPolicyTimeout = errors.New("policy took too long")
)
