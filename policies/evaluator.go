package policies

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies/plan"
)

// Evaluator chooses what evaluates policies.
type Evaluator string

// The evaluators. They give the same decisions.
const (
	// Compiled runs policies as closures, on the parts of the input that they
	// can read. What cannot be compiled to do to the letter what the
	// interpreter does is interpreted.
	Compiled Evaluator = "compiled"
	// Interpreted runs OPA's interpreter alone.
	Interpreted Evaluator = "interpreted"
	// Both runs the two, compares, counts and logs differences, and answers
	// with the interpreter's.
	Both Evaluator = "both"
)

// DefaultTimeout is how long one evaluation may take if nothing else is said.
// It is time on the wall: what stops a runaway is the number of steps, and a
// machine that is short of processors must not deny what is merely waiting.
const DefaultTimeout = 500 * time.Millisecond

// maxSteps is how many expressions one evaluation may take, whatever the time.
const maxSteps = 10_000_000

// evaluate returns the decision document for an input, or nil if it is
// undefined.
func (s *Set) evaluate(ctx context.Context, input *engine.Input) (ast.Value, error) {
	if s.program != nil && s.options.Evaluator == Both {
		return s.evaluateBoth(ctx, input)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Timeout, ErrBudget)
	defer cancel()
	if s.program == nil {
		return s.interpret(ctx, input)
	}
	compiled, err := s.run(ctx, input)
	if err == nil {
		return compiled, nil
	}
	switch ended := s.endedBy(ctx, err); {
	case ended != nil:
		return nil, ended
	default:
		// The interpreter has a value for some policies that fail
		// compiled, and the better message for all others.
		return s.interpret(ctx, input)
	}
}

// evaluateBoth gives each evaluator the whole time and answers with the
// interpreter's value.
func (s *Set) evaluateBoth(ctx context.Context, input *engine.Input) (ast.Value, error) {
	first, cancelFirst := context.WithTimeoutCause(ctx, s.options.Timeout, ErrBudget)
	defer cancelFirst()
	compiled, compiledErr := s.run(first, input)
	second, cancelSecond := context.WithTimeoutCause(ctx, s.options.Timeout, ErrBudget)
	defer cancelSecond()
	interpreted, err := s.interpret(second, input)
	if compiledErr == nil && !errors.Is(err, ErrBudget) && ctx.Err() == nil {
		s.compare(ctx, input, compiled, interpreted, err)
	}
	return interpreted, err
}

// run evaluates the compiled policy on the parts of the input that it can read.
func (s *Set) run(ctx context.Context, input *engine.Input) (ast.Value, error) {
	s.options.Stats.compiled.Add(1)
	value, err := s.parts.inputValue(input)
	if err != nil {
		return nil, err
	}
	return s.program.Eval(ctx, value, s.data)
}

// interpret evaluates with OPA's interpreter, which is the authority and so gets
// the whole input.
func (s *Set) interpret(ctx context.Context, input *engine.Input) (ast.Value, error) {
	s.options.Stats.interpreted.Add(1)
	value, err := inputValue(input)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	watch := &contextCancel{done: ctx.Done(), steps: maxSteps}
	results, err := s.query.Eval(ctx,
		rego.EvalParsedInput(value),
		rego.EvalTransaction(s.txn),
		rego.EvalTime(time.Unix(0, input.Request.Time)),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(watch),
	)
	switch {
	case err != nil && watch.steps <= 0:
		return nil, fmt.Errorf("%w: %w: more than %d steps", ErrEvaluation, ErrBudget, maxSteps)
	case err != nil && s.endedBy(ctx, err) != nil:
		return nil, s.endedBy(ctx, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	case len(results) == 0:
		return nil, nil
	}
	term, ok := results[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, fmt.Errorf("%w: no value", ErrMalformed)
	}
	return term.Value, nil
}

// endedBy returns why an evaluation was stopped, nil if it was not.
func (s *Set) endedBy(ctx context.Context, err error) error {
	var budget *plan.BudgetError
	switch cause := context.Cause(ctx); {
	case errors.As(err, &budget):
		return fmt.Errorf("%w: %w: more than %d %s", ErrEvaluation, ErrBudget, budget.Max, budget.Limit)
	case !topdown.IsCancel(err):
		return nil
	case errors.Is(cause, ErrBudget):
		return fmt.Errorf("%w: %w: more than %s", ErrEvaluation, ErrBudget, s.options.Timeout)
	case cause != nil:
		return fmt.Errorf("%w: %w", ErrEvaluation, cause)
	default:
		return fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
}

// compare counts and logs that the compiled policy gave another value than the
// interpreter. Where it failed there is nothing to compare: alone, it would have
// asked the interpreter.
func (s *Set) compare(ctx context.Context, in *engine.Input, compiled, interpreted ast.Value, err error) {
	if err == nil && (compiled == nil) == (interpreted == nil) && (compiled == nil || compiled.Compare(interpreted) == 0) {
		return
	}
	s.options.Stats.differences.Add(1)
	s.options.Logger.LogAttrs(ctx, slog.LevelError, "compiled policy differs from the interpreted one, whose decision holds",
		slog.String("revision", s.revision), slog.String("tenant_id", in.Tenant.ID), slog.String("key_id", in.Key.ID),
		slog.String("environment", in.Key.Environment), slog.String("method", in.Request.Method), slog.String("route", in.Request.Route),
		slog.String("resource_type", in.Request.ResourceType), slog.String("compiled", outcome(compiled, nil)),
		slog.String("interpreted", outcome(interpreted, err)))
}

// outcome prints the result of an evaluation for the log.
func outcome(value ast.Value, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case value == nil:
		return "undefined"
	default:
		return brief(ast.NewTerm(value))
	}
}

// contextCancel lets an evaluation see that its context has ended, or that it
// has taken too many steps. OPA would start a goroutine for that, in every
// evaluation.
type contextCancel struct {
	done  <-chan struct{}
	steps int64
}

var _ topdown.Cancel = (*contextCancel)(nil)

// Cancel does nothing; the context is what cancels.
func (*contextCancel) Cancel() {}

// Cancelled reports whether the evaluation has to stop. The interpreter asks
// before each expression.
func (c *contextCancel) Cancelled() bool {
	if c.steps--; c.steps <= 0 {
		return true
	}
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}
