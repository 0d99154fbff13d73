package plan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/twyn/twyn/policies/plan"
)

// policy is a policy on both engines.
type policy struct {
	program  *plan.Program
	data     *plan.Data
	prepared rego.PreparedEvalQuery
}

// readPolicy reads the modules of a directory, without tests, and its data.json.
func readPolicy(t testing.TB, dir string) (map[string]*ast.Module, map[string]any) {
	t.Helper()
	modules, documents := map[string]*ast.Module{}, map[string]any{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.rego") {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return err
		}
		switch filepath.Ext(path) {
		case ".rego":
			modules[path], err = ast.ParseModuleWithOpts(path, string(content), ast.ParserOptions{RegoVersion: ast.RegoV1})
		case ".json":
			decoder := json.NewDecoder(bytes.NewReader(content))
			decoder.UseNumber()
			err = decoder.Decode(&documents)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return modules, documents
}

// newPolicy compiles modules for both engines.
func newPolicy(t testing.TB, modules map[string]*ast.Module, documents map[string]any, entrypoint string, options plan.Options) policy {
	t.Helper()
	ctx := context.Background()
	program, err := plan.Compile(ctx, modules, entrypoint, options)
	if err != nil {
		t.Fatal(err)
	}
	data, err := plan.NewData(documents)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := prepare(ctx, modules, documents, entrypoint)
	if err != nil {
		t.Fatal(err)
	}
	return policy{program: program, data: data, prepared: prepared}
}

// prepare readies the interpreter, tuned as well as it can be.
func prepare(ctx context.Context, modules map[string]*ast.Module, documents map[string]any, entrypoint string) (rego.PreparedEvalQuery, error) {
	compiler := ast.NewCompiler()
	compiler.Compile(modules)
	if compiler.Failed() {
		return rego.PreparedEvalQuery{}, compiler.Errors
	}
	store := inmem.NewFromObjectWithOpts(documents, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return rego.PreparedEvalQuery{}, err
	}
	return rego.New(
		rego.ParsedQuery(ast.MustParseBody("data."+strings.ReplaceAll(entrypoint, "/", "."))),
		rego.Compiler(compiler),
		rego.Store(store),
		rego.Transaction(txn),
		rego.StrictBuiltinErrors(true),
		rego.GenerateJSON(func(term *ast.Term, _ *rego.EvalContext) (any, error) { return term.Value, nil }),
	).PrepareForEval(ctx)
}

// reporter is what a test and a property have in common.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

var never = topdown.NewCancel()

// interpret evaluates the policy with the interpreter.
func (p policy) interpret(ctx context.Context, input ast.Value) (ast.Value, error) {
	results, err := p.prepared.Eval(ctx,
		rego.EvalParsedInput(input),
		rego.EvalTime(time.Unix(0, 0)),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(never),
	)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	return results[0].Expressions[0].Value.(ast.Value), nil
}

// compare evaluates on both engines and reports whether they differ. An error of
// what the interpreter does not look at any more is no difference.
func (p policy) compare(t reporter, input ast.Value) {
	t.Helper()
	want, wantErr := p.interpret(context.Background(), input)
	got, gotErr := p.program.Eval(context.Background(), input, p.data)
	var e *topdown.Error
	switch {
	case gotErr != nil && wantErr == nil && errors.As(gotErr, &e) && e.Code != topdown.InternalErr:
	case gotErr != nil && wantErr == nil:
		t.Errorf("input %v\ninterpreted: %v\ncompiled: error %v", input, want, gotErr)
	case gotErr == nil && wantErr != nil:
		t.Errorf("input %v\ninterpreted: error %v\ncompiled: %v", input, wantErr, got)
	case gotErr != nil:
	case (want == nil) != (got == nil), want != nil && want.Compare(got) != 0:
		t.Errorf("input %v\ninterpreted: %v\ncompiled: %v", input, want, got)
	}
}

func reference(t testing.TB) policy {
	t.Helper()
	modules, documents := readPolicy(t, "testdata/reference")
	return newPolicy(t, modules, documents, "reference/decision", plan.Options{})
}

// referenceInput is the input of a request to a resource of a tenant.
func referenceInput(owner string) ast.Value {
	return ast.MustParseTerm(`{
		"key": {"id": "key_1", "name": "ci", "environment": "live", "rate_limit": 1000, "scopes": ["scenarios:read", "simulations:*"],
			"metadata": {"team": "core"}, "created_at": "2026-01-01T00:00:00Z"},
		"tenant": {"id": "ten_a", "name": "A"},
		"request": {"id": "req_1", "method": "GET", "path": "/v1/simulations/sim_1", "segments": ["v1", "simulations", "sim_1"],
			"route": "/v1/simulations/:id", "query": {}, "headers": {"accept": "application/json", "user-agent": "curl"}, "size": 0,
			"ip": "10.0.0.1", "time": 1767225600000000000, "resource_type": "simulation"},
		"resource": {"type": "simulation", "id": "sim_1", "tenant_id": "` + owner + `", "environment": "live"}
	}`).Value
}

func TestReference(t *testing.T) {
	t.Parallel()
	p := reference(t)
	for _, owner := range []string{"ten_a", "ten_b"} {
		p.compare(t, referenceInput(owner))
	}
}

// BenchmarkReference also reports processor time, which other work on the
// machine disturbs less.
func BenchmarkReference(b *testing.B) {
	p := reference(b)
	ctx := b.Context()
	for _, c := range []struct{ name, owner string }{{"allow", "ten_a"}, {"deny", "ten_b"}} {
		input := referenceInput(c.owner)
		measure(b, c.name+"/interpreted", func() error {
			_, err := p.interpret(ctx, input)
			return err
		})
		measure(b, c.name+"/compiled", func() error {
			_, err := p.program.Eval(ctx, input, p.data)
			return err
		})
	}
}

func measure(b *testing.B, name string, evaluate func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		before := cpuTime(b)
		for b.Loop() {
			if err := evaluate(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
	})
}

// cpuTime returns the processor time that the process has used.
func cpuTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
