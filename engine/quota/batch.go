package quota

import (
	"context"
	"sync"
)

// batch is a group of counters that are loaded or saved together. Whoever needs
// one of them waits for done; err and each lease's err are set by then.
type batch struct {
	entries []*entry
	done    chan struct{}
	err     error
}

// maxBatch is how many counters one call of the store speaks of.
const maxBatch = 4096

// batcher groups what comes while the store is busy, so that it is asked once
// for all of it. One goroutine runs it; each batch is run as a whole.
type batcher struct {
	run    func(ctx context.Context, entries []*entry) error
	refuse func(entries []*entry, err error)

	mu    sync.Mutex
	queue []*batch
	// wake has room for one: a batcher that is busy finds the queue when it
	// is done.
	wake chan struct{}
	quit chan struct{}
	done chan struct{}
}

func newBatcher(run func(context.Context, []*entry) error, refuse func([]*entry, error)) *batcher {
	return &batcher{
		run: run, refuse: refuse,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// add puts an entry into the batch that will be run next. The entry is in no
// other batch; the caller holds the lock of its shard.
func (b *batcher) add(e *entry) *batch {
	b.mu.Lock()
	if n := len(b.queue); n == 0 || len(b.queue[n-1].entries) == maxBatch {
		b.queue = append(b.queue, &batch{done: make(chan struct{})})
	}
	next := b.queue[len(b.queue)-1]
	next.entries = append(next.entries, e)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return next
}

// next takes a batch out of the queue, nil if there is none.
func (b *batcher) next() *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == 0 {
		return nil
	}
	first := b.queue[0]
	b.queue[0] = nil
	b.queue = b.queue[1:]
	return first
}

// loop runs batches until stop is called, and refuses those left over. Nothing
// may be added from then on.
func (b *batcher) loop(ctx context.Context) {
	defer close(b.done)
	for {
		select {
		case <-b.quit:
			for next := b.next(); next != nil; next = b.next() {
				next.err = errClosed
				b.refuse(next.entries, errClosed)
				close(next.done)
			}
			return
		case <-b.wake:
		}
		for !b.stopping() {
			next := b.next()
			if next == nil {
				break
			}
			next.err = b.run(ctx, next.entries)
			close(next.done)
		}
	}
}

func (b *batcher) stopping() bool {
	select {
	case <-b.quit:
		return true
	default:
		return false
	}
}

// stop ends the loop after the batch that is running and waits for it as long
// as the context allows.
func (b *batcher) stop(ctx context.Context) error {
	b.mu.Lock()
	if !b.stopping() {
		close(b.quit)
	}
	b.mu.Unlock()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
