package policies

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/twyn/twyn/engine"
)

// Bounds of an explanation, which people read and answers carry.
const (
	explainTimeout   = 2 * time.Second
	maxExplanations  = 64
	maxExplainValues = 64
	maxExplainBytes  = 4096 // of one value, as JSON
)

// Explain says why the set decides as it does on an input: which rules held
// that gave the reasons, where they stand, and the values that made them true.
// Where no rule gives a reason of its own, it is the decision itself. It asks
// the interpreter, and takes far longer than a decision.
func Explain(ctx context.Context, set *Set, input *engine.Input) (explanations []engine.Explanation, err error) {
	defer func() {
		if r := recover(); r != nil {
			explanations, err = nil, fmt.Errorf("%w: panic: %v", ErrEvaluation, r)
		}
	}()
	value, err := inputValue(input)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	again, err := set.compileAgain(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, explainTimeout, ErrBudget)
	defer cancel()
	e := &explainer{recompiled: again, ctx: ctx, input: value, at: time.Unix(0, input.Request.Time)}
	tracer := &ruleTracer{}
	document, err := e.eval(entry, tracer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	reasons := reasonsOf(document)
	var whole []engine.Explanation
	for _, held := range tracer.held {
		if reason, ok := held.reason(reasons); ok {
			explanations = append(explanations, e.explain(held, reason))
		} else if rulePath(held.rule) == entry && len(whole) == 0 {
			whole = append(whole, e.explain(held, engine.Reason{}))
		}
	}
	if len(explanations) == 0 {
		explanations = whole
	}
	return ordered(explanations, reasons), nil
}

// ordered sorts explanations as the decision orders its reasons, each once.
func ordered(explanations []engine.Explanation, reasons []engine.Reason) []engine.Explanation {
	slices.SortStableFunc(explanations, func(a, b engine.Explanation) int {
		return cmp.Or(
			cmp.Compare(slices.Index(reasons, engine.Reason{Code: a.Code, Message: a.Message}), slices.Index(reasons, engine.Reason{Code: b.Code, Message: b.Message})),
			cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col))
	})
	return explanations[:min(len(explanations), maxExplanations)]
}

// reasonsOf reads the reasons of a decision, as far as it has any.
func reasonsOf(document ast.Value) []engine.Reason {
	object, ok := document.(ast.Object)
	if !ok {
		return nil
	}
	term := object.Get(ast.StringTerm("reasons"))
	if term == nil {
		return nil
	}
	array, ok := term.Value.(*ast.Array)
	if !ok {
		return nil
	}
	var reasons []engine.Reason
	array.Foreach(func(term *ast.Term) {
		if reason, ok := reasonOf(term.Value); ok {
			reasons = append(reasons, reason)
		}
	})
	return reasons
}

// reasonOf reads one reason.
func reasonOf(value ast.Value) (engine.Reason, bool) {
	object, ok := value.(ast.Object)
	if !ok {
		return engine.Reason{}, false
	}
	code, message := object.Get(ast.StringTerm("code")), object.Get(ast.StringTerm("message"))
	if code == nil || message == nil {
		return engine.Reason{}, false
	}
	c, ok1 := code.Value.(ast.String)
	m, ok2 := message.Value.(ast.String)
	return engine.Reason{Code: string(c), Message: string(m)}, ok1 && ok2
}

// heldRule is a rule whose body was true, with the values of its variables.
type heldRule struct {
	rule   *ast.Rule
	locals *ast.ValueMap
	names  map[ast.Var]topdown.VarMetadata
}

// ruleTracer notes the rules that held.
type ruleTracer struct {
	held []heldRule
}

var _ topdown.QueryTracer = (*ruleTracer)(nil)

// Enabled asks for events.
func (*ruleTracer) Enabled() bool { return true }

