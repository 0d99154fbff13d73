package plan

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ir"
)

// none stands for no local.
const none ir.Local = -1

// effects is what a statement does to locals, without the blocks inside it.
type effects struct {
	reads  []ir.Operand
	writes []ir.Local  // locals that get a new value
	grows  ir.Local    // the local whose collection gets another element, or none
	blocks []*ir.Block // the blocks inside
}

// normal returns the operand's value as a value: ir's JSON decoder makes
// pointers where its planner has values.
func normal(o ir.Operand) ir.Val {
	switch v := o.Value.(type) {
	case *ir.Local:
		return *v
	case *ir.StringIndex:
		return *v
	case *ir.Bool:
		return *v
	default:
		return v
	}
}

func local(l ir.Local) ir.Operand { return ir.Operand{Value: l} }

// effectsOf describes a statement; false if it is of a kind that is not known.
func effectsOf(s ir.Stmt) (effects, bool) {
	e := effects{grows: none}
	switch s := s.(type) {
	case *ir.AssignVarStmt:
		e.reads, e.writes = []ir.Operand{s.Source}, []ir.Local{s.Target}
	case *ir.AssignVarOnceStmt:
		// The target is read as well, and so never a constant.
		e.reads, e.writes = []ir.Operand{s.Source, local(s.Target)}, []ir.Local{s.Target}
	case *ir.AssignIntStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.ResetLocalStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeNullStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeNumberIntStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeNumberRefStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeArrayStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeObjectStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.MakeSetStmt:
		e.writes = []ir.Local{s.Target}
	case *ir.ArrayAppendStmt:
		e.reads, e.grows = []ir.Operand{s.Value}, s.Array
	case *ir.ObjectInsertStmt:
		e.reads, e.grows = []ir.Operand{s.Key, s.Value}, s.Object
	case *ir.ObjectInsertOnceStmt:
		e.reads, e.grows = []ir.Operand{s.Key, s.Value}, s.Object
	case *ir.SetAddStmt:
		e.reads, e.grows = []ir.Operand{s.Value}, s.Set
	case *ir.ObjectMergeStmt:
		e.reads, e.writes = []ir.Operand{local(s.A), local(s.B)}, []ir.Local{s.Target}
	case *ir.DotStmt:
		e.reads, e.writes = []ir.Operand{s.Source, s.Key}, []ir.Local{s.Target}
	case *ir.LenStmt:
		e.reads, e.writes = []ir.Operand{s.Source}, []ir.Local{s.Target}
	case *ir.CallStmt:
		e.reads, e.writes = s.Args, []ir.Local{s.Result}
	case *ir.CallDynamicStmt:
		e.reads, e.writes = append([]ir.Operand{}, s.Path...), []ir.Local{s.Result}
		for _, arg := range s.Args {
			e.reads = append(e.reads, local(arg))
		}
	case *ir.ScanStmt:
		e.reads, e.writes, e.blocks = []ir.Operand{local(s.Source)}, []ir.Local{s.Key, s.Value}, []*ir.Block{s.Block}
	case *ir.WithStmt:
		e.reads, e.writes, e.blocks = []ir.Operand{s.Value, local(s.Local)}, []ir.Local{s.Local}, []*ir.Block{s.Block}
	case *ir.BlockStmt:
		e.blocks = s.Blocks
	case *ir.NotStmt:
		e.blocks = []*ir.Block{s.Block}
	default:
		return e.ofCheck(s)
	}
	return e, true
}

// ofCheck describes the statements that only look.
func (e effects) ofCheck(s ir.Stmt) (effects, bool) {
	switch s := s.(type) {
	case *ir.EqualStmt:
		e.reads = []ir.Operand{s.A, s.B}
	case *ir.NotEqualStmt:
		e.reads = []ir.Operand{s.A, s.B}
	case *ir.IsArrayStmt:
		e.reads = []ir.Operand{s.Source}
	case *ir.IsObjectStmt:
		e.reads = []ir.Operand{s.Source}
	case *ir.IsSetStmt:
		e.reads = []ir.Operand{s.Source}
	case *ir.IsDefinedStmt:
		e.reads = []ir.Operand{local(s.Source)}
	case *ir.IsUndefinedStmt:
		e.reads = []ir.Operand{local(s.Source)}
	case *ir.ReturnLocalStmt:
		e.reads = []ir.Operand{local(s.Source)}
	case *ir.ResultSetAddStmt:
		e.reads = []ir.Operand{local(s.Value)}
	case *ir.BreakStmt, *ir.NopStmt:
	default:
		return e, false
	}
	return e, true
}

// usage counts what the statements of a block do to each local.
type usage struct {
	reads, writes, grows map[ir.Local]int
}

func newUsage() *usage {
	return &usage{reads: map[ir.Local]int{}, writes: map[ir.Local]int{}, grows: map[ir.Local]int{}}
}

// block adds what a block does.
func (u *usage) block(b *ir.Block) error {
	for _, s := range b.Stmts {
		if err := u.stmt(s); err != nil {
			return err
		}
	}
	return nil
}

// stmt adds what a statement does.
func (u *usage) stmt(s ir.Stmt) error {
	e, ok := effectsOf(s)
	if !ok {
		return fmt.Errorf("unknown statement %T", s)
	}
	for _, r := range e.reads {
		if l, ok := normal(r).(ir.Local); ok {
			u.reads[l]++
		}
	}
	for _, w := range e.writes {
		u.writes[w]++
	}
	if e.grows != none {
		u.grows[e.grows]++
	}
	for _, b := range e.blocks {
		if err := u.block(b); err != nil {
			return err
		}
	}
	return nil
}

// imports returns the locals that the block uses without giving them a value.
func (u *usage) imports() map[ir.Local]bool {
	found := map[ir.Local]bool{}
	for _, used := range []map[ir.Local]int{u.reads, u.grows} {
		for l := range used {
			if u.writes[l] == 0 {
				found[l] = true
			}
		}
	}
	return found
}

// maxLocal returns the highest local that is used.
func (u *usage) maxLocal() ir.Local {
	highest := ir.Data
	for _, used := range []map[ir.Local]int{u.reads, u.writes, u.grows} {
		for l := range used {
			highest = max(highest, l)
		}
	}
	return highest
}
