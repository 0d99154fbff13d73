package plan

import (
	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// folds is what fold finds in a list of statements, by their indices.
type folds struct {
	skip    map[int]bool                   // do nothing any more
	seal    map[int][]ir.Local             // complete these arrays
	literal map[int][]*ir.ObjectInsertStmt // put the whole object together
}

// fold finds what a list of statements makes that is the same in every
// evaluation, such as ["GET", "HEAD"], and makes it once: it is a constant then.
// It also finds the objects that can be made in one piece, and the arrays that
// can be built in a list.
func (w *lowering) fold(stmts []ir.Stmt) (folds, error) {
	f := folds{skip: map[int]bool{}, seal: map[int][]ir.Local{}, literal: map[int][]*ir.ObjectInsertStmt{}}
	uses := make([]*usage, len(stmts))
	for i, s := range stmts {
		uses[i] = newUsage()
		if err := uses[i].stmt(s); err != nil {
			return f, &UnsupportedError{What: err.Error()}
		}
		if l, term := w.scalar(s); term != nil && w.own(l) {
			w.consts[l] = term
			f.skip[i] = true
		}
	}
	for again := true; again; {
		again = false
		for i, s := range stmts {
			target, ok := makes(s)
			if !ok || f.skip[i] || !w.own(target) {
				continue
			}
			if grows, ok := w.filled(target, i, stmts, uses); ok && w.constant(target, i, grows, stmts) {
				again = true
				f.skip[i] = true
				for _, j := range grows {
					f.skip[j] = true
				}
			}
		}
	}
	for i, s := range stmts {
		target, ok := makes(s)
		if !ok || f.skip[i] || !w.own(target) {
			continue
		}
		switch s.(type) {
		case *ir.MakeArrayStmt:
			if last, ok := w.complete(target, i, uses); ok {
				w.lists[target] = true
				f.seal[last] = append(f.seal[last], target)
			}
		case *ir.MakeObjectStmt:
			grows, ok := w.filled(target, i, stmts, uses)
			if inserts, isLiteral := w.literal(grows, stmts); ok && isLiteral {
				f.skip[i] = true
				for _, j := range grows {
					f.skip[j] = true
				}
				last := grows[len(grows)-1]
				f.literal[last] = inserts
			}
		}
	}
	return f, nil
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

// filled returns the indices of the statements that put something into the
// collection in target, which the statement at index from makes, if all of them
// are in this list, and the collection is read only after them.
func (w *lowering) filled(target ir.Local, from int, stmts []ir.Stmt, uses []*usage) (grows []int, ok bool) {
	reads := 0
	for i := from + 1; i < len(stmts); i++ {
		if e, _ := effectsOf(stmts[i]); e.grows == target {
			if reads > 0 || uses[i].reads[target] > 0 {
				return nil, false
			}
			grows = append(grows, i)
		}
		reads += uses[i].reads[target]
	}
	return grows, len(grows) == w.use.grows[target] && reads == w.use.reads[target]
}

// constant makes a constant of the collection in target if nothing but constants
// are put into it.
func (w *lowering) constant(target ir.Local, from int, grows []int, stmts []ir.Stmt) bool {
	for _, i := range grows {
		if e, _ := effectsOf(stmts[i]); !w.known(e.reads) {
			return false
		}
	}
	term, ok := w.collect(stmts[from], grows, stmts)
	if ok {
		w.consts[target] = term
	}
	return ok
}

// literal returns the statements that fill an object if it can be put together
// at the last of them: its keys are different constants, and its values do not
// change meanwhile.
func (w *lowering) literal(grows []int, stmts []ir.Stmt) ([]*ir.ObjectInsertStmt, bool) {
	var inserts []*ir.ObjectInsertStmt
	keys := ast.NewSet()
	for _, i := range grows {
		s, ok := stmts[i].(*ir.ObjectInsertStmt)
		if !ok {
			return nil, false
		}
		key := w.operand(s.Key).term
		if key == nil || keys.Contains(key) {
			return nil, false
		}
		keys.Add(key)
		if l, ok := normal(s.Value).(ir.Local); ok && w.consts[l] == nil && !w.own(l) {
			return nil, false
		}
		inserts = append(inserts, s)
	}
	return inserts, len(inserts) > 0
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
