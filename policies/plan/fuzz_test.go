package plan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"pgregory.net/rapid"

	"github.com/twyn/twyn/policies/plan"
)

// FuzzEval gives both engines the same input, for the reference policy and for
// the default one.
func FuzzEval(f *testing.F) {
	policies := []policy{reference(f)}
	modules, documents := readPolicy(f, "../default")
	policies = append(policies, newPolicy(f, modules, documents, "twyn/decision", plan.Options{}))
	for _, owner := range []string{"ten_a", "ten_b", "ten_c"} {
		seed := referenceInput(owner).String()
		f.Add([]byte(seed))
		f.Add([]byte(strings.ReplaceAll(seed, `"GET"`, `"POST"`)))
		f.Add([]byte(strings.ReplaceAll(seed, `"simulations:*"`, `"*"`)))
		f.Add([]byte(strings.ReplaceAll(seed, `"live"`, `"test"`)))
		f.Add([]byte(strings.ReplaceAll(seed, `"simulation"`, `7`)))
	}
	f.Add([]byte(`null`))
	f.Add([]byte(`{"key": {"scopes": 1}, "resource": null}`))
	f.Fuzz(func(t *testing.T, source []byte) {
		decoder := json.NewDecoder(bytes.NewReader(source))
		decoder.UseNumber()
		var document any
		if err := decoder.Decode(&document); err != nil {
			return
		}
		input, err := ast.InterfaceToValue(document)
		if err != nil {
			return
		}
		for _, p := range policies {
			p.compare(t, input)
		}
	})
}

