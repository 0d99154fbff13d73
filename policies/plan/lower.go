package plan

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/ir"
)

// function is a planned rule or function.
type function struct {
	name   string
	index  int // into machine.memo
	params []ir.Local
	locals int
	blocks [][]op

	// pure functions read neither input nor data, so they always have the
	// same result, which fixed holds if known is true.
	pure, known bool
	fixed       *ast.Term
}

// call runs the function in a frame that has its arguments; false if it failed.
func (f *function) call(m *machine, frame []*ast.Term) (*ast.Term, bool) {
	for _, block := range f.blocks {
		switch c := run(m, frame, block); c {
		case returned:
			return m.ret, true
		case failed:
			return nil, false
		case carryOn, undefined:
		}
	}
	return nil, true
}

// lowering turns a plan into a Program, function by function and block by block.
type lowering struct {
	program *Program
	static  *ir.Static
	strings []*ast.Term
	funcs   map[string]*function

	// Of the function at hand:
	fn     *function
	shared map[ir.Local]bool // locals that live longer than a block

	// Of the block of that function at hand:
	use    *usage
	consts map[ir.Local]*ast.Term // locals that always have this value
	lists  map[ir.Local]bool      // arrays that are built in a list
	base   map[ir.Local]bool      // locals that hold a part of the base documents
	depth  int                    // blocks that a break can leave
}

// operand is where a statement takes a value from: a constant or a local.
type operand struct {
	term  *ast.Term
	local int
}

func (o operand) load(l []*ast.Term) *ast.Term {
	if o.term != nil {
		return o.term
	}
	return l[o.local]
}

func (w *lowering) operand(o ir.Operand) operand {
	switch v := normal(o).(type) {
	case ir.Local:
		return w.local(v)
	case ir.StringIndex:
		return operand{term: w.strings[v]}
	case ir.Bool:
		return operand{term: ast.InternedTerm(bool(v))}
	default:
		panic(fmt.Sprintf("operand %T", v))
	}
}

func (w *lowering) local(l ir.Local) operand {
	if term := w.consts[l]; term != nil {
		return operand{term: term}
	}
	return operand{local: int(l)}
}

// unsupported says that a statement is not supported.
func (w *lowering) unsupported(s ir.Stmt, format string, args ...any) error {
	e := &UnsupportedError{What: fmt.Sprintf(format, args...)}
	if loc := s.GetLocation(); loc != nil && loc.Row > 0 {
		e.File, e.Row, e.Col = w.file(loc), loc.Row, loc.Col
	}
	return e
}

func (w *lowering) file(loc *ir.Location) string {
	if loc.File < 0 || loc.File >= len(w.static.Files) {
		return ""
	}
	return w.static.Files[loc.File].Value
}

// location returns the place of a statement for the errors of an evaluation.
func (w *lowering) location(s ir.Stmt) *ast.Location {
	loc := s.GetLocation()
	return ast.NewLocation(nil, w.file(loc), loc.Row, loc.Col)
}

// function lowers one function of the plan.
func (w *lowering) function(f *ir.Func) error {
	w.fn = &function{name: f.Name, index: len(w.program.functions), params: f.Params}
	w.shared = map[ir.Local]bool{f.Return: true}
	for _, p := range f.Params {
		w.shared[p] = true
		w.fn.locals = max(w.fn.locals, int(p)+1)
	}
	if err := w.blocks(f.Blocks); err != nil {
		return err
	}
	w.fn.locals = max(w.fn.locals, int(f.Return)+1)
	w.program.functions = append(w.program.functions, w.fn)
	w.funcs[f.Name] = w.fn
	if w.fn.pure && len(w.fn.params) == 2 {
		w.fn.fixed, w.fn.known = w.program.fix(w.fn)
	}
	return nil
}

