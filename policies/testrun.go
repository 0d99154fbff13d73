package policies

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// testTimeout is how long one test may take: enough for many decisions, and for
// a busy machine, and too little to do harm.
const testTimeout = time.Second

// TestReport is the outcome of the tests of a set.
type TestReport struct {
	// Results has an entry for each test, in the order of their places.
	Results []TestResult
	// Coverage is the share of the policies' lines that the tests reach, in
	// percent. Tests themselves do not count.
	Coverage float64
	// Uncovered lists the lines that no test reaches.
	Uncovered []Problem
}

// TestResult is the outcome of one test.
type TestResult struct {
	// Name is package and rule, such as "data.twyn_test.test_allowed".
	Name string
	// File and Row are where the test stands.
	File string
	Row  int
	// Passed tells whether its body holds. Skipped tests (todo_test_…) have
	// not passed.
	Passed  bool
	Skipped bool
	// Message says why a test did not pass.
	Message string
}

// Failed returns how many tests did not pass and were not skipped.
func (r *TestReport) Failed() int {
	failed := 0
	for _, result := range r.Results {
		if !result.Passed && !result.Skipped {
			failed++
		}
	}
	return failed
}

// RunTests runs the tests that lie beside the policies, with the capabilities
// and the data that the policies have. An error means that the tests did not
// run, such as a *CompileError of a test file; that tests fail is no error.
func (s *Set) RunTests(ctx context.Context) (report *TestReport, err error) {
	defer recoverProblem(&err)
	store, txn, err := newStore(ctx, s.documents)
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	caps := capabilities()
	modules, problems := parse(slices.Concat(s.sources.modules, s.sources.tests), caps)
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	compiler, err := newCompiler(ctx, caps, store, txn)
	if err != nil {
		return nil, err
	}
	// The compiler changes what it compiles, the coverage needs the original.
	compiled := make(map[string]*ast.Module, len(modules))
	for name, module := range modules {
		compiled[name] = module.Copy()
	}
	if err := compile(compiler, compiled); err != nil {
		return nil, err
	}
	coverage := cover.New()
	results, err := tester.NewRunner().
		SetCompiler(compiler).
		SetStore(store).
		SetModules(compiled).
		SetDefaultRegoVersion(ast.RegoV1).
		SetCoverageQueryTracer(coverage).
		RaiseBuiltinErrors(true).
		SetTimeout(testTimeout).
		RunTests(ctx, txn)
	if err != nil {
		return nil, fmt.Errorf("running the policies' tests: %w", err)
	}
	report = &TestReport{}
	for result := range results {
		report.Results = append(report.Results, newTestResult(result))
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("running the policies' tests: %w", err)
	}
	slices.SortFunc(report.Results, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Name, b.Name))
	})
	report.cover(coverage, modules, s.sources.tests)
	return report, nil
}

func newTestResult(r *tester.Result) TestResult {
	result := TestResult{Name: r.Package + "." + r.Name, Passed: r.Pass(), Skipped: r.Skip}
	if r.Location != nil {
		result.File, result.Row = r.Location.File, r.Location.Row
	}
	switch {
	case topdown.IsCancel(r.Error):
		result.Message = fmt.Sprintf("stopped after %s: %v", testTimeout, ErrBudget)
	case r.Error != nil:
		result.Message = r.Error.Error()
	case r.FailedAt != nil && r.FailedAt.Location != nil:
		result.Message = fmt.Sprintf("does not hold: %s: %s", r.FailedAt.Location, r.FailedAt.Location.Text)
	case r.Fail:
		result.Message = "does not hold"
	}
	return result
}

// cover fills in the coverage of the modules that are not tests.
func (r *TestReport) cover(coverage *cover.Cover, modules map[string]*ast.Module, tests []file) {
	policies := maps.Clone(modules)
	for _, f := range tests {
		delete(policies, f.name)
	}
	report := coverage.Report(policies)
	covered, lines := 0, 0
	for name, f := range report.Files {
		if f == nil || policies[name] == nil {
			continue
		}
		covered += f.CoveredLines
		lines += f.CoveredLines + f.NotCoveredLines
		for _, missed := range f.NotCovered {
			r.Uncovered = append(r.Uncovered, Problem{File: name, Row: missed.Start.Row, Col: max(1, missed.Start.Col), Message: "not covered by a test"})
		}
	}
	if len(r.Uncovered) > 0 {
		r.Uncovered = newCompileError(r.Uncovered...).Problems
	}
	r.Coverage = 100
	if lines > 0 {
		r.Coverage = 100 * float64(covered) / float64(lines)
	}
}
