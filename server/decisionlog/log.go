package decisionlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
)

// Defaults and bounds.
const (
	DefaultFlushInterval = 200 * time.Millisecond
	DefaultDiskBytes     = 256 << 20
	DefaultRate          = 1000
	DefaultRingEntries   = 8192
	// BatchRecords and BatchBytes bound what is saved at once; one record
	// may be larger.
	BatchRecords = 500
	BatchBytes   = 1 << 20

	segmentBytes  = 4 << 20 // where a segment ends and the next begins
	adoptInterval = time.Minute
	alarmInterval = time.Minute
	saveTimeout   = 30 * time.Second
	leastBackoff  = 100 * time.Millisecond
	mostBackoff   = 30 * time.Second
)

// Store keeps records for good, all of a batch or nothing. Saving a record twice
// is harmless. An error that wraps engine.ErrRecordRefused means that a record
// of the batch can never be saved; after any other the batch is tried again.
type Store interface {
	SaveDecisions(ctx context.Context, batch []engine.DecisionRecord) error
}

// Options say how decisions are kept. Dir and Store are required.
type Options struct {
	// Dir is where segments wait. Several processes may share it.
	Dir   string
	Store Store
	// Masker may be nil.
	Masker Masker
	// Sample is the share of allows that is kept, from 0 to 1.
	Sample float64
	// Rate is how many allows are kept in a second, and again how many
	// requests of nobody.
	Rate int
	// FlushInterval is how often memory is written to disk: what a kill -9
	// loses. 0 means 200 ms.
	FlushInterval time.Duration
	// DiskBytes bounds the segments. Seven eighths of it are for allows too,
	// the last for refusals only. 0 means 256 MiB.
	DiskBytes int64
	// RingEntries bounds the decisions in memory; 0 means 8192.
	RingEntries int
	Clock       clock.Clock  // nil: the machine's
	Logger      *slog.Logger // nil: silent
}

func (o *Options) complete() error {
	switch {
	case o.Dir == "" || o.Store == nil:
		return errors.New("decision log: Dir and Store are required")
	case math.IsNaN(o.Sample) || o.Sample < 0 || o.Sample > 1:
		return fmt.Errorf("decision log: sample %v: want 0 to 1", o.Sample)
	case o.Rate < 0 || o.FlushInterval < 0 || o.DiskBytes < 0 || o.RingEntries < 0:
		return errors.New("decision log: a bound is negative")
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = DefaultFlushInterval
	}
	if o.DiskBytes == 0 {
		o.DiskBytes = DefaultDiskBytes
	}
	if o.RingEntries == 0 {
		o.RingEntries = DefaultRingEntries
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// Log records decisions. Make one with Open.
type Log struct {
	options  Options
	counters counters
	ring     *ring
	allows   budget
	nobodies budget
	own      *spool
	segment  int64 // where a segment ends

	wake    chan struct{}   // the ring is half full
	ship    chan struct{}   // there is something on disk
	writes  chan chan error // asks the writer to write now
	ships   chan chan error // asks the shipper to ship now
	stop    chan struct{}   // tells the writer to write once more and end
	written chan struct{}   // the writer has ended
	ended   chan struct{}   // the shipper has ended
	closing context.Context // ends when Close has run out of time
	cancel  context.CancelFunc
	once    sync.Once
	failed  error // the writer's last, once it has ended
}

// Open makes a directory for this process, takes over what dead processes have
// left, and starts to write and ship.
func Open(o Options) (*Log, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Log{
		options: o, ring: newRing(o.RingEntries), segment: max(min(segmentBytes, o.DiskBytes/8), 1),
		wake: make(chan struct{}, 1), ship: make(chan struct{}, 1), writes: make(chan chan error), ships: make(chan chan error),
		stop: make(chan struct{}), written: make(chan struct{}), ended: make(chan struct{}),
	}
	l.allows.rate, l.nobodies.rate = uint64(o.Rate), uint64(o.Rate)
	l.closing, l.cancel = context.WithCancel(context.Background())
	var err error
	if l.own, err = newSpool(o.Dir); err != nil {
		return nil, err
	}
	left := l.adopt()
	go l.write()
	go (&shipper{log: l, spools: append(left, l.own)}).run()
	return l, nil
}

// adopt takes over what dead processes have left.
func (l *Log) adopt() []*spool {
	left, err := adopt(l.options.Dir)
	if err != nil {
		l.options.Logger.Warn("left decisions not found", "error", err)
	}
	for _, s := range left {
		l.counters.diskBytes.Add(s.bytes())
	}
	return left
}

// Record keeps a copy of the decision, or counts it. It never waits for disk or
// store.
func (l *Log) Record(_ context.Context, r *engine.Request, d *engine.Decision) {
	switch {
	case d.Effect == engine.Allow && !sampled(d.ID, l.options.Sample):
		l.counters.sampledOut.Add(1)
		return
	case d.Effect == engine.Allow && !l.allows.admit(d.At), d.Principal == nil && !l.nobodies.admit(d.At):
		l.counters.overRate.Add(1)
		return
	}
	ok, half := l.ring.put(r, d, max(l.options.Clock.Now().Sub(d.At), 0))
	if !ok {
		l.counters.ringFull.Add(1)
	}
	if half {
		signal(l.wake)
	}
}

// signal leaves a message unless there is one.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Flush writes everything recorded so far to disk and saves it to the store. An
// error is the disk's or the store's; the latter means that what was recorded is
// on disk.
func (l *Log) Flush(ctx context.Context) error {
	if err := l.ask(ctx, l.writes, l.written); err != nil {
		return err
	}
	return l.ask(ctx, l.ships, l.ended)
}

// ask waits for one of the goroutines to do its work.
func (l *Log) ask(ctx context.Context, requests chan<- chan error, ended <-chan struct{}) error {
	done := make(chan error, 1)
	select {
	case requests <- done:
	case <-ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done: // whoever takes a request answers it
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errClosed = errors.New("decision log: closed")

// Close writes everything recorded so far to disk and, if the store answers
// before ctx ends, saves it there; what it does not take is left on disk for the
// next process. An error means that records were lost.
func (l *Log) Close(ctx context.Context) error {
	l.once.Do(func() {
		l.ring.close()
		close(l.stop)
	})
	defer context.AfterFunc(ctx, l.cancel)()
	<-l.ended
	l.cancel()
	if stats := l.Stats(); stats.DiskBytes > 0 {
		l.options.Logger.Warn("decisions left on disk for the next start", "bytes", stats.DiskBytes)
	}
	return l.failed
}

// write is the writer: it empties the ring into segments until it is told to
// stop.
func (l *Log) write() {
	defer close(l.written)
	ticker := time.NewTicker(l.options.FlushInterval)
	defer ticker.Stop()
	w := &writer{log: l, builder: builder{masker: l.options.Masker}}
	for {
		select {
		case <-ticker.C:
			_ = w.drain() // counted and told of
		case <-l.wake:
			_ = w.drain()
		case done := <-l.writes:
			done <- w.drain()
		case <-l.stop:
			l.failed = w.drain()
			return
		}
	}
}

var _ engine.Recorder = (*Log)(nil)
