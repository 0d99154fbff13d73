package policies

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// footprint is what a decision can depend on, besides the rules themselves.
//
// It is found by walking the compiled rules from the entry point: whatever a
// rule refers to, on any path through it, counts as read, down to the first part
// of the reference that is not known before the evaluation. Two inputs that are
// equal on all these paths get the same decision from a policy that is
// deterministic.
type footprint struct {
	// input has the paths that can be read below input, sorted, none of them
	// below another; one empty path is the input as a whole.
	input []inputPath
	// data has the documents that can be read, such as "data.plans", sorted.
	data []string
	// impure is the first call of a function whose result does not depend on
	// its arguments alone; "" for none.
	impure   string
	impureAt *ast.Location
}

// inputPath is a path below input and the first place that reads it.
type inputPath struct {
	path []string
	at   *ast.Location
}

// String returns the path as Rego has it.
func (p inputPath) String() string { return strings.Join(append([]string{"input"}, p.path...), ".") }

// footprintOf returns the footprint of a rule.
func footprintOf(compiler *ast.Compiler, documents map[string]any, entry ast.Ref) *footprint {
	w := &footprintWalk{
		compiler: compiler, documents: documents,
		seen: map[*ast.Rule]bool{}, input: map[string]inputPath{}, data: map[string]bool{},
	}
	w.reach(entry)
	for len(w.queue) > 0 {
		rule := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		w.rule(rule)
	}
	return &footprint{
		input: outermost(w.input), data: slices.Sorted(maps.Keys(w.data)),
		impure: w.impure, impureAt: w.impureAt,
	}
}

// footprintWalk collects a footprint.
type footprintWalk struct {
	compiler  *ast.Compiler
	documents map[string]any
	seen      map[*ast.Rule]bool
	queue     []*ast.Rule   // seen, not walked yet
	at        *ast.Location // of the term that is being looked at

	input    map[string]inputPath // by the path's elements, each before a NUL
	data     map[string]bool
	impure   string
	impureAt *ast.Location
}

// reach has the rules walked that a reference can lead to. Which of them it does
// lead to depends on values: all that may count.
func (w *footprintWalk) reach(ref ast.Ref) {
	rules := w.compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})
	for _, rule := range rules {
		if !w.seen[rule] {
			w.seen[rule] = true
			w.queue = append(w.queue, rule)
		}
	}
	if prefix := groundPrefix(ref); len(rules) == 0 || w.hasDocument(prefix) {
		w.data[strings.Join(append([]string{"data"}, prefix...), ".")] = true
	}
}

// rule walks a rule with its else branches.
func (w *footprintWalk) rule(rule *ast.Rule) {
	w.at = rule.Location
	for r := rule; r != nil; r = r.Else {
		// The visitor passes over the references in the heads of partial
		// rules.
		for _, term := range r.Head.Reference[1:] {
			w.walk(term)
		}
	}
	w.walk(rule)
}

func (w *footprintWalk) walk(x any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Term:
			if x.Location != nil {
				w.at = x.Location
			}
		case *ast.With:
			w.with(x)
		case ast.Ref:
			w.ref(x)
			return true
		case ast.Var:
			// Outside a reference these are the documents as a whole.
			if x.Equal(ast.InputRootDocument.Value) || x.Equal(ast.DefaultRootDocument.Value) {
				w.ref(ast.Ref{ast.NewTerm(x)})
			}
		}
		return false
	}).Walk(x)
}

// ref notes what a reference reads and walks what it is made of.
func (w *footprintWalk) ref(ref ast.Ref) {
	at := w.at
	switch {
	case ref[0].Equal(ast.InputRootDocument):
		w.read(groundPrefix(ref))
	case ref[0].Equal(ast.DefaultRootDocument):
		w.reach(ref)
	default:
		w.call(ref)
		if _, isVar := ref[0].Value.(ast.Var); !isVar {
			w.walk(ref[0])
		}
	}
	for _, term := range ref[1:] {
		w.walk(term)
	}
	w.at = at
}

// call notes a built-in function whose result depends on more than its
// arguments. It does not matter here that policies do not have most of these.
func (w *footprintWalk) call(operator ast.Ref) {
	name := operator.String()
	builtin, ok := ast.BuiltinMap[name]
	if !ok {
		return
	}
	if why, ok := whyForbidden(builtin); ok && (w.impure == "" || before(w.at, w.impureAt)) {
		w.impure, w.impureAt = name+": "+why, w.at
	}
}

// with notes what the replacement of a part of the input depends on: the object
// that has the part.
func (w *footprintWalk) with(with *ast.With) {
	target, ok := with.Target.Value.(ast.Ref)
	if !ok || !target[0].Equal(ast.InputRootDocument) {
		return
	}
	at := w.at
	if with.Target.Location != nil {
		w.at = with.Target.Location
	}
	path := groundPrefix(target)
	w.read(path[:max(0, len(path)-1)])
	w.at = at
}

// read notes a path below input.
func (w *footprintWalk) read(path []string) {
	var key strings.Builder
	for i, name := range path {
		if strings.IndexByte(name, 0) >= 0 {
			path = path[:i]
			break
		}
		key.WriteString(name)
		key.WriteByte(0)
	}
	if old, ok := w.input[key.String()]; !ok || before(w.at, old.at) {
		w.input[key.String()] = inputPath{path: path, at: w.at}
	}
}

// hasDocument reports whether the data files have a value at a path, or may
// have one below it.
func (w *footprintWalk) hasDocument(path []string) bool {
	var value any = w.documents
	for _, name := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return true
		}
		if value, ok = object[name]; !ok {
			return false
		}
	}
	if object, ok := value.(map[string]any); ok {
		return len(object) > 0
	}
	return true
}

// groundPrefix returns the names in a reference up to the first part that is
// not a constant string.
func groundPrefix(ref ast.Ref) []string {
	var path []string
	for _, term := range ref[1:] {
		name, ok := term.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(name))
	}
	return path
}

// outermost returns the paths that lie below no other, sorted.
func outermost(paths map[string]inputPath) []inputPath {
	var out []inputPath
	last := ""
	// In this order a path comes before all that lie below it, and those come
	// before anything else.
	for _, key := range slices.Sorted(maps.Keys(paths)) {
		if len(out) > 0 && strings.HasPrefix(key, last) {
			continue
		}
		out, last = append(out, paths[key]), key
	}
	return out
}

// before orders places.
func before(a, b *ast.Location) bool {
	switch {
	case a == nil || b == nil:
		return b == nil && a != nil
	default:
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col)) < 0
	}
}
