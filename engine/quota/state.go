package quota

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// A stored state is a version byte, the algorithm's code, and the algorithm's
// own numbers as unsigned varints; a counter of which nothing was used has
// none. Each state has exactly one form, and anything else is refused.
const stateVersion = 1

// maxSeconds ends the times a request may carry: 1970 to 2200 in UTC. All
// arithmetic stays within 64 bits there. A state may speak of a time somewhat
// later.
const (
	maxSeconds   = 7_258_118_400
	maxStateTime = uint64(maxSeconds*time.Second + MaxWindow)
	stateHeader  = 2
)

// errState means that a stored state is not one that this package wrote.
var errState = errors.New("invalid counter state")

func encodeState(a *algorithm, c counter) []byte {
	b := make([]byte, 0, stateHeader+2*binary.MaxVarintLen64)
	return c.encode(append(b, stateVersion, a.code))
}

// decodeState reads a state of a counter.
func decodeState(id *CounterID, state []byte) (counter, error) {
	a := id.Algorithm.find()
	l := Limit{Algorithm: id.Algorithm, Window: id.Window}
	if a == nil || id.Window < MinWindow || id.Window > MaxWindow {
		return nil, fmt.Errorf("%w: no counter has algorithm %q and window %s", errState, id.Algorithm, id.Window)
	}
	if len(state) < stateHeader || state[0] != stateVersion || state[1] != a.code {
		return nil, fmt.Errorf("%w: not a state of version %d of %s", errState, stateVersion, id.Algorithm)
	}
	r := stateReader{rest: state[stateHeader:]}
	c := a.decode(&r, &l)
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: %s of %d bytes", errState, id.Algorithm, len(state))
	}
	return c, nil
}

func appendNumbers(b []byte, numbers ...uint64) []byte {
	for _, n := range numbers {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// stateReader reads numbers and remembers whether all of them were good.
type stateReader struct {
	rest []byte
	bad  bool
}

func (r *stateReader) empty() bool { return len(r.rest) == 0 }

func (r *stateReader) require(ok bool) { r.bad = r.bad || !ok }

// number reads a number of at most limit in its shortest form; 0 if there is
// none.
func (r *stateReader) number(limit uint64) uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 || n > limit || (size > 1 && r.rest[size-1] == 0) {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// nanoseconds turns the time of a request into nanoseconds since 1970.
func nanoseconds(at time.Time) (int64, error) {
	seconds := at.Unix()
	if seconds < 0 || seconds >= maxSeconds {
		return 0, fmt.Errorf("%w: time %s: want 1970 to 2200", ErrInvalidClaim, at)
	}
	return seconds*int64(time.Second) + int64(at.Nanosecond()), nil
}

// unixTime is the time of nanoseconds since 1970.
func unixTime(at int64) time.Time { return time.Unix(0, at).UTC() }

// expiry is the end of a stored state in nanoseconds since 1970. The end of
// time, rounded up by a store, is still the end of time.
func expiry(at time.Time) int64 {
	switch seconds := at.Unix(); {
	case seconds < 0:
		return 0
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	default:
		return at.UnixNano()
	}
}

// fullMilliseconds rounds a time up, because stores keep less than
// nanoseconds and must not forget a state too early.
func fullMilliseconds(at int64) int64 {
	const ms = int64(time.Millisecond)
	if at > math.MaxInt64-ms {
		return math.MaxInt64
	}
	return (at + ms - 1) / ms * ms
}
