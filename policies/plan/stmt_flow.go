package plan

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// flow lowers the statements that say what runs next.
func (w *lowering) flow(s ir.Stmt) (op, error) {
	switch s := s.(type) {
	case *ir.BlockStmt:
		return w.blockStmt(s)
	case *ir.BreakStmt:
		if int(s.Index) >= w.depth {
			return nil, w.unsupported(s, "a break out of a loop")
		}
		leave := ctl(s.Index) + 1
		return func(*machine, []*ast.Term) ctl { return leave }, nil
	case *ir.NotStmt:
		return w.not(s)
	case *ir.ScanStmt:
		return w.scan(s)
	case *ir.WithStmt:
		return w.with(s)
	case *ir.ReturnLocalStmt:
		source := w.local(s.Source)
		return func(m *machine, l []*ast.Term) ctl {
			m.ret = source.load(l)
			return returned
		}, nil
	default: // a NopStmt
		return nil, nil
	}
}

func (w *lowering) blockStmt(s *ir.BlockStmt) (op, error) {
	blocks := make([][]op, len(s.Blocks))
	for i, b := range s.Blocks {
		var err error
		if blocks[i], err = w.block(b); err != nil {
			return nil, err
		}
	}
	if len(blocks) == 1 {
		ops := blocks[0]
		return func(m *machine, l []*ast.Term) ctl {
			c := run(m, l, ops)
			if c > 0 {
				return c - 1
			}
			return c
		}, nil
	}
	return func(m *machine, l []*ast.Term) ctl {
		for _, ops := range blocks {
			c := run(m, l, ops)
			if c > undefined {
				return c - 1
			}
			if c < carryOn {
				return c
			}
		}
		return carryOn
	}, nil
}

func (w *lowering) not(s *ir.NotStmt) (op, error) {
	ops, err := w.inner(s.Block)
	if err != nil {
		return nil, err
	}
	return func(m *machine, l []*ast.Term) ctl {
		switch c := run(m, l, ops); c {
		case carryOn:
			return undefined
		case undefined:
			return carryOn
		default:
			return c
		}
	}, nil
}

// scan lowers a loop. Objects and sets are gone through in their order, as the
// interpreter does, so that arrays made from them have the same order.
func (w *lowering) scan(s *ir.ScanStmt) (op, error) {
	delete(w.base, s.Key)
	w.base[s.Value] = w.base[s.Source]
	ops, err := w.inner(s.Block)
	if err != nil {
		return nil, err
	}
	source, key, value := w.local(s.Source), int(s.Key), int(s.Value)
	return func(m *machine, l []*ast.Term) ctl {
		term := source.load(l)
		if term == nil {
			return carryOn
		}
		switch v := term.Value.(type) {
		case *ast.Array:
			for i := range v.Len() {
				l[key], l[value] = ast.InternedTerm(i), v.Elem(i)
				if c := iterate(m, l, ops); c < carryOn {
					return c
				}
			}
		case ast.Object:
			c := carryOn
			v.Until(func(k, x *ast.Term) bool {
				l[key], l[value] = k, x
				c = iterate(m, l, ops)
				return c < carryOn
			})
			return c
		case ast.Set:
			for _, x := range v.Slice() {
				l[key], l[value] = x, x
				if c := iterate(m, l, ops); c < carryOn {
					return c
				}
			}
		}
		return carryOn
	}, nil
}

// iterate runs the body of a loop once. What leaves the body starts the next
// iteration, unless the result is negative.
func iterate(m *machine, l []*ast.Term, ops []op) ctl {
	if !m.step() {
		return failed
	}
	return min(run(m, l, ops), carryOn)
}

// with lowers the replacement of input, or of a part of it.
func (w *lowering) with(s *ir.WithStmt) (op, error) {
	if s.Local != ir.Input {
		return nil, w.unsupported(s, "with on data")
	}
	path := make([]*ast.Term, len(s.Path))
	for i, index := range s.Path {
		path[i] = w.strings[index]
	}
	value := w.operand(s.Value)
	ops, err := w.inner(s.Block)
	if err != nil {
		return nil, err
	}
	return func(m *machine, l []*ast.Term) ctl {
		input, gen := l[ir.Input], m.gen
		m.gens++
		m.gen = m.gens
		l[ir.Input] = upsert(input, path, value.load(l))
		c := run(m, l, ops)
		l[ir.Input], m.gen = input, gen
		return c
	}, nil
}

// upsert returns the document with the value at the path. Whatever is not an
// object on the way to it is replaced by one.
func upsert(doc *ast.Term, path []*ast.Term, value *ast.Term) *ast.Term {
	if len(path) == 0 {
		return value
	}
	var object ast.Object
	if doc != nil {
		object, _ = doc.Value.(ast.Object)
	}
	if object == nil {
		return ast.ObjectTerm(ast.Item(path[0], upsert(nil, path[1:], value)))
	}
	changed := ast.NewObjectWithCapacity(object.Len() + 1)
	object.Foreach(func(k, v *ast.Term) {
		if !k.Equal(path[0]) {
			changed.Insert(k, v)
		}
	})
	changed.Insert(path[0], upsert(object.Get(path[0]), path[1:], value))
	return ast.NewTerm(changed)
}
