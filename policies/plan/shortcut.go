package plan

import (
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// shortcut does what a built-in function does for ordinary arguments, without
// the cost of a call. It returns nil for all others, which OPA's implementation
// gets.
type shortcut func(m *machine, args []*ast.Term) *ast.Term

// shortcutOf returns the shortcut for a built-in function, or nil.
func shortcutOf(name string) shortcut {
	switch name {
	case ast.Concat.Name:
		return concatArray
	case ast.Count.Name:
		return countElements
	case ast.StartsWith.Name:
		return func(_ *machine, args []*ast.Term) *ast.Term { return affix(args, strings.HasPrefix) }
	case ast.EndsWith.Name:
		return func(_ *machine, args []*ast.Term) *ast.Term { return affix(args, strings.HasSuffix) }
	case ast.ObjectGet.Name:
		return getString
	case ast.ObjectUnion.Name:
		return unionDisjoint
	default:
		return nil
	}
}

// concatArray joins an array of two or more strings.
func concatArray(m *machine, args []*ast.Term) *ast.Term {
	separator, ok1 := args[0].Value.(ast.String)
	array, ok2 := args[1].Value.(*ast.Array)
	if !ok1 || !ok2 || array.Len() < 2 {
		return nil
	}
	m.text = m.text[:0]
	for i := range array.Len() {
		s, ok := array.Elem(i).Value.(ast.String)
		if !ok || len(m.text)+len(s) > keepText {
			return nil
		}
		if i > 0 {
			m.text = append(m.text, separator...)
		}
		m.text = append(m.text, s...)
	}
	return ast.StringTerm(string(m.text))
}

func countElements(_ *machine, args []*ast.Term) *ast.Term {
	switch v := args[0].Value.(type) {
	case *ast.Array:
		return ast.InternedTerm(v.Len())
	case ast.Object:
		return ast.InternedTerm(v.Len())
	case ast.Set:
		return ast.InternedTerm(v.Len())
	default:
		return nil
	}
}

func affix(args []*ast.Term, has func(s, affix string) bool) *ast.Term {
	s, ok1 := args[0].Value.(ast.String)
	a, ok2 := args[1].Value.(ast.String)
	if !ok1 || !ok2 {
		return nil
	}
	return ast.InternedTerm(has(string(s), string(a)))
}

// getString is for object.get with a string as the key.
func getString(_ *machine, args []*ast.Term) *ast.Term {
	object, ok1 := args[0].Value.(ast.Object)
	_, ok2 := args[1].Value.(ast.String)
	if !ok1 || !ok2 {
		return nil
	}
	if term := object.Get(args[1]); term != nil {
		return term
	}
	return args[2]
}

// unionDisjoint unites two objects that have no key in common.
func unionDisjoint(m *machine, args []*ast.Term) *ast.Term {
	a, ok1 := args[0].Value.(ast.Object)
	b, ok2 := args[1].Value.(ast.Object)
	if !ok1 || !ok2 || a.Len() == 0 || b.Len() == 0 {
		return nil
	}
	if b.Until(func(k, _ *ast.Term) bool { return a.Get(k) != nil }) || !m.charge((a.Len()+b.Len())*termBytes) {
		return nil
	}
	m.items = m.items[:0]
	put := func(k, v *ast.Term) { m.items = append(m.items, [2]*ast.Term{k, v}) }
	a.Foreach(put)
	b.Foreach(put)
	return ast.ObjectTerm(m.items...)
}
