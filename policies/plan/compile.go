package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown/cache"
)

// The limits of Options that are 0.
const (
	DefaultMaxSteps = 10_000_000
	DefaultMaxBytes = 64 << 20
)

// fixSteps is what the value of a rule that depends on nothing may cost when a
// policy is compiled.
const fixSteps = 100_000

// resultName is the variable of the plan's query.
var resultName = ast.StringTerm("result")

// Options change how Compile works. The zero value is ready to use.
type Options struct {
	// Capabilities are the built-in functions and features that policies may
	// use; nil stands for all of this version of OPA.
	Capabilities *ast.Capabilities
	// RegoVersion is the version of modules that do not name theirs; the zero
	// value stands for version 1.
	RegoVersion ast.RegoVersion
	// MaxSteps is how many iterations and calls one evaluation may take; 0
	// stands for DefaultMaxSteps.
	MaxSteps int64
	// MaxBytes is how many bytes the values that one evaluation makes may
	// take, by an estimate; 0 stands for DefaultMaxBytes.
	MaxBytes int64
}

// Program is a compiled policy. It never changes, and many goroutines may
// evaluate it at the same time.
type Program struct {
	options      Options
	capabilities *ast.Capabilities
	builtins     map[string]*ast.Builtin
	metrics      metrics.Metrics
	values       cache.InterQueryValueCache

	functions []*function
	query     *function
	machines  sync.Pool
}

// Compile compiles the rule at the entry point, a path such as "twyn/decision",
// and what it needs of the modules, which stay as they are. The modules have to
// be good: those that do not compile with OPA's own compiler are its ast.Errors.
// What cannot be compiled to do exactly what the interpreter does is an
// *UnsupportedError.
func Compile(ctx context.Context, modules map[string]*ast.Module, entrypoint string, options Options) (p *Program, err error) {
	// OPA's planner is large, and its input is a stranger's.
	defer func() {
		if r := recover(); r != nil {
			p, err = nil, &UnsupportedError{What: fmt.Sprintf("planning panicked: %v", r)}
		}
	}()
	if options.Capabilities == nil {
		options.Capabilities = ast.CapabilitiesForThisVersion()
	}
	if options.RegoVersion == ast.RegoUndefined {
		options.RegoVersion = ast.RegoV1
	}
	if options.MaxSteps <= 0 {
		options.MaxSteps = DefaultMaxSteps
	}
	if options.MaxBytes <= 0 {
		options.MaxBytes = DefaultMaxBytes
	}
	if err := check(modules, entrypoint, options); err != nil {
		return nil, err
	}
	policy, err := plan(ctx, modules, entrypoint, options)
	if err != nil {
		return nil, err
	}
	return lower(ctx, policy, entrypoint, options)
}

// plan asks OPA for the plan of the entry point.
func plan(ctx context.Context, modules map[string]*ast.Module, entrypoint string, options Options) (*ir.Policy, error) {
	b := &bundle.Bundle{Data: map[string]any{}}
	b.SetRegoVersion(options.RegoVersion)
	b.Manifest.Init()
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		// The build formats the source, which nobody looks at, so it gets
		// little of it.
		b.Modules = append(b.Modules, bundle.ModuleFile{URL: name, Path: name, Parsed: modules[name], Raw: []byte("package p\n")})
	}
	err := compile.New().
		WithCapabilities(options.Capabilities).
		WithRegoVersion(options.RegoVersion).
		WithTarget(compile.TargetPlan).
		WithEntrypoints(entrypoint).
		WithPruneUnused(true).
		WithBundle(b).
		Build(ctx)
	if err != nil {
		var bad ast.Errors
		if errors.As(err, &bad) {
			return nil, fmt.Errorf("compiling policies: %w", err)
		}
		return nil, &UnsupportedError{What: "the plan: " + err.Error()}
	}
	if len(b.PlanModules) != 1 {
		return nil, &UnsupportedError{What: fmt.Sprintf("%d plans", len(b.PlanModules))}
	}
	policy := &ir.Policy{}
	if err := json.Unmarshal(b.PlanModules[0].Raw, policy); err != nil {
		return nil, &UnsupportedError{What: "reading the plan: " + err.Error()}
	}
	return policy, nil
}

// lower makes a Program of a plan.
func lower(ctx context.Context, policy *ir.Policy, entrypoint string, options Options) (*Program, error) {
	p := &Program{
		options:      options,
		capabilities: options.Capabilities,
		builtins:     make(map[string]*ast.Builtin, len(options.Capabilities.Builtins)),
		metrics:      metrics.NoOp(),
		values:       cache.NewInterQueryValueCache(ctx, nil),
	}
	for _, builtin := range options.Capabilities.Builtins {
		// What OPA itself knows of the function is more than capabilities
		// that were read from a file have.
		if known := ast.BuiltinMap[builtin.Name]; known != nil {
			p.builtins[builtin.Name] = known
		}
	}
	w := &lowering{program: p, static: policy.Static, funcs: map[string]*function{}}
	for _, s := range policy.Static.Strings {
		w.strings = append(w.strings, ast.InternedTerm(s.Value))
	}
	for _, f := range policy.Funcs.Funcs {
		if err := w.function(f); err != nil {
			return nil, err
		}
	}
	for _, plan := range policy.Plans.Plans {
		if plan.Name != entrypoint {
			continue
		}
		if err := w.function(&ir.Func{Name: "plan", Params: []ir.Local{ir.Input, ir.Data}, Return: ir.Unused, Blocks: plan.Blocks}); err != nil {
			return nil, err
		}
		p.query = w.fn
	}
	if p.query == nil {
		return nil, &UnsupportedError{What: "no plan of " + entrypoint}
	}
	// Rules whose values are fixed were evaluated by machines that did not know
	// all functions.
	p.machines = sync.Pool{New: func() any { return newMachine(p) }}
	return p, nil
}

// fix evaluates a rule that depends on nothing; false if that costs too much,
// or fails, which has to happen in each evaluation then.
func (p *Program) fix(f *function) (term *ast.Term, ok bool) {
	defer func() {
		if recover() != nil {
			term, ok = nil, false
		}
	}()
	m := newMachine(p)
	m.reset(context.Background(), noData)
	m.steps = min(m.steps, fixSteps)
	m.bytes = min(m.bytes, fixSteps*termBytes)
	return f.call(m, m.push(f.locals))
}
