package plan

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// refused says why a built-in function is left to the interpreter; "" if it is
// not.
func refused(b *ast.Builtin) string {
	switch {
	case b.Nondeterministic:
		return "it does not always give the same answer"
	case b.Name == "internal.print" || b.Name == "print" || b.Name == "trace":
		return "it has an effect"
	case strings.HasPrefix(b.Name, "crypto.x509."), b.Name == "io.jwt.decode_verify":
		return "it depends on the clock"
	case b.Name == "json.match_schema" || b.Name == "json.verify_schema":
		return "it can reach the network"
	case b.Decl.Result() == nil:
		return "it has no result"
	default:
		return ""
	}
}

// quick lowers the built-in functions that are not worth a call.
func quick(name string, args []operand, target ir.Local) op {
	if len(args) != 2 {
		return nil
	}
	holds := condition(name)
	if holds == nil {
		return nil
	}
	a, b := args[0], args[1]
	return func(_ *machine, l []*ast.Term) ctl {
		l[target] = ast.InternedTerm(holds(a.load(l), b.load(l)))
		return carryOn
	}
}

// condition returns the test that a built-in function of two arguments makes, if
// it is one that cannot fail.
func condition(name string) func(a, b *ast.Term) bool {
	switch name {
	case ast.Equal.Name:
		return same
	case ast.NotEqual.Name:
		return func(a, b *ast.Term) bool { return !same(a, b) }
	case ast.LessThan.Name:
		return func(a, b *ast.Term) bool { return ast.Compare(a.Value, b.Value) < 0 }
	case ast.LessThanEq.Name:
		return func(a, b *ast.Term) bool { return ast.Compare(a.Value, b.Value) <= 0 }
	case ast.GreaterThan.Name:
		return func(a, b *ast.Term) bool { return ast.Compare(a.Value, b.Value) > 0 }
	case ast.GreaterThanEq.Name:
		return func(a, b *ast.Term) bool { return ast.Compare(a.Value, b.Value) >= 0 }
	case ast.Member.Name:
		return member
	default:
		return nil
	}
}

// member reports whether a value is in a collection.
func member(value, collection *ast.Term) bool {
	switch c := collection.Value.(type) {
	case *ast.Array:
		for i := range c.Len() {
			if same(value, c.Elem(i)) {
				return true
			}
		}
		return false
	case ast.Set:
		return c.Contains(value)
	case ast.Object:
		return c.Until(func(_, v *ast.Term) bool { return same(value, v) })
	default:
		return false
	}
}

// test lowers the call of a built-in function that makes a test, together with
// the statement after it that asks whether it holds.
func (w *lowering) test(stmts []ir.Stmt) (op, bool) {
	if len(stmts) < 2 {
		return nil, false
	}
	call, ok1 := stmts[0].(*ir.CallStmt)
	check, ok2 := stmts[1].(*ir.NotEqualStmt)
	if !ok1 || !ok2 || len(call.Args) != 2 || w.funcs[call.Func] != nil {
		return nil, false
	}
	holds := condition(call.Func)
	if holds == nil || w.program.builtins[call.Func] == nil || !w.own(call.Result) || w.use.reads[call.Result] != 1 ||
		normal(check.A) != ir.Val(call.Result) || normal(check.B) != ir.Val(ir.Bool(false)) {
		return nil, false
	}
	a, b := w.operand(call.Args[0]), w.operand(call.Args[1])
	return func(_ *machine, l []*ast.Term) ctl { return when(holds(a.load(l), b.load(l))) }, true
}

// size estimates the bytes that the result of a built-in function takes,
// without what is inside it.
func size(term *ast.Term) int {
	switch v := term.Value.(type) {
	case ast.String:
		return termBytes + len(v)
	case ast.Number:
		return termBytes + len(v)
	case *ast.Array:
		return collectionBytes + v.Len()*termBytes
	case ast.Object:
		return collectionBytes + v.Len()*termBytes
	case ast.Set:
		return collectionBytes + v.Len()*termBytes
	default:
		return 0
	}
}
