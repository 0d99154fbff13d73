package policies

import (
	"context"
	"fmt"

	"github.com/twyn/twyn/engine"
)

// guarded is the type of resource that the guard keeps.
const guarded = "policy"

// Guard judges requests for policies themselves by the policies that are part
// of the program, whatever is live: a revision that denies everything cannot
// keep operators from rolling it back, and one that allows everything lets
// nobody else near. Everything else is judged by what is live.
type Guard struct {
	live  engine.Policy
	fixed *Set
}

var _ engine.Policy = (*Guard)(nil)

// NewGuard returns a guard before live. The options are those of the fixed
// policies.
func NewGuard(ctx context.Context, live engine.Policy, options Options) (*Guard, error) {
	options.Root = ""
	fixed, err := Load(ctx, Default(), options)
	if err != nil {
		return nil, fmt.Errorf("loading the policies that guard policies: %w", err)
	}
	return &Guard{live: live, fixed: fixed}, nil
}

// Judge asks the fixed policies about policies and the live ones about the rest.
func (g *Guard) Judge(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	if question.Request.Target.Type == guarded {
		return g.fixed.Judge(ctx, question)
	}
	return g.live.Judge(ctx, question)
}
