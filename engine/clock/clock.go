// Package clock is the only source of time below the edges of the program.
//
// Everything that decides takes its time from engine.Request.At; what runs
// beside requests (sweeping, flushing, watching) takes a Clock, so that a test
// or a simulation can set it. The package must import the standard library
// only, and no other package below cmd and server may call time.Now.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time.
type Clock interface {
	Now() time.Time
}

// System is the clock of the machine, in UTC. Its zero value is ready to use.
type System struct{}

// Now returns the current time in UTC.
func (System) Now() time.Time { return time.Now().UTC() }

// Manual is a clock that moves only when told to. It is safe for concurrent
// use; its zero value stands at the zero time.
type Manual struct {
	mu  sync.Mutex
	now time.Time
}

// NewManual returns a clock that stands at the given time.
func NewManual(at time.Time) *Manual { return &Manual{now: at} }

// Now returns the time the clock was last set to.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Set moves the clock to the given time, which may lie in its past.
func (m *Manual) Set(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = at
}

// Advance moves the clock by d and returns the new time.
func (m *Manual) Advance(d time.Duration) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	return m.now
}

var (
	_ Clock = System{}
	_ Clock = (*Manual)(nil)
)
