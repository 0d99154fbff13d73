package plan

import (
	"errors"
	"fmt"
)

var (
	// ErrBudget is what a *BudgetError wraps: an evaluation went over one of
	// its limits.
	ErrBudget = errors.New("evaluation budget exceeded")
	// ErrPanic means that an evaluation panicked. The program stays usable.
	ErrPanic = errors.New("evaluation panicked")
)

// UnsupportedError says that a policy cannot be compiled to the letter of what
// the interpreter does, so that the interpreter has to run it.
type UnsupportedError struct {
	// What names the construct, such as "with on data".
	What string
	// File, Row and Col are where it stands; File is "" and the others are 0 if
	// the place is not known.
	File     string
	Row, Col int
}

// Error returns file:row:col and what is not supported.
func (e *UnsupportedError) Error() string {
	if e.File == "" {
		return "not supported by compiled evaluation: " + e.What
	}
	return fmt.Sprintf("%s:%d:%d: not supported by compiled evaluation: %s", e.File, e.Row, e.Col, e.What)
}

// BudgetError says which limit of Options an evaluation went over, and where.
type BudgetError struct {
	// Limit is "steps" or "bytes".
	Limit string
	// Max is the value of that limit.
	Max int64
}

// Error names the limit and its value.
func (e *BudgetError) Error() string {
	return fmt.Sprintf("%v: more than %d %s", ErrBudget, e.Max, e.Limit)
}

// Unwrap returns ErrBudget.
func (e *BudgetError) Unwrap() error { return ErrBudget }
