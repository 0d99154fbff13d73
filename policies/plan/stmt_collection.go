package plan

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"
)

// What values are taken to occupy, in bytes.
const (
	termBytes       = 64
	collectionBytes = 256
)

// list is an array in the making. It stands in for the array's value until
// sealList, so that appending is cheap.
type list struct {
	ast.Value

	term  ast.Term
	items []*ast.Term
}

// collection lowers the statements that make collections and fill them.
func (w *lowering) collection(s ir.Stmt) (op, error) {
	switch s := s.(type) {
	case *ir.MakeArrayStmt:
		if w.lists[s.Target] {
			return makeList(int(s.Target)), nil
		}
		return makeCollection(s.Target, func() ast.Value { return ast.NewArray() }), nil
	case *ir.MakeObjectStmt:
		return makeCollection(s.Target, func() ast.Value { return ast.NewObject() }), nil
	case *ir.MakeSetStmt:
		return makeCollection(s.Target, func() ast.Value { return ast.NewSet() }), nil
	case *ir.ArrayAppendStmt:
		return w.arrayAppend(s), nil
	case *ir.SetAddStmt:
		return w.setAdd(s), nil
	case *ir.ObjectInsertStmt:
		return w.objectInsert(s), nil
	case *ir.ObjectInsertOnceStmt:
		return w.objectInsertOnce(s), nil
	case *ir.ObjectMergeStmt:
		return w.objectMerge(s), nil
	default:
		return nil, w.unsupported(s, "the statement %T", s)
	}
}

// object lowers an object that is made in one piece.
func (w *lowering) object(inserts []*ir.ObjectInsertStmt) op {
	keys, values := make([]*ast.Term, len(inserts)), make([]operand, len(inserts))
	for i, s := range inserts {
		keys[i], values[i] = w.operand(s.Key).term, w.operand(s.Value)
	}
	target, bytes := inserts[0].Object, collectionBytes+len(inserts)*termBytes
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(bytes) {
			return failed
		}
		m.items = m.items[:0]
		for i, k := range keys {
			m.items = append(m.items, [2]*ast.Term{k, values[i].load(l)})
		}
		l[target] = ast.ObjectTerm(m.items...)
		return carryOn
	}
}

func makeCollection(target ir.Local, empty func() ast.Value) op {
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(collectionBytes) {
			return failed
		}
		l[target] = ast.NewTerm(empty())
		return carryOn
	}
}

func makeList(target int) op {
	return func(m *machine, l []*ast.Term) ctl {
		var b *list
		if n := len(m.lists); n > 0 {
			b, m.lists = m.lists[n-1], m.lists[:n-1]
		} else {
			b = &list{}
			b.term.Value = b
		}
		l[target] = &b.term
		return carryOn
	}
}

// sealList makes the array of a list and frees the list.
func sealList(target int) op {
	return func(m *machine, l []*ast.Term) ctl {
		if l[target] == nil {
			return carryOn
		}
		b, ok := l[target].Value.(*list)
		if !ok {
			return carryOn
		}
		if len(b.items) == 0 {
			l[target] = ast.InternedEmptyArray
		} else {
			if !m.charge(collectionBytes) {
				return failed
			}
			items := make([]*ast.Term, len(b.items))
			copy(items, b.items)
			l[target] = ast.ArrayTerm(items...)
		}
		if cap(b.items) <= keepTerms {
			clear(b.items)
			b.items = b.items[:0]
			m.lists = append(m.lists, b)
		}
		return carryOn
	}
}

func (w *lowering) arrayAppend(s *ir.ArrayAppendStmt) op {
	value, array := w.operand(s.Value), s.Array
	if w.lists[array] {
		return func(m *machine, l []*ast.Term) ctl {
			if !m.charge(termBytes) {
				return failed
			}
			b, ok := l[array].Value.(*list)
			if !ok {
				return m.internal("array is complete")
			}
			b.items = append(b.items, value.load(l))
			return carryOn
		}
	}
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(termBytes) {
			return failed
		}
		a, ok := l[array].Value.(*ast.Array)
		if !ok {
			return m.internal("append to what is no array")
		}
		l[array] = ast.NewTerm(a.Append(value.load(l)))
		return carryOn
	}
}

func (w *lowering) setAdd(s *ir.SetAddStmt) op {
	value, set, loc := w.operand(s.Value), s.Set, w.location(s)
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(termBytes) {
			return failed
		}
		v, ok := l[set].Value.(ast.Set)
		if !ok {
			return m.keyConflict(loc)
		}
		v.Add(value.load(l))
		return carryOn
	}
}

func (w *lowering) objectInsert(s *ir.ObjectInsertStmt) op {
	key, value, object, loc := w.operand(s.Key), w.operand(s.Value), s.Object, w.location(s)
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(termBytes) {
			return failed
		}
		v, ok := l[object].Value.(ast.Object)
		if !ok {
			return m.keyConflict(loc)
		}
		k, x := key.load(l), value.load(l)
		if _, ok := k.Value.(ast.String); !ok && v.Get(k) != nil {
			if !m.charge(v.Len() * termBytes) {
				return failed
			}
			v = without(v, k)
			l[object].Value = v
		}
		v.Insert(k, x)
		return carryOn
	}
}

