package plan

import (
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// check looks, in the rules that the entry point needs, for what a plan does not
// show any more.
func check(modules map[string]*ast.Module, entrypoint string, options Options) error {
	compiler := ast.NewCompiler().WithCapabilities(options.Capabilities).WithDefaultRegoVersion(options.RegoVersion)
	compiler.Compile(modules)
	if compiler.Failed() {
		return fmt.Errorf("compiling policies: %w", compiler.Errors)
	}
	for _, module := range compiler.Modules {
		for _, rule := range module.Rules {
			if err := checkDepth(compiler.RuleTree, rule); err != nil {
				return err
			}
		}
	}
	ref := ast.DefaultRootRef
	for name := range strings.SplitSeq(entrypoint, "/") {
		ref = ref.Append(ast.StringTerm(name))
	}
	seen := map[*ast.Rule]bool{}
	for _, rule := range compiler.GetRules(ref) {
		if err := checkRule(compiler, rule, seen); err != nil {
			return err
		}
	}
	return nil
}

// checkRule checks a rule and all rules that it needs.
func checkRule(compiler *ast.Compiler, rule *ast.Rule, seen map[*ast.Rule]bool) error {
	if seen[rule] {
		return nil
	}
	seen[rule] = true
	if err := checkHead(rule); err != nil {
		return err
	}
	var bad error
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.With:
			if ref, ok := x.Target.Value.(ast.Ref); ok && !ref.HasPrefix(ast.InputRootRef) && bad == nil {
				what := "with on a function"
				if ref.HasPrefix(ast.DefaultRootRef) && len(compiler.GetRules(ref)) == 0 {
					what = "with on data"
				}
				bad = unsupportedAt(x.Target, what)
			}
		case *ast.Expr:
			// The planner takes a collection for true without evaluating it.
			if term, ok := x.Terms.(*ast.Term); ok && isCollection(term.Value) && bad == nil {
				bad = unsupportedAt(term, "a collection as a condition")
			}
		case ast.Ref:
			if i := variableName(compiler.RuleTree, x); i > 0 && bad == nil {
				// The planner tells 1 from "1" here, the interpreter does not,
				// and the order in which they go through the names differs.
				bad = unsupportedAt(x[i], "a variable where the name of a package or rule stands")
			}
		case *ast.Term:
			if compiler.ComprehensionIndex(x) != nil && mayFail(x.Value) && bad == nil {
				// The interpreter evaluates it for all keys at once, also
				// for those that fail and are never asked for.
				bad = unsupportedAt(x, "a comprehension that may fail and that the interpreter evaluates ahead of need")
			}
		}
		return bad != nil
	}).Walk(rule)
	if bad != nil {
		return bad
	}
	for needed := range compiler.Graph.Dependencies(rule) {
		if r, ok := needed.(*ast.Rule); ok {
			if err := checkRule(compiler, r, seen); err != nil {
				return err
			}
		}
	}
	return nil
}

// variableName returns the index of the first variable in a reference to data
// that stands where rules have names; 0 if there is none.
func variableName(node *ast.TreeNode, ref ast.Ref) int {
	if !ref.HasPrefix(ast.DefaultRootRef) {
		return 0
	}
	node = node.Child(ref[0].Value)
	for i := 1; i < len(ref) && node != nil && len(node.Values) == 0; i++ {
		if !ref[i].IsGround() && len(node.Children) > 0 {
			return i
		}
		node = node.Child(ref[i].Value)
	}
	return 0
}

// checkHead refuses the heads of rules whose names contain what is no string,
// such as p[0].q: to the interpreter they are rules of their own, to the planner
// they make an object. It also refuses a variable with more behind it, as in
// p[x].q: a plan grows objects inside objects then, whose hashes it does not keep.
func checkHead(rule *ast.Rule) error {
	ref := rule.Ref()
	for _, term := range ref[1 : len(ref)-1] {
		if !term.IsGround() {
			return unsupportedAt(&ast.Term{Location: rule.Location}, "a rule whose name goes on behind the variable "+term.String())
		}
	}
	for _, term := range rule.Ref().GroundPrefix()[1:] {
		if _, ok := term.Value.(ast.String); !ok {
			e := &UnsupportedError{What: "a rule whose name contains " + term.String()}
			if loc := rule.Location; loc != nil {
				e.File, e.Row, e.Col = loc.File, loc.Row, loc.Col
			}
			return e
		}
	}
	return nil
}

// checkDepth refuses the rules of a name that has variables, such as p[x].q, if
// not all of that name end at the same depth. To the interpreter it is a conflict
// where one ends inside another; plans would merge the two, and write into what
// may be part of the input.
func checkDepth(tree *ast.TreeNode, rule *ast.Rule) error {
	ref := rule.Ref()
	if ref.IsGround() {
		return nil
	}
	node := tree
	for _, term := range ref.StringPrefix() {
		if node = node.Child(term.Value); node == nil {
			return nil
		}
	}
	var bad error
	node.DepthFirst(func(n *ast.TreeNode) bool {
		for _, other := range n.Values {
			if bad == nil && (len(other.Ref()) != len(ref) || other.Head.RuleKind() != rule.Head.RuleKind()) {
				bad = unsupportedAt(&ast.Term{Location: rule.Location}, "definitions of "+ref.StringPrefix().String()+" that end at different depths")
			}
		}
		return bad != nil
	})
	return bad
}

// isCollection reports whether a value is written as a collection.
func isCollection(v ast.Value) bool {
	switch v.(type) {
	case *ast.Array, ast.Object, ast.Set, *ast.ArrayComprehension, *ast.ObjectComprehension, *ast.SetComprehension:
		return true
	default:
		return false
	}
}

func unsupportedAt(term *ast.Term, what string) error {
	e := &UnsupportedError{What: what}
	if loc := term.Location; loc != nil {
		e.File, e.Row, e.Col = loc.File, loc.Row, loc.Col
	}
	return e
}

// mayFail reports whether the evaluation of a comprehension can be an error.
func mayFail(comprehension ast.Value) bool {
	if _, ok := comprehension.(*ast.ObjectComprehension); ok {
		return true // keys may conflict
	}
	fails := false
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.Expr:
			if x.IsCall() {
				name := x.Operator().String()
				fails = fails || name != ast.Equality.Name && condition(name) == nil
			}
		case ast.Call, *ast.ObjectComprehension:
			fails = true
		case ast.Ref:
			// A rule may fail.
			fails = fails || x.HasPrefix(ast.DefaultRootRef)
		}
		return fails
	}).Walk(comprehension)
	return fails
}
