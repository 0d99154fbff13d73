package policies

import (
	"context"
	"sync/atomic"

	"github.com/twyn/twyn/engine"
)

// Engine judges with the Set that is live at the moment.
type Engine struct {
	live atomic.Pointer[Set]
}

var _ engine.Policy = (*Engine)(nil)

// NewEngine returns an Engine whose live Set is the given one.
func NewEngine(set *Set) *Engine {
	e := &Engine{}
	e.live.Store(set)
	return e
}

// Judge asks the live Set, as Set.Judge does. The whole decision is made by one
// Set.
func (e *Engine) Judge(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	return e.live.Load().Judge(ctx, question)
}

// Counts returns what the Stats of the live Set have counted.
func (e *Engine) Counts() Counts { return e.Live().Counts() }

// Live returns the live Set.
func (e *Engine) Live() *Set { return e.live.Load() }

// Swap makes another Set the live one and returns the former. Decisions that
// have begun end with the Set they began with.
func (e *Engine) Swap(set *Set) *Set { return e.live.Swap(set) }
