package server

import (
	"context"
	"sync"
	"time"
)

// patience is the context of one request: it ends with its parent, or when the
// request has had its time. The timer starts when something first waits on
// the context. Most requests are decided and answered from memory and never
// wait, and a timer for each of them would be a fifth of the server's work.
type patience struct {
	parent context.Context
	ended  context.Context // any context that has ended
	limit  time.Duration

	once   sync.Once
	timed  context.Context
	cancel context.CancelFunc
}

var _ context.Context = (*patience)(nil)

// started returns the context with the timer running.
func (p *patience) started() context.Context {
	p.once.Do(func() { p.timed, p.cancel = context.WithTimeout(p.parent, p.limit) })
	return p.timed
}

// Deadline tells when the context ends.
func (p *patience) Deadline() (time.Time, bool) { return p.started().Deadline() }

// Done is closed when the context ends.
func (p *patience) Done() <-chan struct{} { return p.started().Done() }

// Err says why the context ended; nil if it has not.
func (p *patience) Err() error { return p.started().Err() }

// Value is the parent's. It goes through the timed context, by which package
// context recognises its own kind and needs no goroutine for children.
func (p *patience) Value(key any) any { return p.started().Value(key) }

// end releases the timer. Whoever still holds the context finds it ended.
func (p *patience) end() {
	p.once.Do(func() { p.timed, p.cancel = p.ended, func() {} })
	p.cancel()
}
