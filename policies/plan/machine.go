package plan

import (
	"context"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
)

// ctl is how a statement ends: carryOn, a number n above 0 for leaving n
// enclosing blocks (1 is what Rego calls undefined), or one of the others.
type ctl int

const (
	carryOn   ctl = 0
	undefined ctl = 1
	returned  ctl = -1 // the function has its result in machine.ret
	failed    ctl = -2 // machine.err says why
)

// op is a compiled statement. It works on the locals of one function call.
type op func(m *machine, l []*ast.Term) ctl

// run executes the statements of a block until one does not carry on.
func run(m *machine, l []*ast.Term, ops []op) ctl {
	for _, o := range ops {
		if c := o(m, l); c != carryOn {
			return c
		}
	}
	return carryOn
}

// pollEvery is how many steps pass between two looks at cancellation. At well
// under a microsecond per step it bounds the delay to microseconds.
const pollEvery = 256

// stackTerms is the first size of a machine's stack of locals.
const stackTerms = 512

// keepTerms is the size up to which a machine keeps its stack for the next
// evaluation.
const keepTerms = 1 << 16

// keepText is the size up to which strings are put together in a buffer that is
// kept.
const keepText = 1 << 16

// machine is the state of one evaluation. It is used by one goroutine at a time.
type machine struct {
	program *Program
	done    <-chan struct{}
	data    *Data

	err error     // why an op returned failed
	ret *ast.Term // the result of the function that returned last
	res *ast.Term // the result of the query

	fuel  int   // steps until the next look at cancellation
	steps int64 // steps left behind fuel
	bytes int64 // bytes that results may still take, estimated

	stack []*ast.Term
	sp    int // where the next frame begins
	top   int // the highest sp so far
	chunk int // counts how often the stack was replaced by a larger one

	memo []memo
	gen  uint64 // names the input and data that are in force
	gens uint64 // the newest gen

	bctx    topdown.BuiltinContext
	out     *ast.Term
	outs    []*ast.Term
	emit    func(*ast.Term) error
	emitAll func(*ast.Term) error

	lists []*list        // free builders of arrays
	items [][2]*ast.Term // of an object in the making
	text  []byte         // a string in the making
}

// memo is the result of a rule under the input and data that gen names.
type memo struct {
	gen  uint64
	term *ast.Term // nil is undefined
}

func newMachine(p *Program) *machine {
	m := &machine{program: p, stack: make([]*ast.Term, stackTerms), memo: make([]memo, len(p.functions))}
	// Bound once, so that a call of a built-in function makes no closure.
	m.emit, m.emitAll = m.take, m.takeAll
	m.bctx = topdown.BuiltinContext{
		Cancel:                      canceller{m},
		Cache:                       builtins.Cache{},
		Metrics:                     p.metrics,
		Capabilities:                p.capabilities,
		InterQueryBuiltinValueCache: p.values,
	}
	return m
}

// reset readies the machine for an evaluation.
func (m *machine) reset(ctx context.Context, data *Data) {
	m.done, m.data = ctx.Done(), data
	m.err, m.ret, m.res = nil, nil, nil
	m.steps, m.bytes = m.program.options.MaxSteps, m.program.options.MaxBytes
	m.fuel = 0
	m.sp = 0
	m.gens++
	m.gen = m.gens
	m.bctx.Context = ctx
}

// release drops what the evaluation refers to, so that a pooled machine keeps
// no request alive.
func (m *machine) release() {
	if len(m.stack) > keepTerms {
		m.stack = make([]*ast.Term, stackTerms)
	}
	clear(m.stack[:min(m.top, len(m.stack))])
	m.top = 0
	clear(m.memo)
	clear(m.bctx.Cache)
	clear(m.outs)
	m.outs = m.outs[:0]
	if cap(m.items) > keepTerms {
		m.items = nil
	}
	clear(m.items[:cap(m.items)])
	m.done, m.data, m.err, m.ret, m.res, m.out = nil, nil, nil, nil, nil, nil
	m.bctx.Context, m.bctx.Location = nil, nil
}

// step counts one iteration or call, and looks at cancellation now and then.
func (m *machine) step() bool {
	m.fuel--
	return m.fuel >= 0 || m.refuel()
}

func (m *machine) refuel() bool {
	if m.cancelled() {
		m.err = &topdown.Error{Code: topdown.CancelErr, Message: "caller cancelled query execution"}
		if ctx := m.bctx.Context; ctx.Err() != nil {
			m.err = (&topdown.Error{Code: topdown.CancelErr, Message: ctx.Err().Error()}).Wrap(context.Cause(ctx))
		}
		return false
	}
	if m.steps <= 0 {
		m.err = &BudgetError{Limit: "steps", Max: m.program.options.MaxSteps}
		return false
	}
	m.fuel = int(min(pollEvery, m.steps)) - 1
	m.steps -= int64(m.fuel) + 1
	return true
}

// charge counts bytes that a value takes.
func (m *machine) charge(n int) bool {
	if !m.affords(n) {
		return false
	}
	m.bytes -= int64(n)
	return true
}

// affords reports whether n bytes are left.
func (m *machine) affords(n int) bool {
	if m.bytes >= int64(n) {
		return true
	}
	m.err = &BudgetError{Limit: "bytes", Max: m.program.options.MaxBytes}
	return false
}

func (m *machine) cancelled() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

// push returns n locals, all of them undefined.
func (m *machine) push(n int) []*ast.Term {
	if m.sp+n > len(m.stack) {
		// The frames below keep the part of the old stack that they use.
		m.stack = make([]*ast.Term, max(2*len(m.stack), n))
		m.sp = 0
		m.chunk++
	}
	l := m.stack[m.sp : m.sp+n : m.sp+n]
	clear(l)
	m.sp += n
	m.top = max(m.top, m.sp)
	return l
}

// pop gives back what was pushed since sp and chunk were read.
func (m *machine) pop(sp, chunk int) {
	if m.chunk != chunk {
		// The caller's frame is on an older stack, so this one is empty.
		sp = 0
	}
	m.sp = sp
}

// take receives the one result of a built-in function.
func (m *machine) take(term *ast.Term) error {
	m.out = term
	return nil
}

// takeAll receives one of the results of a relation.
func (m *machine) takeAll(term *ast.Term) error {
	if !m.step() || !m.charge(termBytes) {
		return topdown.Halt{Err: m.err}
	}
	m.outs = append(m.outs, term)
	return nil
}

// canceller shows built-in functions whether the evaluation is cancelled.
type canceller struct{ m *machine }

var _ topdown.Cancel = canceller{}

// Cancel does nothing; the context is what cancels.
func (canceller) Cancel() {}

// Cancelled reports whether the context has ended.
func (c canceller) Cancelled() bool { return c.m.cancelled() }
