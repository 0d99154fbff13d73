package policies

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
)

// The errors of Judge. None of them is an allow.
var (
	// ErrUndefined means that the policy has no decision on the input.
	ErrUndefined = errors.New("policy decision is undefined")
	// ErrMalformed means that the policy's decision is not a decision
	// document.
	ErrMalformed = errors.New("malformed policy decision")
	// ErrEvaluation means that the evaluation failed: a built-in function
	// had an error, rules contradict each other, or it was interrupted. In
	// the latter case the error wraps the context's error too.
	ErrEvaluation = errors.New("evaluating policy")
	// ErrBudget means that the evaluation used up the time or the work that
	// one may take. Errors that wrap it wrap ErrEvaluation too.
	ErrBudget = fmt.Errorf("evaluation budget exceeded: %w", engine.ErrPolicyTimeout)
)

// Problem is one mistake in the files of a policy.
type Problem struct {
	// File is the path of the file, behind Options.Root if there is one; ""
	// if the problem is about the files as a whole.
	File string
	// Row and Col count from 1; 0 if the place in the file is not known.
	Row, Col int
	// Message says what is wrong.
	Message string
}

// String returns file:row:col and the message.
func (p Problem) String() string {
	switch {
	case p.File == "":
		return p.Message
	case p.Row == 0:
		return p.File + ": " + p.Message
	default:
		return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Row, p.Col, p.Message)
	}
}

// CompileError is the error of Load for files that do not make a policy.
type CompileError struct {
	// Problems has at least one entry, in the order of their places.
	Problems []Problem
}

// Error returns all problems, one per line.
func (e *CompileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return "policies do not compile: " + strings.Join(lines, "\n")
}

// newCompileError makes a CompileError of problems in the order of their
// places, each named once.
func newCompileError(problems ...Problem) *CompileError {
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Message, b.Message))
	})
	return &CompileError{Problems: slices.Compact(problems)}
}

// problemsOf turns what OPA's parser or compiler says into problems; file is
// the place if OPA does not name one.
func problemsOf(file string, err error) []Problem {
	var many ast.Errors
	if !errors.As(err, &many) {
		var one *ast.Error
		if !errors.As(err, &one) {
			return []Problem{{File: file, Message: err.Error()}}
		}
		many = ast.Errors{one}
	}
	problems := make([]Problem, 0, len(many))
	for _, e := range many {
		p := Problem{File: file, Message: e.Code + ": " + e.Message}
		if e.Location != nil {
			p.Row, p.Col = e.Location.Row, max(1, e.Location.Col) // 0 at the end of a file
			if e.Location.File != "" {
				p.File = e.Location.File
			}
		}
		if e.Details != nil {
			for _, line := range e.Details.Lines() {
				p.Message += "\n\t" + line
			}
		}
		problems = append(problems, p)
	}
	return problems
}
