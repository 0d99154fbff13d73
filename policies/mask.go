package policies

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
)

// maskPackage is the package of the masks of the decision log, as in OPA. Its
// input is a record of that log and not a request, so it is compiled apart from
// the policies, without their schema, and no test of theirs sees it.
const maskPackage = "data.system.log"

// maskEntry is the rule that Mask asks for: a set of JSON pointers to remove, or
// of objects {"op": "remove"} or {"op": "upsert", "value": …} with a "path".
const maskEntry = maskPackage + ".mask"

// ErrMask means that masks could not be applied to a record. Nothing that they
// might have hidden may be kept then.
var ErrMask = errors.New("masking a decision")

// isMask reports whether a module belongs to the masks.
func isMask(module *ast.Module) bool { return module.Package.Path.String() == maskPackage }

// prepareMasks compiles the masks among the sources, with everything that they
// may refer to; nil if there are none.
func prepareMasks(ctx context.Context, src *sources, caps *ast.Capabilities, store storage.Store, txn storage.Transaction) (*rego.PreparedEvalQuery, error) {
	modules := make(map[string]*ast.Module, len(src.modules))
	found := false
	var problems []Problem
	refused := refusals()
	for _, f := range src.modules {
		module, err := ast.ParseModuleWithOpts(f.name, string(f.content), ast.ParserOptions{Capabilities: caps, RegoVersion: ast.RegoV1})
		if err != nil || module == nil {
			return nil, fmt.Errorf("reading masks: %s: %w", f.name, err)
		}
		modules[f.name] = module
		if isMask(module) {
			found = true
			problems = append(problems, checkForbidden(module, refused)...)
		}
	}
	if !found {
		return nil, nil //nolint:nilnil // No masks are no error.
	}
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	compiler := ast.NewCompiler().WithCapabilities(caps).WithDefaultRegoVersion(ast.RegoV1).WithStrict(true).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).SetErrorLimit(maxProblems)
	if err := compile(compiler, modules); err != nil {
		return nil, err
	}
	query, err := rego.New(
		rego.ParsedQuery(ast.MustParseBody(maskEntry)), rego.Compiler(compiler), rego.Capabilities(caps),
		rego.Store(store), rego.Transaction(txn), rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing masks: %w", err)
	}
	return &query, nil
}

// Masks reports whether the policies mask records of the decision log.
func (s *Set) Masks() bool { return s.masks != nil }

// Mask takes away from a record of the decision log what its masks name. The
// record has the shape of OPA's decision log; what lies below "input" and
// "result" can be masked, and the places are added to "erased" and "masked". The
// record is changed. An error wraps ErrMask.
func (s *Set) Mask(ctx context.Context, record map[string]any) (masked map[string]any, err error) {
	if s.masks == nil {
		return record, nil
	}
	defer func() {
		if r := recover(); r != nil {
			masked, err = nil, fmt.Errorf("%w: panic: %v", ErrMask, r)
		}
	}()
	results, err := s.masks.Eval(ctx, rego.EvalInput(record), rego.EvalTransaction(s.txn), rego.EvalMetrics(metrics.NoOp()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMask, err)
	}
	if len(results) == 0 {
		return record, nil
	}
	masks, err := readMasks(results[0].Expressions[0].Value)
	if err != nil {
		return nil, err
	}
	if err := applyMasks(record, masks); err != nil {
		return nil, err
	}
	return record, nil
}

// Masks reports whether the live Set masks records.
func (e *Engine) Masks() bool { return e.Live().Masks() }

// Mask is Set.Mask of the live Set.
func (e *Engine) Mask(ctx context.Context, record map[string]any) (map[string]any, error) {
	return e.Live().Mask(ctx, record)
}

// mask is one place in a record and what to do there.
type mask struct {
	path   string
	parts  []string
	upsert bool
	value  any
}