// blocks lowers the blocks of the function at hand.
func (w *lowering) blocks(blocks []*ir.Block) error {
	uses := make([]*usage, len(blocks))
	for i, b := range blocks {
		uses[i] = newUsage()
		if err := uses[i].block(b); err != nil {
			return &UnsupportedError{What: err.Error()}
		}
		for l := range uses[i].imports() {
			w.shared[l] = true
		}
		w.fn.locals = max(w.fn.locals, int(uses[i].maxLocal())+1)
	}
	w.fn.pure = true
	for i, b := range blocks {
		w.use = uses[i]
		w.consts, w.lists = map[ir.Local]*ast.Term{}, map[ir.Local]bool{}
		w.base = map[ir.Local]bool{ir.Data: true}
		w.depth = 0
		w.fn.pure = w.fn.pure && w.pure(b)
		ops, err := w.block(b)
		if err != nil {
			return err
		}
		w.fn.blocks = append(w.fn.blocks, ops)
	}
	return nil
}

// pure reports whether a block depends on neither input nor data.
func (w *lowering) pure(b *ir.Block) bool {
	for _, s := range b.Stmts {
		switch s := s.(type) {
		case *ir.WithStmt:
			return false
		case *ir.CallStmt:
			if f := w.funcs[s.Func]; f != nil && f.pure {
				continue
			}
		}
		e, _ := effectsOf(s)
		for _, r := range e.reads {
			if l, ok := normal(r).(ir.Local); ok && (l == ir.Input || l == ir.Data) {
				return false
			}
		}
		for _, inner := range e.blocks {
			if !w.pure(inner) {
				return false
			}
		}
	}
	return true
}

// block lowers the statements of a block.
func (w *lowering) block(b *ir.Block) ([]op, error) {
	w.depth++
	defer func() { w.depth-- }()
	stmts := b.Stmts
	f, err := w.fold(stmts)
	if err != nil {
		return nil, err
	}
	var ops []op
	for i := 0; i < len(stmts); i++ {
		if inserts := f.literal[i]; inserts != nil {
			ops = append(ops, w.object(inserts))
		}
		if !f.skip[i] {
			o, used, err := w.stmts(stmts[i:])
			if err != nil {
				return nil, err
			}
			if o != nil {
				ops = append(ops, o)
			}
			i += used - 1
		}
		for _, l := range f.seal[i] {
			ops = append(ops, sealList(int(l)))
		}
	}
	return ops, nil
}

// inner lowers a block that a break cannot leave for what is around it.
func (w *lowering) inner(b *ir.Block) ([]op, error) {
	depth := w.depth
	w.depth = 0
	defer func() { w.depth = depth }()
	return w.block(b)
}

// own reports whether the local gets its value once, in the block at hand, and
// means nothing to other blocks.
func (w *lowering) own(l ir.Local) bool {
	return w.use.writes[l] == 1 && !w.shared[l]
}

// stmts lowers the first statement, or the first few if they make one op. It
// returns how many they are.
func (w *lowering) stmts(stmts []ir.Stmt) (op, int, error) {
	if o, ok := w.result(stmts); ok {
		return o, 3, nil
	}
	if o, ok := w.test(stmts); ok {
		return o, 2, nil
	}
	o, err := w.stmt(stmts[0])
	return o, 1, err
}

// stmt lowers one statement.
func (w *lowering) stmt(s ir.Stmt) (op, error) {
	switch s := s.(type) {
	case *ir.CallStmt:
		return w.call(s)
	case *ir.DotStmt:
		return w.dot(s), nil
	case *ir.EqualStmt:
		return equal(w.operand(s.A), w.operand(s.B)), nil
	case *ir.NotEqualStmt:
		return notEqual(w.operand(s.A), w.operand(s.B)), nil
	case *ir.BlockStmt, *ir.BreakStmt, *ir.NotStmt, *ir.ScanStmt, *ir.WithStmt, *ir.ReturnLocalStmt, *ir.NopStmt:
		return w.flow(s)
	case *ir.AssignVarStmt, *ir.AssignVarOnceStmt, *ir.AssignIntStmt, *ir.ResetLocalStmt, *ir.IsDefinedStmt, *ir.IsUndefinedStmt,
		*ir.MakeNullStmt, *ir.MakeNumberIntStmt, *ir.MakeNumberRefStmt, *ir.LenStmt, *ir.ResultSetAddStmt:
		return w.assign(s)
	case *ir.IsArrayStmt, *ir.IsObjectStmt, *ir.IsSetStmt:
		return w.is(s)
	default:
		return w.collection(s)
	}
}