// without returns a copy of an object that lacks a key. To insert a key again
// makes ast.Object lose those that have the same hash, as 1 and true have.
func without(object ast.Object, key *ast.Term) ast.Object {
	rest := ast.NewObjectWithCapacity(object.Len())
	object.Foreach(func(k, v *ast.Term) {
		if !k.Equal(key) {
			rest.Insert(k, v)
		}
	})
	return rest
}

func (w *lowering) objectInsertOnce(s *ir.ObjectInsertOnceStmt) op {
	key, value, object, loc := w.operand(s.Key), w.operand(s.Value), s.Object, w.location(s)
	return func(m *machine, l []*ast.Term) ctl {
		if !m.charge(termBytes) {
			return failed
		}
		v, ok := l[object].Value.(ast.Object)
		if !ok {
			return m.keyConflict(loc)
		}
		k, x := key.load(l), value.load(l)
		if old := v.Get(k); old == nil {
			v.Insert(k, x)
		} else if !same(old, x) {
			return m.keyConflict(loc)
		}
		return carryOn
	}
}

// keyConflict says that an object has two values for a key, or that one value is
// a collection to some rules and something else to others.
func (m *machine) keyConflict(loc *ast.Location) ctl {
	m.err = &topdown.Error{Code: topdown.ConflictErr, Location: loc, Message: "object keys must be unique"}
	return failed
}

// objectMerge lowers the union of base documents and the values of rules.
func (w *lowering) objectMerge(s *ir.ObjectMergeStmt) op {
	a, b, target := w.local(s.A), w.local(s.B), s.Target
	return func(m *machine, l []*ast.Term) ctl {
		x, y := a.load(l), b.load(l)
		if !m.charge(collectionBytes) {
			return failed
		}
		l[target] = merge(m, x, y)
		if m.err != nil {
			return failed
		}
		return carryOn
	}
}

// merge returns what either object has; where both have a value that is not an
// object in both, a wins, as it does in the interpreter.
func merge(m *machine, a, b *ast.Term) *ast.Term {
	x, ok1 := a.Value.(ast.Object)
	y, ok2 := b.Value.(ast.Object)
	if !ok1 || !ok2 {
		return a
	}
	if !m.charge((x.Len() + y.Len()) * termBytes) {
		return a
	}
	merged := ast.NewObjectWithCapacity(x.Len() + y.Len())
	x.Foreach(func(k, v *ast.Term) {
		if other := y.Get(k); other != nil {
			v = merge(m, v, other)
		}
		merged.Insert(k, v)
	})
	y.Foreach(func(k, v *ast.Term) {
		if x.Get(k) == nil {
			merged.Insert(k, v)
		}
	})
	return ast.NewTerm(merged)
}

// internal says that a plan does what no plan should do.
func (m *machine) internal(message string) ctl {
	m.err = &topdown.Error{Code: topdown.InternalErr, Message: message}
	return failed
}

// dot lowers the look-up of a key.
func (w *lowering) dot(s *ir.DotStmt) op {
	from, isLocal := normal(s.Source).(ir.Local)
	source, key, target := w.operand(s.Source), w.operand(s.Key), s.Target
	base := isLocal && w.base[from]
	w.base[target] = base
	switch {
	case base && from == ir.Data:
		return func(m *machine, l []*ast.Term) ctl {
			l[target] = lookUpBase(m.data.root, key.load(l))
			return when(l[target] != nil)
		}
	case base:
		return func(_ *machine, l []*ast.Term) ctl {
			l[target] = lookUpBase(source.load(l), key.load(l))
			return when(l[target] != nil)
		}
	case source.term == nil:
		at := source.local
		if key.term != nil {
			k := key.term
			return func(_ *machine, l []*ast.Term) ctl {
				t := lookUp(l[at], k)
				l[target] = t
				return when(t != nil)
			}
		}
		return func(_ *machine, l []*ast.Term) ctl {
			t := lookUp(l[at], l[key.local])
			l[target] = t
			return when(t != nil)
		}
	default:
		return func(_ *machine, l []*ast.Term) ctl {
			t := lookUp(source.term, key.load(l))
			l[target] = t
			return when(t != nil)
		}
	}
}

// lookUp returns the value that a collection has for a key; of a set, the key
// itself; nil if there is none.
func lookUp(source, key *ast.Term) *ast.Term {
	if source == nil || key == nil {
		return nil
	}
	switch v := source.Value.(type) {
	case *ast.Array:
		return v.Get(key)
	case ast.Object:
		return v.Get(key)
	case ast.Set:
		if v.Contains(key) {
			return key
		}
	}
	return nil
}

// lookUpBase returns what the base documents have for one step of a path. Paths
// of documents are strings, so 1 and "1" are the same there, both for objects
// and for arrays.
func lookUpBase(source, key *ast.Term) *ast.Term {
	if source == nil || key == nil {
		return nil
	}
	switch k := key.Value.(type) {
	case ast.String:
		switch v := source.Value.(type) {
		case ast.Object:
			return v.Get(key)
		case *ast.Array:
			return element(v, string(k))
		}
	case ast.Number:
		switch v := source.Value.(type) {
		case ast.Object:
			return v.Get(ast.StringTerm(k.String()))
		case *ast.Array:
			return element(v, k.String())
		}
	}
	return nil
}

func element(a *ast.Array, index string) *ast.Term {
	if i, ok := util.Atoi(index); ok && i >= 0 && i < a.Len() {
		return a.Elem(i)
	}
	return nil
}
