package decisionlog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twyn/twyn/engine"
)

// entry is a decision as it waits in memory: copies of the two structs, without
// the credential. What they point to is shared and never written to.
type entry struct {
	request  engine.Request
	decision engine.Decision
	duration time.Duration
}

// ring holds entries until the writer takes them all. Its two buffers change
// places, so that neither side waits for the other.
type ring struct {
	mu    sync.Mutex
	in    []entry // its capacity is the bound
	spare []entry
	shut  bool
}

func newRing(entries int) *ring {
	return &ring{in: make([]entry, 0, entries), spare: make([]entry, 0, entries)}
}

// put copies a decision into the ring. It reports whether there was room, and
// whether the ring is now half full.
func (r *ring) put(request *engine.Request, decision *engine.Decision, took time.Duration) (ok, half bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := len(r.in)
	if ok = n < cap(r.in) && !r.shut; ok {
		r.in = r.in[:n+1]
		e := &r.in[n]
		e.request, e.decision, e.duration = *request, *decision, took
		e.request.Credential = ""
	}
	return ok, n+1 == cap(r.in)/2
}

// take returns what is in the ring. The caller gives it back with done.
func (r *ring) take() []entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	full := r.in
	r.in, r.spare = r.spare, nil
	return full
}

// done returns what take gave, which is forgotten.
func (r *ring) done(full []entry) {
	clear(full)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spare = full[:0]
}

// close makes the ring refuse everything that comes later.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shut = true
}

// budget admits a number of records in each second. A second that is not the
// present one or the one before starts a new count, so that a clock that jumps
// back stops nothing for long.
type budget struct {
	rate  uint64
	state atomic.Uint64 // the second in the upper 32 bits, what it has admitted in the lower
}

// admit takes one record of a time from the budget.
func (b *budget) admit(at time.Time) bool {
	second := uint64(uint32(at.Unix()))
	for {
		state := b.state.Load()
		now, used := state>>32, state&0xffffffff
		if second > now || second+1 < now {
			now, used = second, 0
		}
		if used >= b.rate {
			return false
		}
		if b.state.CompareAndSwap(state, now<<32|(used+1)) {
			return true
		}
	}
}

// sampled reports whether a share of all decisions includes the one with this
// id. It depends on the id alone, so that every replica answers the same. An id
// without random digits is included.
func sampled(id string, share float64) bool {
	const digits = 13 // 52 bits, which a float64 holds exactly
	if share >= 1 || len(id) < digits {
		return true
	}
	var n uint64
	for i := len(id) - digits; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= '0' && c <= '9':
			n = n<<4 | uint64(c-'0')
		case c >= 'a' && c <= 'f':
			n = n<<4 | uint64(c-'a'+10)
		default:
			return true
		}
	}
	return float64(n) < share*(1<<52)
}