// readMasks reads the value of the rule. It is strict: a slip of the pen must
// not leave in the log what was meant to be hidden.
func readMasks(value any) ([]mask, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not a set", ErrMask, maskEntry)
	}
	masks := make([]mask, len(list))
	for i, item := range list {
		m := &masks[i]
		switch item := item.(type) {
		case string:
			m.path = item
		case map[string]any:
			op, _ := item["op"].(string)
			m.path, _ = item["path"].(string)
			m.upsert, m.value = op == "upsert", item["value"]
			if op != "upsert" && op != "remove" {
				return nil, fmt.Errorf("%w: op %q: want remove or upsert", ErrMask, op)
			}
		default:
			return nil, fmt.Errorf("%w: a mask is neither a string nor an object", ErrMask)
		}
		parts := strings.Split(m.path, "/")
		if len(parts) < 2 || parts[0] != "" || (parts[1] != "input" && parts[1] != "result") {
			return nil, fmt.Errorf("%w: path %q: want /input/… or /result/…", ErrMask, m.path)
		}
		for _, part := range parts[1:] {
			m.parts = append(m.parts, strings.ReplaceAll(strings.ReplaceAll(part, "~1", "/"), "~0", "~"))
		}
	}
	return masks, nil
}

// gone stands in a list for an element that was removed, so that the places of
// the others stay what they were until all masks are applied.
type gone struct{}

// applyMasks changes the record: first what is set, then what is removed, so
// that nothing removed comes back.
func applyMasks(record map[string]any, masks []mask) error {
	var erased, masked []any
	slices.SortStableFunc(masks, func(a, b mask) int {
		switch {
		case a.upsert == b.upsert:
			return strings.Compare(a.path, b.path)
		case a.upsert:
			return -1
		default:
			return 1
		}
	})
	for i := range masks {
		m := &masks[i]
		if m.upsert {
			if err := upsert(record, m.parts, m.value); err != nil {
				return fmt.Errorf("%w: path %q: %w", ErrMask, m.path, err)
			}
			masked = append(masked, m.path)
		} else if remove(record, m.parts) {
			erased = append(erased, m.path)
		}
	}
	for name, value := range record {
		record[name] = compact(value)
	}
	record["erased"], record["masked"] = erased, masked
	return nil
}

// remove takes a value away and reports whether it was there.
func remove(node any, parts []string) bool {
	for _, part := range parts[:len(parts)-1] {
		switch n := node.(type) {
		case map[string]any:
			node = n[part]
		case []any:
			i, ok := index(part, len(n))
			if !ok {
				return false
			}
			node = n[i]
		default:
			return false
		}
	}
	last := parts[len(parts)-1]
	switch n := node.(type) {
	case map[string]any:
		_, ok := n[last]
		delete(n, last)
		return ok
	case []any:
		i, ok := index(last, len(n))
		if ok {
			n[i] = gone{}
		}
		return ok
	default:
		return false
	}
}

// upsert sets a value, making the objects on the way to it.
func upsert(node any, parts []string, value any) error {
	for i, part := range parts {
		last := i == len(parts)-1
		switch n := node.(type) {
		case map[string]any:
			next, ok := n[part]
			if last {
				n[part] = value
			} else if !ok || next == nil {
				next = map[string]any{}
				n[part] = next
			}
			node = next
		case []any:
			i, ok := index(part, len(n))
			if !ok {
				return fmt.Errorf("the list has no element %q", part)
			}
			if last {
				n[i] = value
			}
			node = n[i]
		default:
			return fmt.Errorf("%q is within neither an object nor a list", part)
		}
	}
	return nil
}

// index reads a place in a list of the given length.
func index(part string, length int) (int, bool) {
	i, err := strconv.Atoi(part)
	return i, err == nil && i >= 0 && i < length
}

// compact drops the elements of lists that are gone.
func compact(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			v[name] = compact(member)
		}
	case []any:
		v = slices.DeleteFunc(v, func(element any) bool { _, ok := element.(gone); return ok })
		for i := range v {
			v[i] = compact(v[i])
		}
		return v
	}
	return value
}
