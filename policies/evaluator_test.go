package policies

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies/plan"
)

// evaluators are all there are.
var evaluators = []Evaluator{Compiled, Interpreted, Both}

// TestRunawayPoliciesAreStopped lets policies run that would take minutes.
func TestRunawayPoliciesAreStopped(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"a comprehension": `decision := {"allow": n > 0, "reasons": [], "limits": []}

n := count([1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); some c in numbers.range(1, 1000); a + b == c + input.request.size])
`,
		"one call": `decision := {"allow": count(numbers.range(input.request.size, 1000000000)) == 1, "reasons": [], "limits": []}
`,
		"a walk": `decision := {"allow": count([1 | walk(data.big, [p, _]); walk(data.big, [q, _]); walk(data.big, [r, _]); count(p) + count(q) == count(r) + input.request.size]) == 1, "reasons": [], "limits": []}
`,
	} {
		for _, evaluator := range evaluators {
			t.Run(name+", "+string(evaluator), func(t *testing.T) {
				t.Parallel()
				files := fstest.MapFS{
					"policy.rego":   {Data: []byte("package twyn\n\n" + source)},
					"big/data.json": {Data: []byte(`{"x": [` + strings.Repeat(`[1], `, 2000) + `1]}`)},
				}
				set, err := Load(t.Context(), files, Options{Evaluator: evaluator, Timeout: 20 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				judgement, err := set.Judge(t.Context(), ask("ten_a", 1))
				for _, want := range []error{ErrBudget, ErrEvaluation, engine.ErrPolicyTimeout} {
					if !errors.Is(err, want) {
						t.Errorf("got error %v, want %v", err, want)
					}
				}
				if judgement.Allow || judgement.Revision != set.Revision() {
					t.Errorf("got %+v", judgement)
				}
				if got := set.Counts(); got.Differences != 0 {
					t.Errorf("got %+v", got)
				}
			})
		}
	}
}

// TestStepsAreBounded counts, so that a machine that is fast enough for the time
// still stops.
func TestStepsAreBounded(t *testing.T) {
	t.Parallel()
	watch := &contextCancel{steps: 3}
	for i, want := range []bool{false, false, true, true} {
		if got := watch.Cancelled(); got != want {
			t.Errorf("step %d: got %t", i+1, got)
		}
	}
}

// TestTheEndOfTheCallersContextIsNoTimeout tells the two apart.
func TestTheEndOfTheCallersContextIsNoTimeout(t *testing.T) {
	t.Parallel()
	cause := errors.New("the caller left")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	for _, evaluator := range evaluators {
		set, err := Load(t.Context(), Default(), Options{Evaluator: evaluator, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		judgement, err := set.Judge(ctx, ask("ten_a", 1))
		if !errors.Is(err, cause) || errors.Is(err, engine.ErrPolicyTimeout) || judgement.Allow {
			t.Errorf("%s: got %+v, %v", evaluator, judgement, err)
		}
	}
}

// TestUnsupportedPoliciesAreInterpreted has something that is not compiled.
func TestUnsupportedPoliciesAreInterpreted(t *testing.T) {
	t.Parallel()
	set := loadText(t, decides+"allow if data.x == 1 with data.x as 0", `{"x": 1}`)
	var unsupported *plan.UnsupportedError
	if !errors.As(set.Uncompiled(), &unsupported) {
		t.Fatalf("got %v", set.Uncompiled())
	}
	if judgement, err := set.Judge(t.Context(), ask("ten_a", 1)); err != nil || judgement.Allow {
		t.Errorf("got %+v, %v", judgement, err)
	}
	if got := set.Counts(); got.Compiled != 0 || got.Interpreted != 1 {
		t.Errorf("got %+v", got)
	}
	var log bytes.Buffer
	set.LogCosts(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	if !strings.Contains(log.String(), "policy is interpreted") || !strings.Contains(log.String(), "policy.rego:7") {
		t.Errorf("got %s", &log)
	}
}

// TestDifferencesAreCounted gives Both a compiled policy that is another one.
func TestDifferencesAreCounted(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	options := Options{Evaluator: Both, Logger: slog.New(slog.NewTextHandler(&log, nil)), Timeout: time.Minute}
	good, err := Load(t.Context(), fstest.MapFS{"policy.rego": {Data: []byte("package twyn\n\n" + `decision := {"allow": false, "reasons": [], "limits": []}`)}}, options)
	if err != nil {
		t.Fatal(err)
	}
	good.program = loadText(t, `decision := {"allow": true, "reasons": [], "limits": []}`, "{}").program
	judgement, err := good.Judge(t.Context(), ask("ten_a", 1))
	if err != nil || judgement.Allow {
		t.Errorf("got %+v, %v, want the interpreter's decision", judgement, err)
	}
	if got := good.Counts(); got.Differences != 1 || got.Compiled != 1 || got.Interpreted != 1 {
		t.Errorf("got %+v", got)
	}
	for _, want := range []string{"level=ERROR", "differs", good.Revision(), "ten_a"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log: %s", want, &log)
		}
	}
}

// TestCompareKnowsDifferences compares outcomes of all kinds.
func TestCompareKnowsDifferences(t *testing.T) {
	t.Parallel()
	set := loadText(t, `decision := {"allow": true, "reasons": [], "limits": []}`, "{}")
	for i, test := range []struct {
		compiled, interpreted ast.Value
		err                   error
		differ                bool
	}{
		{ast.Boolean(true), ast.Boolean(true), nil, false},
		{nil, nil, nil, false},
		{ast.Boolean(true), ast.Boolean(false), nil, true},
		{nil, ast.Boolean(true), nil, true},
		{ast.Boolean(true), nil, nil, true},
		{ast.Boolean(true), nil, ErrEvaluation, true},
		{nil, nil, ErrEvaluation, true},
	} {
		before := set.Counts().Differences
		set.compare(t.Context(), &engine.Input{}, test.compiled, test.interpreted, test.err)
		if got := set.Counts().Differences != before; got != test.differ {
			t.Errorf("%d: got %t", i, got)
		}
	}
}
