package plan

import (
	"errors"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// call lowers the call of a rule, a function or a built-in function.
func (w *lowering) call(s *ir.CallStmt) (op, error) {
	f := w.funcs[s.Func]
	if f == nil {
		return w.callBuiltin(s)
	}
	args := make([]operand, len(s.Args))
	for i, a := range s.Args {
		args[i] = w.operand(a)
	}
	if len(args) != len(f.params) {
		return nil, w.unsupported(s, "a call of %s with %d arguments", ruleName(s.Func), len(args))
	}
	isRule := len(f.params) == 2 && len(s.Args) == 2 && normal(s.Args[0]) == ir.Val(ir.Input) && normal(s.Args[1]) == ir.Val(ir.Data)
	switch {
	case isRule && f.known:
		if f.fixed != nil && w.own(s.Result) {
			w.consts[s.Result] = f.fixed
			return nil, nil
		}
		return fixedRule(f, s.Result), nil
	case isRule:
		return callRule(f, s.Result), nil
	default:
		return callFunction(f, args, s.Result), nil
	}
}

// fixedRule lowers the use of a rule whose value is known.
func fixedRule(f *function, target ir.Local) op {
	return func(_ *machine, l []*ast.Term) ctl {
		l[target] = f.fixed
		return when(f.fixed != nil)
	}
}

// callRule lowers the use of a rule. Its value is remembered for as long as
// input and data stay the same.
func callRule(f *function, target ir.Local) op {
	index := f.index
	return func(m *machine, l []*ast.Term) ctl {
		if m.memo[index].gen != m.gen {
			if !m.rule(f, l) {
				return failed
			}
		}
		term := m.memo[index].term
		l[target] = term
		return when(term != nil)
	}
}

// rule evaluates a rule for the input and data of the caller's frame.
func (m *machine) rule(f *function, l []*ast.Term) bool {
	if !m.step() {
		return false
	}
	sp, chunk := m.sp, m.chunk
	frame := m.push(f.locals)
	frame[ir.Input], frame[ir.Data] = l[ir.Input], l[ir.Data]
	term, ok := f.call(m, frame)
	m.pop(sp, chunk)
	m.memo[f.index] = memo{gen: m.gen, term: term}
	return ok
}

func callFunction(f *function, args []operand, target ir.Local) op {
	return func(m *machine, l []*ast.Term) ctl {
		if !m.step() {
			return failed
		}
		sp, chunk := m.sp, m.chunk
		frame := m.push(f.locals)
		for i, a := range args {
			frame[f.params[i]] = a.load(l)
		}
		term, ok := f.call(m, frame)
		m.pop(sp, chunk)
		if !ok {
			return failed
		}
		l[target] = term
		return when(term != nil)
	}
}

// ruleName returns the name of a planned function as people know it.
func ruleName(name string) string {
	_, path, _ := strings.Cut(name, ".")
	return "rule " + path
}

// callBuiltin lowers the call of a built-in function.
func (w *lowering) callBuiltin(s *ir.CallStmt) (op, error) {
	builtin := w.program.builtins[s.Func]
	implementation := topdown.GetBuiltin(s.Func)
	if builtin == nil || implementation == nil {
		return nil, w.unsupported(s, "the built-in function %s", s.Func)
	}
	if why := refused(builtin); why != "" {
		return nil, w.unsupported(s, "the built-in function %s: %s", s.Func, why)
	}
	args := make([]operand, len(s.Args))
	for i, a := range s.Args {
		args[i] = w.operand(a)
	}
	if builtin.Relation {
		return callRelation(implementation, args, s.Result, w.location(s)), nil
	}
	if o := quick(s.Func, args, s.Result); o != nil {
		return o, nil
	}
	guard, short := guardOf(s.Func), shortcutOf(s.Func)
	loc, target := w.location(s), s.Result
	plain := builtin.CanSkipBctx
	return func(m *machine, l []*ast.Term) ctl {
		sp, chunk := m.sp, m.chunk
		operands := m.push(len(args))
		for i, a := range args {
			operands[i] = a.load(l)
		}
		if short != nil {
			if term := short(m, operands); term != nil {
				m.pop(sp, chunk)
				l[target] = term
				return m.spend(size(term))
			}
		}
		ok := m.builtin(implementation, guard, operands, loc, plain)
		m.pop(sp, chunk)
		if !ok {
			return failed
		}
		l[target] = m.out
		return when(m.out != nil)
	}, nil
}

// spend counts a step and bytes.
func (m *machine) spend(bytes int) ctl {
	if !m.step() || !m.charge(bytes) {
		return failed
	}
	return carryOn
}

// builtin calls a built-in function; its result is in m.out then.
func (m *machine) builtin(f topdown.BuiltinFunc, guard guard, operands []*ast.Term, loc *ast.Location, plain bool) bool {
	if !m.step() || guard != nil && !m.affords(guard(operands)) {
		return false
	}
	m.out = nil
	var err error
	if plain {
		err = f(topdown.BuiltinContext{Location: loc}, operands, m.emit)
	} else {
		m.bctx.Location = loc
		err = f(m.bctx, operands, m.emit)
	}
	if err != nil {
		return m.fail(err)
	}
	return m.out == nil || m.charge(size(m.out))
}

// fail keeps the error of a built-in function. A cancelled evaluation shows as
// an error of some of them.
func (m *machine) fail(err error) bool {
	if m.cancelled() {
		m.refuel()
		return false
	}
	if halt := (topdown.Halt{}); errors.As(err, &halt) {
		err = halt.Err
	}
	m.err = err
	return false
}

// callRelation lowers the call of a built-in function that has many results,
// which become an array.
func callRelation(f topdown.BuiltinFunc, args []operand, target ir.Local, loc *ast.Location) op {
	return func(m *machine, l []*ast.Term) ctl {
		operands := make([]*ast.Term, len(args))
		for i, a := range args {
			operands[i] = a.load(l)
		}
		m.bctx.Location = loc
		err := f(m.bctx, operands, m.emitAll)
		items := append([]*ast.Term(nil), m.outs...)
		clear(m.outs)
		m.outs = m.outs[:0]
		if err != nil {
			m.fail(err)
			return failed
		}
		l[target] = ast.ArrayTerm(items...)
		return carryOn
	}
}
