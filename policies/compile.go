package policies

import (
	"bytes"
	"context"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// entry is the rule that Judge asks for.
const entry = "data.twyn.decision"

// planEntry is the same rule as package plan names it.
const planEntry = "twyn/decision"

// maxProblems is how many mistakes one attempt to compile reports.
const maxProblems = 100

// maxNesting is how deep the expressions of a policy may nest. OPA's own bound
// lets the passes after the parser use up the stack, which ends the process.
const maxNesting = 500

// parse turns the files into modules by their names.
func parse(files []file, caps *ast.Capabilities) (map[string]*ast.Module, []Problem) {
	modules := make(map[string]*ast.Module, len(files))
	var problems []Problem
	for _, f := range files {
		// The depth is no option of ParseModuleWithOpts, so a first pass
		// looks at it alone.
		_, _, errs := ast.NewParser().
			WithFilename(f.name).
			WithReader(bytes.NewReader(f.content)).
			WithCapabilities(caps).
			WithRegoVersion(ast.RegoV1).
			WithMaxRecursionDepth(maxNesting).
			Parse()
		if len(errs) > 0 {
			problems = append(problems, problemsOf(f.name, errs)...)
			continue
		}
		module, err := ast.ParseModuleWithOpts(f.name, string(f.content), ast.ParserOptions{
			Capabilities:      caps,
			ProcessAnnotation: true,
			RegoVersion:       ast.RegoV1,
		})
		switch {
		case err != nil:
			problems = append(problems, problemsOf(f.name, err)...)
		case module != nil && isMask(module):
			// Set.Mask is about another input; prepareMasks compiles it.
		case module == nil:
			problems = append(problems, Problem{File: f.name, Row: 1, Col: 1, Message: "no package in this file"})
		default:
			modules[f.name] = module
		}
	}
	return modules, problems
}

// newCompiler returns a compiler for policies over the documents of store.
func newCompiler(ctx context.Context, caps *ast.Capabilities, store storage.Store, txn storage.Transaction) (*ast.Compiler, error) {
	schemas, err := schemaSet()
	if err != nil {
		return nil, err
	}
	return ast.NewCompiler().
		WithCapabilities(caps).
		WithDefaultRegoVersion(ast.RegoV1).
		WithStrict(true).
		WithSchemas(schemas).
		WithUseTypeCheckAnnotations(true).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
		SetErrorLimit(maxProblems), nil
}

// newStore returns a store that holds the documents as syntax trees, so that
// reading them costs no conversion, and a transaction that every evaluation
// shares. Nothing writes to the store, so the transaction needs no end.
func newStore(ctx context.Context, documents map[string]any) (storage.Store, storage.Transaction, error) {
	store := inmem.NewFromObjectWithOpts(documents, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the policies' data: %w", err)
	}
	return store, txn, nil
}

// compile compiles modules, which are changed by it.
func compile(compiler *ast.Compiler, modules map[string]*ast.Module) error {
	compiler.Compile(modules)
	if compiler.Failed() {
		return newCompileError(problemsOf("", compiler.Errors)...)
	}
	return nil
}

// recoverProblem makes a panic the error of the function that defers it: OPA's
// parser and compiler are large, and what they read is a stranger's.
func recoverProblem(err *error) {
	if r := recover(); r != nil {
		*err = newCompileError(Problem{Message: fmt.Sprintf("compiler panicked: %v", r)})
	}
}

// checkEntry reports whether the policies define a decision at all.
func checkEntry(compiler *ast.Compiler) error {
	rules := compiler.GetRulesExact(ast.MustParseRef(entry))
	if len(rules) == 0 {
		return newCompileError(Problem{Message: entry + " is not defined"})
	}
	var problems []Problem
	for _, rule := range rules {
		if rule.Head.RuleKind() != ast.SingleValue || len(rule.Head.Args) > 0 {
			problems = append(problems, Problem{
				File: rule.Location.File, Row: rule.Location.Row, Col: rule.Location.Col,
				Message: entry + " is not a rule with one value",
			})
		}
	}
	if len(problems) > 0 {
		return newCompileError(problems...)
	}
	return nil
}
