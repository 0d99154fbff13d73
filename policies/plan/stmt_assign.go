package plan

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// assign lowers the statements that give a local a value or ask for one.
func (w *lowering) assign(s ir.Stmt) (op, error) {
	switch s := s.(type) {
	case *ir.AssignVarStmt:
		return w.move(s), nil
	case *ir.AssignVarOnceStmt:
		return w.assignOnce(s), nil
	case *ir.AssignIntStmt:
		return store(s.Target, ast.InternedTerm(s.Value)), nil
	case *ir.ResetLocalStmt:
		return store(s.Target, nil), nil
	case *ir.IsDefinedStmt:
		source := w.local(s.Source)
		return func(_ *machine, l []*ast.Term) ctl { return when(source.load(l) != nil) }, nil
	case *ir.IsUndefinedStmt:
		source := w.local(s.Source)
		return func(_ *machine, l []*ast.Term) ctl { return when(source.load(l) == nil) }, nil
	case *ir.LenStmt:
		return w.length(s), nil
	case *ir.ResultSetAddStmt:
		value := w.local(s.Value)
		return func(m *machine, l []*ast.Term) ctl {
			object, ok := value.load(l).Value.(ast.Object)
			if ok {
				m.res = object.Get(resultName)
			}
			return carryOn
		}, nil
	default: // a Make…Stmt of a scalar that is no constant
		target, term := w.scalar(s)
		return store(target, term), nil
	}
}

// result lowers the end of a plan, where the result is put into an object only
// to be put into a set.
func (w *lowering) result(stmts []ir.Stmt) (op, bool) {
	if len(stmts) < 3 {
		return nil, false
	}
	object, ok1 := stmts[0].(*ir.MakeObjectStmt)
	insert, ok2 := stmts[1].(*ir.ObjectInsertStmt)
	add, ok3 := stmts[2].(*ir.ResultSetAddStmt)
	if !ok1 || !ok2 || !ok3 || insert.Object != object.Target || add.Value != object.Target {
		return nil, false
	}
	if key := w.operand(insert.Key); key.term == nil || !key.term.Equal(resultName) {
		return nil, false
	}
	value := w.operand(insert.Value)
	return func(m *machine, l []*ast.Term) ctl {
		m.res = value.load(l)
		return carryOn
	}, true
}

// when is carryOn if the condition holds, otherwise undefined.
func when(condition bool) ctl {
	if condition {
		return carryOn
	}
	return undefined
}

func store(target ir.Local, term *ast.Term) op {
	return func(_ *machine, l []*ast.Term) ctl {
		l[target] = term
		return carryOn
	}
}

func (w *lowering) move(s *ir.AssignVarStmt) op {
	source, target := w.operand(s.Source), s.Target
	delete(w.base, target)
	if source.term != nil {
		return store(target, source.term)
	}
	return func(_ *machine, l []*ast.Term) ctl {
		l[target] = l[source.local]
		return carryOn
	}
}

// assignOnce lowers the assignment of a rule's or function's result.
func (w *lowering) assignOnce(s *ir.AssignVarOnceStmt) op {
	source, target, name, loc := w.operand(s.Source), s.Target, w.fn.name, w.location(s)
	return func(m *machine, l []*ast.Term) ctl {
		value := source.load(l)
		if old := l[target]; old != nil && !same(old, value) {
			m.err = &topdown.Error{Code: topdown.ConflictErr, Location: loc, Message: ruleName(name) + " produced conflicting values"}
			return failed
		}
		l[target] = value
		return carryOn
	}
}

func (w *lowering) length(s *ir.LenStmt) op {
	source, target := w.operand(s.Source), s.Target
	return func(_ *machine, l []*ast.Term) ctl {
		var n int
		switch v := source.load(l).Value.(type) {
		case *ast.Array:
			n = v.Len()
		case ast.Object:
			n = v.Len()
		case ast.Set:
			n = v.Len()
		default:
			return undefined
		}
		l[target] = ast.InternedTerm(n)
		return carryOn
	}
}

// is lowers the tests of a value's type.
func (w *lowering) is(s ir.Stmt) (op, error) {
	switch s := s.(type) {
	case *ir.IsArrayStmt:
		source := w.whole(s.Source)
		return func(_ *machine, l []*ast.Term) ctl {
			term := source.load(l)
			if term == nil {
				return undefined
			}
			_, ok := term.Value.(*ast.Array)
			return when(ok)
		}, nil
	case *ir.IsObjectStmt:
		source := w.whole(s.Source)
		return func(_ *machine, l []*ast.Term) ctl {
			term := source.load(l)
			if term == nil {
				return undefined
			}
			_, ok := term.Value.(ast.Object)
			return when(ok)
		}, nil
	default:
		source := w.whole(s.(*ir.IsSetStmt).Source)
		return func(_ *machine, l []*ast.Term) ctl {
			term := source.load(l)
			if term == nil {
				return undefined
			}
			_, ok := term.Value.(ast.Set)
			return when(ok)
		}, nil
	}
}

// whole returns an operand that is used as a value from here on: the planner
// asks for the type of a value before it takes the value apart to match a
// pattern, which is not how references to base documents are looked up.
func (w *lowering) whole(o ir.Operand) operand {
	if l, ok := normal(o).(ir.Local); ok {
		delete(w.base, l)
	}
	return w.operand(o)
}

// same reports whether two terms have the same value.
func same(a, b *ast.Term) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil {
		return false
	}
	switch x := a.Value.(type) {
	case ast.String:
		y, ok := b.Value.(ast.String)
		return ok && x == y
	case ast.Boolean:
		y, ok := b.Value.(ast.Boolean)
		return ok && x == y
	}
	return a.Value.Compare(b.Value) == 0
}

func equal(a, b operand) op {
	if b.term != nil {
		a, b = b, a
	}
	if a.term == nil {
		return func(_ *machine, l []*ast.Term) ctl {
			x, y := l[a.local], l[b.local]
			return when(x != nil && same(x, y))
		}
	}
	if want, ok := a.term.Value.(ast.String); ok && b.term == nil {
		return func(_ *machine, l []*ast.Term) ctl {
			if term := l[b.local]; term != nil {
				got, ok := term.Value.(ast.String)
				return when(ok && got == want)
			}
			return undefined
		}
	}
	return func(_ *machine, l []*ast.Term) ctl { return when(same(a.term, b.load(l))) }
}

func notEqual(a, b operand) op {
	if b.term == ast.InternedBooleanFalse && a.term == nil {
		return func(_ *machine, l []*ast.Term) ctl { return when(truthy(l[a.local])) }
	}
	return func(_ *machine, l []*ast.Term) ctl {
		x, y := a.load(l), b.load(l)
		return when(x != nil && y != nil && !same(x, y))
	}
}

// truthy reports whether the term is defined and not false.
func truthy(term *ast.Term) bool {
	if term == nil {
		return false
	}
	b, ok := term.Value.(ast.Boolean)
	return !ok || bool(b)
}