// Config asks for the values of variables.
func (*ruleTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent notes the end of a rule. A rule that is evaluated again, for the
// next of its values, ends again.
func (t *ruleTracer) TraceEvent(event topdown.Event) {
	rule, ok := event.Node.(*ast.Rule)
	if !ok || event.Op != topdown.ExitOp || len(t.held) >= 100*maxExplanations {
		return
	}
	t.held = append(t.held, heldRule{rule, event.Locals, event.LocalMetadata})
}

// plug replaces the variables of a term by their values.
func (h *heldRule) plug(term *ast.Term) *ast.Term {
	plugged, err := ast.TransformVars(term, func(v ast.Var) (ast.Value, error) {
		if value := h.locals.Get(v); value != nil {
			return value, nil
		}
		return v, nil
	})
	if t, ok := plugged.(*ast.Term); ok && err == nil {
		return t
	}
	return term
}

// reason returns the reason that the rule gave if the decision has it.
func (h *heldRule) reason(reasons []engine.Reason) (engine.Reason, bool) {
	for _, term := range []*ast.Term{h.rule.Head.Key, h.rule.Head.Value} {
		if term == nil {
			continue
		}
		if reason, ok := reasonOf(h.plug(term.Copy()).Value); ok && slices.Contains(reasons, reason) {
			return reason, true
		}
	}
	return engine.Reason{}, false
}

// explainer finds the values that rules have read.
type explainer struct {
	*recompiled

	ctx   context.Context
	input ast.Value
	at    time.Time
}

// eval evaluates a reference; nil if it is undefined.
func (e *explainer) eval(query string, tracers ...topdown.QueryTracer) (ast.Value, error) {
	prepared, err := rego.New(
		rego.Query(query), rego.Compiler(e.compiler), rego.Store(e.store), rego.Transaction(e.txn), rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
		rego.GenerateJSON(func(term *ast.Term, _ *rego.EvalContext) (any, error) { return term, nil }),
	).PrepareForEval(e.ctx)
	if err != nil {
		return nil, err
	}
	options := []rego.EvalOption{
		rego.EvalParsedInput(e.input), rego.EvalTransaction(e.txn), rego.EvalTime(e.at),
		rego.EvalExternalCancel(&contextCancel{done: e.ctx.Done(), steps: maxSteps}),
	}
	for _, tracer := range tracers {
		// Without early exit and without index lookups every rule that holds
		// is seen to hold.
		options = append(options, rego.EvalQueryTracer(tracer), rego.EvalEarlyExit(false))
	}
	results, err := prepared.Eval(e.ctx, options...)
	if err != nil || len(results) == 0 {
		return nil, err
	}
	term, ok := results[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, nil
	}
	return term.Value, nil
}

// explain tells of one rule that held.
func (e *explainer) explain(h heldRule, reason engine.Reason) engine.Explanation {
	explanation := engine.Explanation{Rule: rulePath(h.rule), Values: map[string]any{}, Code: reason.Code, Message: reason.Message}
	if at := h.rule.Loc(); at != nil {
		explanation.File, explanation.Row, explanation.Col = at.File, at.Row, max(1, at.Col)
	}
	h.locals.Iter(func(name, value ast.Value) bool {
		v, ok := name.(ast.Var)
		if !ok || v.IsGenerated() && h.names[v].Name == v {
			return false
		}
		if shown := h.names[v].Name; shown != "" && !shown.IsGenerated() && !shown.IsWildcard() {
			explanation.Values[string(shown)] = printable(value)
		}
		return false
	})
	for _, ref := range e.reads(&h) {
		name := strings.TrimPrefix(ref.String(), h.rule.Module.Package.Path.String()+".")
		if _, known := explanation.Values[name]; known || len(explanation.Values) >= maxExplainValues {
			continue
		}
		if value, err := e.eval(ref.String()); err == nil {
			explanation.Values[name] = printable(value)
		}
	}
	return explanation
}

// reads returns the parts of input and data that the body of a rule refers to,
// without those of functions that it calls.
func (e *explainer) reads(h *heldRule) []ast.Ref {
	var refs []ast.Ref
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.IsCall() {
				for _, term := range x.Operands() {
					refs = append(refs, e.readsOf(h, term)...)
				}
				return true
			}
		case ast.Call:
			for _, term := range x[1:] {
				refs = append(refs, e.readsOf(h, term)...)
			}
			return true
		case *ast.Term:
			if _, isRef := x.Value.(ast.Ref); isRef {
				refs = append(refs, e.readsOf(h, x)...)
				return true
			}
		}
		return false
	}).Walk(h.rule.Body)
	return refs
}

// readsOf returns what a term refers to, each reference up to the first part
// whose value is not known.
func (e *explainer) readsOf(h *heldRule, term *ast.Term) []ast.Ref {
	var refs []ast.Ref
	ast.WalkRefs(h.plug(term.Copy()), func(ref ast.Ref) bool {
		if prefix := ref.GroundPrefix(); len(prefix) > 1 && (prefix[0].Equal(ast.InputRootDocument) || prefix[0].Equal(ast.DefaultRootDocument)) {
			refs = append(refs, prefix)
		}
		return false
	})
	return refs
}

// printable is a value as JSON has it, cut where it is long; nil if it is
// undefined.
func printable(value ast.Value) any {
	if value == nil {
		return nil
	}
	plain, err := ast.JSON(value)
	if err != nil {
		return value.String()
	}
	text, err := json.Marshal(plain)
	if err != nil || len(text) > maxExplainBytes {
		return brief(ast.NewTerm(value))
	}
	return plain
}