// TestInputs gives both engines requests in which a few values are replaced by
// others, of any type.
func TestInputs(t *testing.T) {
	t.Parallel()
	modules, documents := readPolicy(t, "../default")
	policies := []policy{reference(t), newPolicy(t, modules, documents, "twyn/decision", plan.Options{})}
	values := []string{
		`null`, `true`, `7`, `-1.5`, `""`, `"*"`, `"test"`, `"live"`, `"POST"`, `"ten_c"`, `"sim_shared"`, `"tenant"`, `"simulations:read"`,
		`[]`, `["*"]`, `["simulations:write", 3]`, `{}`, `{"addresses": ["10."]}`, `{"addresses": ["11."]}`, `{"addresses": 1}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			input, ok := ast.NewTerm(referenceInput(rapid.SampledFrom([]string{"ten_a", "ten_b"}).Draw(t, "owner"))).Copy().Value.(ast.Object)
			if !ok {
				t.Fatal("input is no object")
			}
			for range rapid.IntRange(0, 3).Draw(t, "changes") {
				part := rapid.SampledFrom(input.Keys()).Draw(t, "part")
				value := ast.MustParseTerm(rapid.SampledFrom(values).Draw(t, "value"))
				fields, ok := input.Get(part).Value.(ast.Object)
				if !ok || fields.Len() == 0 || rapid.IntRange(0, 9).Draw(t, "whole") == 0 {
					input.Insert(part, value)
					continue
				}
				changed := fields.Copy()
				changed.Insert(rapid.SampledFrom(fields.Keys()).Draw(t, "field"), value)
				input.Insert(part, ast.NewTerm(changed))
			}
			for _, p := range policies {
				p.compare(t, input)
			}
		}
	})
}

// generator draws small policies over the package g. Later rules use earlier
// ones, so that there is no recursion.
type generator struct {
	t     *rapid.T
	rules []string // names of rules that are values
	funcs []string // names of functions of one argument
	vars  []string // variables in scope
	fresh int
	depth int
	wild  bool // whether "_" is safe

	nested int // comprehensions that are open
}

func (g *generator) pick(label string, options ...string) string {
	return rapid.SampledFrom(options).Draw(g.t, label)
}

// scalar draws a constant that stands in inputs and data too, or almost.
func (g *generator) scalar() string {
	return g.pick("scalar", `0`, `1`, `2`, `1.0`, `"a"`, `"b"`, `"0"`, `"1"`, `true`, `false`, `null`)
}

// reference draws a reference.
func (g *generator) reference() string {
	roots := []string{"input", "data.d", "data.d", "input.a", "input.o", "data.d.list", "data.d.o", "data.d", "data.d.list"}
	if rapid.IntRange(0, 4).Draw(g.t, "package") == 0 {
		return g.pick("root", "data.e", "data.e.o", "data.e.sub", "data.e.sub.q", "data.e.sub.s", "data.e.o.sub", "data.e.b", "data.e.o.a")
	}
	roots = append(roots, g.vars...)
	if len(g.rules) > 0 && rapid.IntRange(0, 2).Draw(g.t, "rule") == 0 {
		// The types of rules are known, so most steps from them are errors.
		return g.pick("rule", g.rules...)
	}
	ref := g.pick("root", roots...)
	for range rapid.IntRange(0, 2).Draw(g.t, "steps") {
		keys := []string{".a", ".b", ".o", "[0]", "[1]", `["0"]`, `["list"]`}
		if g.wild {
			keys = append(keys, "[_]", "[_]")
		}
		for _, v := range g.vars {
			keys = append(keys, "["+v+"]")
		}
		ref += g.pick("step", keys...)
	}
	return ref
}

// value draws a reference that may have any type.
func (g *generator) value() string {
	return g.pick("value", "input.a", "input.b", "input.o", "input.list", "data.d.a", "data.d.o", "data.d.list", "input.o[data.d.b]", "data.d.list[input.b]", "data.d[input.b]")
}

// term draws an expression with a value.
func (g *generator) term() string {
	g.depth++
	wild := g.wild
	g.wild = wild && g.depth == 1
	defer func() { g.depth--; g.wild = wild }()
	kinds := []string{"scalar", "reference", "reference"}
	if g.depth < 4 && g.nested < 3 {
		kinds = append(kinds, "array", "set", "object", "comprehension", "call", "builtin")
	}
	switch g.pick("term", kinds...) {
	case "scalar":
		return g.scalar()
	case "array":
		return fmt.Sprintf("[%s, %s]", g.term(), g.term())
	case "set":
		return fmt.Sprintf("{%s, %s}", g.term(), g.term())
	case "object":
		return fmt.Sprintf(`{"a": %s, %s: %s}`, g.term(), g.scalar(), g.term())
	case "comprehension":
		return g.comprehension()
	case "call":
		if len(g.funcs) > 0 {
			return fmt.Sprintf("%s(%s)", g.pick("function", g.funcs...), g.term())
		}
	case "builtin":
		switch g.pick("builtin", "count", "concat", "object.get", "object.union", "to_number", "array.concat", "plus", "union", "json") {
		case "count":
			return fmt.Sprintf("count(%s)", g.value())
		case "concat":
			return fmt.Sprintf(`concat(",", %s)`, g.value())
		case "object.get":
			return fmt.Sprintf("object.get(%s, %s, %s)", g.value(), g.scalar(), g.term())
		case "object.union":
			return fmt.Sprintf("object.union(%s, %s)", g.value(), g.value())
		case "to_number":
			return fmt.Sprintf("to_number(%s)", g.value())
		case "array.concat":
			return fmt.Sprintf("array.concat(%s, %s)", g.value(), g.value())
		case "plus":
			return fmt.Sprintf("%s + %s", g.value(), g.value())
		case "union":
			return fmt.Sprintf("{%s} | {%s}", g.term(), g.term())
		default:
			return fmt.Sprintf("json.marshal(%s)", g.term())
		}
	}
	return g.reference()
}

func (g *generator) comprehension() string {
	scope := len(g.vars)
	g.nested++
	defer func() { g.vars = g.vars[:scope]; g.nested-- }()
	body := g.body()
	switch g.pick("comprehension", "array", "set", "object") {
	case "array":
		return fmt.Sprintf("[%s | %s]", g.term(), body)
	case "set":
		return fmt.Sprintf("{%s | %s}", g.term(), body)
	default:
		return fmt.Sprintf("{%s: %s | %s}", g.scalar(), g.term(), body)
	}
}

func (g *generator) variable() string {
	g.fresh++
	return fmt.Sprintf("v%d", g.fresh)
}

// body draws one to three expressions.
func (g *generator) body() string {
	var exprs []string
	for range rapid.IntRange(1, 3).Draw(g.t, "expressions") {
		exprs = append(exprs, g.expression())
	}
	return strings.Join(exprs, "; ")
}

func (g *generator) expression() string {
	kind := g.pick("expression", "assign", "some", "some", "some key", "compare", "compare", "not", "term", "every", "with", "unify", "in")
	depth, wild := g.depth, g.wild
	g.wild = kind == "assign" || kind == "some" || kind == "some key" || kind == "compare" || kind == "unify"
	if g.wild {
		g.depth = 0
	}
	defer func() { g.depth, g.wild = depth, wild }()
	switch kind {
	case "assign":
		term, v := g.term(), g.variable()
		g.vars = append(g.vars, v)
		return fmt.Sprintf("%s := %s", v, term)
	case "some":
		domain, v := g.reference(), g.variable()
		g.vars = append(g.vars, v)
		return fmt.Sprintf("some %s in %s; [%s] != 7", v, domain, v)
	case "some key":
		domain, k, v := g.reference(), g.variable(), g.variable()
		g.vars = append(g.vars, k, v)
		return fmt.Sprintf("some %s, %s in %s; [%s, %s] != 7", k, v, domain, k, v)
	case "compare":
		return fmt.Sprintf("%s %s %s", g.term(), g.pick("operator", "==", "!=", "<", ">="), g.value())
	case "not":
		return "not " + g.reference()
	case "every":
		domain := g.reference()
		scope := len(g.vars)
		v := g.variable()
		g.vars = append(g.vars, v)
		body := g.body()
		g.vars = g.vars[:scope]
		return fmt.Sprintf("every %s in %s { [%s] != 7; %s }", v, domain, v, body)
	case "with":
		return fmt.Sprintf("%s with %s as %s", g.reference(), g.pick("target", "input", "input.a", "input.o.b"), g.term())
	case "unify":
		pattern, v := g.pick("pattern", "[%s, _, _]", "[%s, _]", `{"a": %s}`, `{"a": %s, "b": _}`, "[_, _, [%s]]"), g.variable()
		term := g.value()
		g.vars = append(g.vars, v)
		return fmt.Sprintf(pattern+" = %s", v, term)
	case "in":
		return fmt.Sprintf("%s in %s", g.term(), g.term())
	default:
		return g.reference()
	}
}

// rule draws a few definitions of one name.
func (g *generator) rule(i int) string {
	name := fmt.Sprintf("r%d", i)
	var lines []string
	define := func(format func() string) {
		for range rapid.IntRange(1, 3).Draw(g.t, "definitions") {
			g.vars, g.fresh = nil, 0
			lines = append(lines, format())
		}
	}
	switch g.pick("rule", "complete", "complete", "else", "set", "object", "nested", "function", "test") {
	case "complete":
		if rapid.Bool().Draw(g.t, "default") {
			lines = append(lines, fmt.Sprintf("default %s := %s", name, g.scalar()))
		}
		define(func() string {
			body := g.body()
			return fmt.Sprintf("%s := %s if { %s }", name, g.term(), body)
		})
	case "else":
		define(func() string {
			body := g.body()
			first := fmt.Sprintf("%s := %s if { %s }", name, g.term(), body)
			g.vars = nil
			body = g.body()
			return fmt.Sprintf("%s else := %s if { %s }", first, g.term(), body)
		})
	case "set":
		define(func() string {
			body := g.body()
			return fmt.Sprintf("%s contains %s if { %s }", name, g.term(), body)
		})
	case "object":
		define(func() string {
			g.vars = []string{"k"}
			body := g.body()
			return fmt.Sprintf("%s[k] := %s if { some k in %s; %s }", name, g.term(), g.value(), body)
		})
	case "nested":
		define(func() string {
			g.vars = []string{"k"}
			body := g.body()
			return fmt.Sprintf("%s[k].%s contains %s if { some k in %s; %s }", name, g.pick("leaf", "a", "b"), g.term(), g.value(), body)
		})
	case "function":
		define(func() string {
			g.vars = []string{"x"}
			body := g.body()
			return fmt.Sprintf("%s(x) := %s if { %s }", name, g.term(), body)
		})
		g.funcs = append(g.funcs, name)
		return strings.Join(lines, "\n")
	default:
		define(func() string { return fmt.Sprintf("%s if { %s }", name, g.body()) })
	}
	g.rules = append(g.rules, name)
	return strings.Join(lines, "\n")
}

// subModule has rules among the base documents that generated policies refer to.
const subModule = `package e.sub

q := input.a if input.b != 1

s contains input.b

m[k] := v if some k, v in input.o

f(x) := x
`

// deepModule has one in an object of them.
const deepModule = `package e.o.sub

p if input.b == 0

list contains 1
`

// document draws what inputs and data consist of.
func document(t *rapid.T, label string) string {
	scalar := rapid.SampledFrom([]string{`0`, `1`, `2`, `"a"`, `"b"`, `"0"`, `"1"`, `true`, `false`, `null`})
	s := func() string { return scalar.Draw(t, label) }
	return fmt.Sprintf(`{"a": [%s, %s, [%s]], "b": %s, "o": {"a": %s, "b": [%s], "0": %s}, "list": [%s, %s], "0": {"1": %s}}`,
		s(), s(), s(), s(), s(), s(), s(), s(), s(), s())
}

// generated counts what came of the generated policies.
type generated struct{ compared, failed, stricter, unsupported, bad int }

// TestGenerated compares the engines on policies that nobody would write.
func TestGenerated(t *testing.T) {
	t.Parallel()
	const policies = 10 // in each check, as most are not good
	var n generated
	rapid.Check(t, func(t *rapid.T) {
		for range policies {
			n.policy(t)
		}
	})
	t.Logf("%d evaluations compared (%d failed, %d of them on the compiled engine only), %d policies unsupported, %d not good",
		n.compared, n.failed, n.stricter, n.unsupported, n.bad)
}

// policy generates a policy and compares the engines on a few inputs.
func (n *generated) policy(t *rapid.T) {
	g := &generator{t: t}
	source := "package g\n\n"
	for i := range rapid.IntRange(1, 4).Draw(t, "rules") {
		source += g.rule(i) + "\n\n"
	}
	source += "all := [v | some n, v in {"
	for i, r := range g.rules {
		source += fmt.Sprintf(`%d: [w | w := %s], `, i, r)
	}
	source += `"": 0}]` + "\n"
	module, err := ast.ParseModuleWithOpts("g.rego", source, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		n.bad++ // what reads like another thing
		return
	}
	modules := map[string]*ast.Module{
		"g.rego": module, "sub.rego": ast.MustParseModule(subModule), "deep.rego": ast.MustParseModule(deepModule),
	}
	var documents map[string]any
	decoder := json.NewDecoder(strings.NewReader(`{"d": ` + document(t, "data") + `, "e": ` + document(t, "data") + `}`))
	decoder.UseNumber()
	if err := decoder.Decode(&documents); err != nil {
		t.Fatal(err)
	}
	program, err := plan.Compile(t.Context(), modules, "g/all", plan.Options{})
	var unsupported *plan.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		n.unsupported++
		return
	case err != nil:
		n.bad++ // unsafe variables, types that do not match
		return
	}
	data, err := plan.NewData(documents)
	if err != nil {
		t.Fatal(err)
	}
	prepared, err := prepare(t.Context(), modules, documents, "g/all")
	if err != nil {
		t.Fatal(err)
	}
	p := policy{program: program, data: data, prepared: prepared}
	t.Logf("%s\ndata %v", source, documents)
	for range 4 {
		input := ast.MustParseTerm(document(t, "input")).Value
		p.compare(t, input)
		n.compared++
		if _, err := program.Eval(t.Context(), input, data); err != nil {
			n.failed++
			if _, err := p.interpret(t.Context(), input); err == nil {
				n.stricter++
			}
		}
	}
}
