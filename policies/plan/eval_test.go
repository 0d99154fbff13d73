package plan_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/twyn/twyn/policies/plan"
)

// compile compiles one module whose package is p.
func compile(t testing.TB, source string, options plan.Options) (*plan.Program, error) {
	t.Helper()
	module, err := ast.ParseModuleWithOpts("p.rego", source, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Compile(t.Context(), map[string]*ast.Module{"p.rego": module}, "p/r", options)
}

func mustCompile(t testing.TB, source string, options plan.Options) *plan.Program {
	t.Helper()
	program, err := compile(t, source, options)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestEval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source, input, want string }{
		{"value", `r := input.a + 1`, `{"a": 1}`, `2`},
		{"undefined", `r := 1 if input.a`, `{}`, ``},
		{"no input", `r := 1 if not input`, ``, `1`},
		{"constants", `r := {"a": [1, {"b"}], "c": x}` + "\nx := {1, 2}", ``, `{"a": [1, {"b"}], "c": {1, 2}}`},
		{"with", "r := y if { y := x with input.a.b as 2 }\nx := input.a", `{"a": {"c": 3}}`, `{"b": 2, "c": 3}`},
		{"with, remembered rule", "r := [x, y, x] if { y := x with input.a as 2 }\nx := input.a", `{"a": 1}`, `[1, 2, 1]`},
		{"object keys", `r := {k: v | some k, v in input}`, `{"a": 1, "b": 2}`, `{"a": 1, "b": 2}`},
		{"order of a set", `r := [x | some x in input]`, `{3, 1, 2}`, `[1, 2, 3]`},
		{"every", `r if every x in input { x > 1 }`, `[2, 3]`, `true`},
		{"walk", `r := {p | walk(input, [p, 1])}`, `{"a": [1, 2], "b": 1}`, `{["a", 0], ["b"]}`},
		{"keys of one hash", "r[k] contains 2 if some k in input\nr[k] contains 3 if some k in input", `[1, true, ["a"]]`, `{1: {2, 3}, true: {2, 3}, ["a"]: {2, 3}}`},
		{"partial object of sets", "r[k] contains v if some [k, v] in input", `[["a", 1], ["a", 2], ["b", 3]]`, `{"a": {1, 2}, "b": {3}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program := mustCompile(t, "package p\n\n"+c.source, plan.Options{})
			var input, want ast.Value
			if c.input != "" {
				input = ast.MustParseTerm(c.input).Value
			}
			if c.want != "" {
				want = ast.MustParseTerm(c.want).Value
			}
			got, err := program.Eval(t.Context(), input, nil)
			if err != nil {
				t.Fatal(err)
			}
			if (want == nil) != (got == nil) || want != nil && want.Compare(got) != 0 {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

// TestErrors holds that an error is an error of the evaluation wherever it
// happens, above all where it would turn a denial around.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source, input, code string }{
		{"built-in", `r := count(input.a)`, `{"a": 1}`, topdown.TypeErr},
		{"not", "default r := false\nr if not bad\nbad if to_number(input.a) > 1", `{"a": "x"}`, topdown.BuiltinErr},
		{"not, function", "r if not bad(input.a)\nbad(x) if to_number(x) > 1", `{"a": "x"}`, topdown.BuiltinErr},
		{"set of denials", "r if count(deny) == 0\ndeny contains 1 if regex.match(input.a, \"x\")", `{"a": "("}`, topdown.BuiltinErr},
		{"comprehension", `r := [y | some x in input.a; y := 1 / x]`, `{"a": [1, 0]}`, topdown.BuiltinErr},
		{"every", `r if every x in input.a { startswith(x, "a") }`, `{"a": ["a", 1]}`, topdown.TypeErr},
		{"default", "default r := true\nr := false if input.a / 0", `{"a": 1}`, topdown.BuiltinErr},
		{"rule with two values", "r := 1 if input.a\nr := 2 if input.b", `{"a": 1, "b": 1}`, topdown.ConflictErr},
		{"function with two values", "r := f(input.a)\nf(x) := 1 if x > 0\nf(x) := 2 if x > 1", `{"a": 2}`, topdown.ConflictErr},
		{"object key with two values", `r := {k: v | some k in ["a"]; some v in input}`, `[1, 2]`, topdown.ConflictErr},
		{"partial object with two values", `r["a"] := v if some v in input`, `[1, 2]`, topdown.ConflictErr},
		{"rule of nothing", "r if not bad\nbad if to_number(\"x\")", ``, topdown.BuiltinErr},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			program := mustCompile(t, "package p\n\n"+c.source, plan.Options{})
			var input ast.Value
			if c.input != "" {
				input = ast.MustParseTerm(c.input).Value
			}
			got, err := program.Eval(t.Context(), input, nil)
			var e *topdown.Error
			if !errors.As(err, &e) || e.Code != c.code || got != nil {
				t.Fatalf("got %v, error %v, want %s", got, err, c.code)
			}
			if e.Location == nil || e.Location.File != "p.rego" || e.Location.Row == 0 {
				t.Errorf("error without its place: %v", err)
			}
		})
	}
}

func TestUnsupported(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, source, want string }{
		{"with on data", "r if x with data.a as 1\nx := data.a", "p.rego:3:13: not supported by compiled evaluation: with on data"},
		{"with on a function", "r if f(1) with f as 2\nf(x) := x", "p.rego:3:16: not supported by compiled evaluation: with on a function"},
		{"with on a built-in function", "r if count([1]) with count as 2", "p.rego:3:22: not supported by compiled evaluation: with on a function"},
		{"the clock", "r := time.now_ns()", "p.rego:3:6: not supported by compiled evaluation: the built-in function time.now_ns: it does not always give the same answer"},
		{"chance, in a rule that another needs", "r if x > 1\nx := rand.intn(\"a\", 5)", "p.rego:4:6: not supported by compiled evaluation: the built-in function rand.intn: it does not always give the same answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := compile(t, "package p\n\n"+c.source, plan.Options{})
			var e *plan.UnsupportedError
			if !errors.As(err, &e) || err.Error() != c.want {
				t.Errorf("got %v\nwant %v", err, c.want)
			}
		})
	}
}

func TestCompileErrors(t *testing.T) {
	t.Parallel()
	_, err := compile(t, "package p\n\nr := x", plan.Options{})
	var bad ast.Errors
	if !errors.As(err, &bad) {
		t.Errorf("got %v, want ast.Errors", err)
	}
	var unsupported *plan.UnsupportedError
	if _, err := compile(t, "package p\n\nq := 1", plan.Options{}); !errors.As(err, &unsupported) {
		t.Errorf("no such entry point: got %v, want *UnsupportedError", err)
	}
}

// runaway policies never end in the time that a test has.
var runaway = map[string]string{
	"comprehension": `r := count([1 | some i in numbers.range(1, 10000); some j in numbers.range(1, 10000); i != j])`,
	"rules":         "r if { some i in numbers.range(1, 100000); f(i) }\nf(i) if { some j in numbers.range(1, 100000); i + j == 0 }",
	"every":         `r if every i in numbers.range(1, 10000) { every j in numbers.range(1, 10000) { i + j > 0 } }`,
	"walk":          `r := count([p | some i in numbers.range(1, 1000000); walk(input, [p, _])])`,
}

// TestCancel cancels an evaluation that has begun; the test ends only if that
// has an effect.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, source := range runaway {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := mustCompile(t, "package p\n\n"+source, plan.Options{MaxSteps: 1 << 60, MaxBytes: 1 << 60})
			ctx, cancel := context.WithCancelCause(t.Context())
			done := make(chan error)
			go func() {
				_, err := program.Eval(ctx, ast.MustParseTerm(`{"a": [1, 2]}`).Value, nil)
				done <- err
			}()
			why := errors.New("enough")
			cancel(why)
			if err := <-done; !topdown.IsCancel(err) || !errors.Is(err, why) {
				t.Errorf("got %v, want a cancel error", err)
			}
		})
	}
}

// TestDeadline is for a context that ends while the evaluation goes on.
func TestDeadline(t *testing.T) {
	t.Parallel()
	program := mustCompile(t, "package p\n\n"+runaway["comprehension"], plan.Options{MaxSteps: 1 << 60, MaxBytes: 1 << 60})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	if _, err := program.Eval(ctx, nil, nil); !topdown.IsCancel(err) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want a cancel error", err)
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	double := "package p\n\nr := x30\nx0 := input.a\n"
	for i := range 30 {
		double += fmt.Sprintf("x%d := concat(\"\", [x%d, x%d])\n", i+1, i, i)
	}
	for _, c := range []struct {
		name, source, limit string
	}{
		{"comprehension", "package p\n\n" + runaway["comprehension"], "steps"},
		{"every", "package p\n\n" + runaway["every"], "steps"},
		{"range", "package p\n\nr := numbers.range(1, input.n)", "bytes"},
		{"range with steps", "package p\n\nr := numbers.range_step(1, input.n, 2)", "bytes"},
		{"doubled strings", double, "bytes"},
		{"width", "package p\n\nr := sprintf(\"%1000000000d\", [input.n])", "bytes"},
		{"width as argument", "package p\n\nr := sprintf(\"%*d\", [input.n, 1])", "bytes"},
		{"replace", "package p\n\nr := replace(input.a, \"\", input.a)", ""},
		{"shift", "package p\n\nr := bits.lsh(1, input.n)", "bytes"},
		{"large result", "package p\n\nr := [x | some i in numbers.range(1, 100000); x := [i, i, i, i, i, i, i, i]]", "bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			options := plan.Options{MaxSteps: 1_000_000, MaxBytes: 32 << 20}
			if c.limit == "steps" {
				options.MaxBytes = 1 << 40
			}
			program := mustCompile(t, c.source, options)
			input := ast.MustParseTerm(`{"a": "` + strings.Repeat("a", 64) + `", "n": 1000000000}`).Value
			_, err := program.Eval(t.Context(), input, nil)
			var e *plan.BudgetError
			switch {
			case c.limit == "":
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
			case !errors.As(err, &e) || !errors.Is(err, plan.ErrBudget) || e.Limit != c.limit:
				t.Errorf("got %v, want over %s", err, c.limit)
			}
			// The machine that stopped is good for another evaluation.
			if _, err := program.Eval(t.Context(), ast.MustParseTerm(`{"a": "", "n": 2}`).Value, nil); c.limit == "bytes" && strings.Contains(c.source, "input") &&
				c.name != "width" && err != nil {
				t.Errorf("after that: %v", err)
			}
		})
	}
}

// TestConcurrent evaluates one program on many goroutines; the race detector
// does the rest.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	p := reference(t)
	inputs := []ast.Value{referenceInput("ten_a"), referenceInput("ten_b")}
	var want []ast.Value
	for _, input := range inputs {
		value, err := p.interpret(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, value)
	}
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				n := (g + i) % len(inputs)
				got, err := p.program.Eval(t.Context(), inputs[n], p.data)
				if err != nil || want[n].Compare(got) != 0 {
					t.Errorf("got %v, error %v, want %v", got, err, want[n])
				}
			}
		})
	}
	all.Wait()
}

// TestNoGoroutines holds that an evaluation starts none: in the bubble, one that
// did not end would be an error.
func TestNoGoroutines(t *testing.T) {
	t.Parallel()
	p := reference(t)
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if _, err := p.program.Eval(ctx, referenceInput("ten_a"), p.data); err != nil {
			t.Fatal(err)
		}
	})
}

// TestSharedValues holds that evaluations do not change what they share: the
// constants of the program, the data, the input.
func TestSharedValues(t *testing.T) {
	t.Parallel()
	p := reference(t)
	input := referenceInput("ten_b")
	first, err := p.program.Eval(t.Context(), input, p.data)
	if err != nil {
		t.Fatal(err)
	}
	text, hash := first.String(), input.Hash()
	for range 10 {
		if _, err := p.program.Eval(t.Context(), referenceInput("ten_a"), p.data); err != nil {
			t.Fatal(err)
		}
	}
	again, err := p.program.Eval(t.Context(), input, p.data)
	if err != nil {
		t.Fatal(err)
	}
	if first.String() != text || again.String() != text || input.Hash() != hash {
		t.Errorf("first %v, was %s, then %v", first, text, again)
	}
}

func ExampleProgram_Eval() {
	ctx := context.Background()
	module := ast.MustParseModule(`package example

default allow := false

allow if input.user in data.example.admins`)
	program, err := plan.Compile(ctx, map[string]*ast.Module{"example.rego": module}, "example/allow", plan.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	data, err := plan.NewData(map[string]any{"example": map[string]any{"admins": []any{"alice"}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, user := range []string{"alice", "bob"} {
		allow, err := program.Eval(ctx, ast.NewObject(ast.Item(ast.StringTerm("user"), ast.StringTerm(user))), data)
		fmt.Println(user, allow, err)
	}
	// Output:
	// alice true <nil>
	// bob false <nil>
}
