package plan

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// fold finds what a list of statements makes that is the same in every
// evaluation, such as ["GET", "HEAD"], and makes it once: it is a constant then,
// and the statements at the indices in folded do nothing more. It also finds the
// arrays that can be built in a list, and after which statement they are
// complete.
func (w *lowering) fold(stmts []ir.Stmt) (folded map[int]bool, sealed map[int][]ir.Local, err error) {
	folded, sealed = map[int]bool{}, map[int][]ir.Local{}
	uses := make([]*usage, len(stmts))
	for i, s := range stmts {
		uses[i] = newUsage()
		if err := uses[i].stmt(s); err != nil {
			return nil, nil, &UnsupportedError{What: err.Error()}
		}
		if s, ok := s.(*ir.MakeArrayStmt); ok {
			w.arrays[s.Target] = true
		}
		if l, term := w.scalar(s); term != nil && w.own(l) {
			w.consts[l] = term
			folded[i] = true
		}
	}
	for again := true; again; {
		again = false
		for i, s := range stmts {
			if folded[i] {
				continue
			}
			target, ok := makes(s)
			if !ok || !w.own(target) {
				continue
			}
			if grows, ok := w.constant(target, i, stmts, uses); ok {
				folded[i], again = true, true
				for _, j := range grows {
					folded[j] = true
				}
			}
		}
	}
	for i, s := range stmts {
		if s, ok := s.(*ir.MakeArrayStmt); ok && !folded[i] && w.own(s.Target) {
			if last, ok := w.complete(s.Target, i, uses); ok {
				w.lists[s.Target] = true
				sealed[last] = append(sealed[last], s.Target)
			}
		}
	}
	return folded, sealed, nil
}

// scalar returns the value that a statement makes, if it makes a scalar.
func (w *lowering) scalar(s ir.Stmt) (ir.Local, *ast.Term) {
	switch s := s.(type) {
	case *ir.MakeNullStmt:
		return s.Target, ast.InternedNullTerm
	case *ir.MakeNumberIntStmt:
		return s.Target, ast.InternedTerm(s.Value)
	case *ir.MakeNumberRefStmt:
		return s.Target, ast.NewTerm(ast.Number(w.static.Strings[s.Index].Value))
	default:
		return none, nil
	}
}

// makes returns the local that a statement puts a new collection into.
func makes(s ir.Stmt) (ir.Local, bool) {
	switch s := s.(type) {
	case *ir.MakeArrayStmt:
		return s.Target, true
	case *ir.MakeObjectStmt:
		return s.Target, true
	case *ir.MakeSetStmt:
		return s.Target, true
	default:
		return none, false
	}
}

// constant makes a constant of the collection in target, which the statement at
// index from makes, if nothing but constants are put into it, all of them by
// statements of this list, and it is not read before. It returns their indices.
func (w *lowering) constant(target ir.Local, from int, stmts []ir.Stmt, uses []*usage) (grows []int, ok bool) {
	read := false
	for i := from + 1; i < len(stmts); i++ {
		if e, _ := effectsOf(stmts[i]); e.grows == target {
			if read || uses[i].reads[target] > 0 || !w.known(e.reads) {
				return nil, false
			}
			grows = append(grows, i)
		}
		read = read || uses[i].reads[target] > 0
	}
	if len(grows) != w.use.grows[target] {
		return nil, false
	}
	term, ok := w.collect(stmts[from], grows, stmts)
	if ok {
		w.consts[target] = term
	}
	return grows, ok
}

// known reports whether all operands are constants.
func (w *lowering) known(operands []ir.Operand) bool {
	for _, o := range operands {
		if w.operand(o).term == nil {
			return false
		}
	}
	return true
}

// collect makes the collection that consists of what the statements at the
// indices in grows put into it.
func (w *lowering) collect(s ir.Stmt, grows []int, stmts []ir.Stmt) (*ast.Term, bool) {
	switch s.(type) {
	case *ir.MakeArrayStmt:
		items := make([]*ast.Term, 0, len(grows))
		for _, i := range grows {
			s, ok := stmts[i].(*ir.ArrayAppendStmt)
			if !ok {
				return nil, false
			}
			items = append(items, w.operand(s.Value).term)
		}
		return ast.ArrayTerm(items...), true
	case *ir.MakeSetStmt:
		set := ast.NewSetWithCapacity(len(grows))
		for _, i := range grows {
			s, ok := stmts[i].(*ir.SetAddStmt)
			if !ok {
				return nil, false
			}
			set.Add(w.operand(s.Value).term)
		}
		return ast.NewTerm(set), true
	default:
		object := ast.NewObjectWithCapacity(len(grows))
		for _, i := range grows {
			s, ok := stmts[i].(*ir.ObjectInsertStmt)
			if !ok {
				return nil, false
			}
			object.Insert(w.operand(s.Key).term, w.operand(s.Value).term)
		}
		return ast.NewTerm(object), true
	}
}

// complete returns the index of the last statement of a list that appends to an
// array, if the array is read in this list only, and only after that.
func (w *lowering) complete(target ir.Local, from int, uses []*usage) (last int, ok bool) {
	last = from
	grows, reads := 0, 0
	for i := from + 1; i < len(uses); i++ {
		if uses[i].grows[target] > 0 {
			if reads > 0 || uses[i].reads[target] > 0 {
				return 0, false
			}
			grows += uses[i].grows[target]
			last = i
		}
		reads += uses[i].reads[target]
	}
	return last, grows == w.use.grows[target] && reads == w.use.reads[target]
}
