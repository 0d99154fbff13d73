package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(t.Context())
	ended, end := context.WithCancel(t.Context())
	end()
	made := func(limit time.Duration) *patience { return &patience{parent: parent, ended: ended, limit: limit} }

	short := made(time.Nanosecond)
	<-short.Done()
	if !errors.Is(short.Err(), context.DeadlineExceeded) {
		t.Errorf("after its time Err is %v", short.Err())
	}
	unused := made(time.Hour)
	unused.end()
	<-unused.Done()
	if !errors.Is(unused.Err(), context.Canceled) {
		t.Errorf("after its end Err is %v", unused.Err())
	}
	used := made(time.Hour)
	if _, ok := used.Deadline(); !ok || used.Err() != nil {
		t.Errorf("while it runs it has a deadline: %v, Err %v", ok, used.Err())
	}
	child, stop := context.WithCancel(used)
	defer stop()
	used.end()
	<-child.Done()
	orphan := made(time.Hour)
	done := orphan.Done()
	cancel()
	<-done
	orphan.end()
}

// TestRequestTimeout checks that a decision that waits too long is given up.
func TestRequestTimeout(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) {
		o.RequestTimeout = time.Millisecond
		o.Decider = patientDecider{}
	})
	w.do("GET", "/v1/keys", "", "").want(t, 503, `{"detail":"Service temporarily unavailable"}`)
}

// patientDecider decides when its context has ended.
type patientDecider struct{}

func (patientDecider) Decide(ctx context.Context, _ *engine.Request) (engine.Decision, error) {
	<-ctx.Done()
	return engine.Decision{}, ctx.Err()
}
