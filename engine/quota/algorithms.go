package quota

import "math"

// counter is what one limit remembers of what was used. Times are nanoseconds
// since 1970; a counter never sees an invalid limit, a limit of 0, a cost of 0
// or a cost above the limit's capacity. Nothing but take, ahead and clear
// changes it.
//
// A time before the last that the counter remembers counts as that last time,
// so that requests which race each other never gain by it.
type counter interface {
	// opens is the earliest time, from now on, at which cost units fit: now
	// itself if they fit now.
	opens(l *Limit, cost, now int64) int64
	// take uses cost units, which opens has let pass.
	take(l *Limit, cost, now int64)
	// report tells how many units are left and when the limit is whole again;
	// 0 for one that is whole.
	report(l *Limit, now int64) (remaining, reset int64)
	// clear forgets everything.
	clear()

	// ahead returns the counter as it may stand after n more units, and the
	// last time at which they may be taken: whatever this counter takes by
	// then, and no more than n units of it, the returned one covers. It may
	// bring this counter up to now, after which it is not asked about
	// earlier times.
	ahead(l *Limit, n, now int64) (counter, int64)
	// within reports whether units granted by ahead may be taken now.
	within(l *Limit, now, until int64) bool
	// covers reports whether, at now and any later time, this counter
	// refuses whatever live refuses: it says that at least as much was used.
	covers(live counter, l *Limit, now int64) bool

	// encode appends the counter without the header that encode in state.go
	// puts before it.
	encode(b []byte) []byte
}

// algorithm is one way to count.
type algorithm struct {
	name Algorithm
	// code stands for the name in stored states and never changes.
	code byte
	// open returns a counter of which nothing was used.
	open func() counter
	// decode reads what the counter's encode has appended.
	decode func(r *stateReader, l *Limit) counter
}

// algorithms lists every algorithm. It is never written to.
var algorithms = [...]algorithm{
	{FixedWindow, 1, func() counter { return &fixedWindow{} }, decodeFixedWindow},
	{SlidingWindow, 2, func() counter { return &slidingWindow{} }, decodeSlidingWindow},
	{TokenBucket, 3, func() counter { return &tokenBucket{} }, decodeTokenBucket},
}

// find returns the algorithm of that name, nil if there is none.
func (a Algorithm) find() *algorithm {
	for i := range algorithms {
		if algorithms[i].name == a {
			return &algorithms[i]
		}
	}
	return nil
}

// capacity is the most that can be taken at once.
func (l *Limit) capacity() int64 {
	if l.Algorithm == TokenBucket && l.Burst > 0 {
		return l.Burst
	}
	return l.Limit
}

// horizon is how far ahead of a request the store is told that units may be
// used: long enough that steady traffic does not wait for the store, short
// enough that a crash costs little.
func (l *Limit) horizon() int64 { return int64(l.Window) / 32 }

// later adds a span to a time; what cannot be told is the end of time.
func later(at, span int64) int64 {
	if span > math.MaxInt64-at {
		return math.MaxInt64
	}
	return at + span
}
