package policies

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
)

// The rules of lint, beside all that strict compilation refuses already:
// deprecated functions, unused variables, print. docs/policies.md explains each.
const (
	lintPackage  = "package"  // severe: nothing in the file decides
	lintShadow   = "shadow"   // severe: a contract name means something else
	lintOpen     = "open"     // allowed unless denied
	lintUnread   = "unread"   // a rule that no decision reads
	lintMetadata = "metadata" // deny or limits without words for people
	lintTests    = "tests"    // no tests at all, or skipped ones
)

// contract are the names in package twyn that other files build on.
var contract = [...]string{"allow", "decision", "deny", "limits", "reasons"}

// finding is something that a lint rule found.
type finding struct {
	problem engine.PolicyProblem
	severe  bool // keeps the policy from going live
}

// linter collects findings.
type linter struct {
	findings []finding
}

func (l *linter) add(rule string, severe bool, at *ast.Location, format string, a ...any) {
	p := engine.PolicyProblem{Kind: engine.ProblemLint, Rule: rule, Message: fmt.Sprintf(format, a...)}
	if at != nil {
		p.File, p.Row, p.Col = at.File, at.Row, max(1, at.Col)
	}
	l.findings = append(l.findings, finding{p, severe})
}

// lint finds what compiles and is a mistake all the same, in the order of its
// places.
func (s *Set) lint(ctx context.Context) ([]finding, error) {
	again, err := s.compileAgain(ctx)
	if err != nil {
		return nil, err
	}
	l := &linter{}
	read := again.read()
	for _, name := range slices.Sorted(maps.Keys(again.written)) {
		l.module(again.written[name], read)
	}
	if len(s.sources.tests) == 0 {
		l.add(lintTests, false, nil, "no tests: name files …_test.rego")
	}
	tests, _ := parse(s.sources.tests, capabilities())
	for _, module := range tests {
		for _, rule := range module.Rules {
			if strings.HasPrefix(rule.Head.Name.String(), "todo_test_") {
				l.add(lintTests, false, rule.Loc(), "%s is skipped", rule.Head.Name)
			}
		}
	}
	slices.SortStableFunc(l.findings, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.problem.File, b.problem.File), cmp.Compare(a.problem.Row, b.problem.Row), cmp.Compare(a.problem.Col, b.problem.Col))
	})
	return l.findings, nil
}

// read returns the paths of all rules that a decision can read.
func (r *recompiled) read() map[string]bool {
	w := &footprintWalk{
		compiler: r.compiler, documents: map[string]any{},
		seen: map[*ast.Rule]bool{}, input: map[string]inputPath{}, data: map[string]bool{},
	}
	w.reach(ast.MustParseRef(entry))
	for len(w.queue) > 0 {
		rule := w.queue[len(w.queue)-1]
		w.queue = w.queue[:len(w.queue)-1]
		w.rule(rule)
	}
	read := map[string]bool{}
	for rule := range w.seen {
		read[rulePath(rule)] = true
	}
	return read
}

// rulePath names a rule with its package, up to the first part of its name that
// is not known before the evaluation.
func rulePath(rule *ast.Rule) string {
	if rule.Module == nil {
		return rule.Head.Name.String()
	}
	return rule.Module.Package.Path.Extend(rule.Head.Ref().GroundPrefix()).String()
}

// module lints one file of policies.
func (l *linter) module(module *ast.Module, read map[string]bool) {
	const own = "data.twyn"
	pkg := module.Package.Path.String()
	if pkg == "data.system.log" { // the decision log's masks
		return
	}
	decides := false
	unread := map[string]*ast.Rule{}
	for _, rule := range module.Rules {
		name := module.Package.Path.Extend(rule.Head.Ref().GroundPrefix()).String()
		if read[name] {
			decides = true
		} else if _, known := unread[name]; !known {
			unread[name] = rule
		}
	}
	if !decides && len(module.Rules) > 0 && pkg != own {
		l.add(lintPackage, true, module.Package.Loc(), "package %s: nothing in this file decides; want package twyn, or a use of it there",
			strings.TrimPrefix(pkg, "data."))
		return
	}
	for name, rule := range unread {
		l.add(lintUnread, false, rule.Loc(), "no decision reads %s", name)
	}
	if pkg == own {
		l.contract(module)
	}
}

// contract lints what a file of package twyn does with the names that other
// files build on.
func (l *linter) contract(module *ast.Module) {
	for _, rule := range module.Rules {
		name := rule.Head.Name.String()
		if len(rule.Head.Ref()) == 1 && (name == "deny" || name == "limits") {
			if rule.Head.RuleKind() != ast.MultiValue {
				l.add(lintShadow, true, rule.Loc(), "%s is a set that several files add to: want %s contains …", name, name)
			} else if len(rule.Annotations) == 0 {
				l.add(lintMetadata, false, rule.Loc(), "%s without a # METADATA comment that says why", name)
			}
		}
		if name == "allow" && rule.Default && rule.Head.Value != nil && rule.Head.Value.Equal(ast.BooleanTerm(true)) {
			l.add(lintOpen, false, rule.Loc(), "allowed unless a rule says otherwise: want default allow := false")
		}
		l.shadows(rule)
	}
}

// shadows finds variables of a rule that hide the contract's names.
func (l *linter) shadows(rule *ast.Rule) {
	check := func(term *ast.Term) {
		if v, ok := term.Value.(ast.Var); ok && slices.Contains(contract[:], string(v)) {
			l.add(lintShadow, true, term.Loc(), "the variable %s hides data.twyn.%s", v, v)
		}
	}
	for _, arg := range rule.Head.Args {
		check(arg)
	}
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.IsAssignment() && x.Operand(0) != nil {
				check(x.Operand(0))
			}
		case *ast.SomeDecl:
			for _, symbol := range x.Symbols {
				if call, ok := symbol.Value.(ast.Call); ok { // some x in …
					for _, term := range call[1 : len(call)-1] {
						check(term)
					}
					continue
				}
				check(symbol)
			}
		case *ast.Every:
			check(x.Value)
			if x.Key != nil {
				check(x.Key)
			}
		}
		return false
	}).Walk(rule)
}
