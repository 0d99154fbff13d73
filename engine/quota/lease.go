package quota

import "math"

// lease is what a Durable knows of a counter beyond its state: how much of the
// limit the store has been told of in advance, and so may be taken without
// asking it.
//
// The rule that all of it serves: at every moment, every state that the store
// may hold covers the counter. While a save is under way, or has failed, the
// store may hold either the state before or the one after it. So a save never
// tells the store of fewer units than are still left of those before.
type lease struct {
	// left is how many units may be taken until a time that the counter's
	// ahead gave.
	left, until int64
	// low and renew tell when to have the lease extended in the background:
	// when no more than low units are left, or from a time on.
	low, renew int64
	// risk is how many units the store may count that nobody took.
	risk int64
	// clean means that the store holds exactly the counter.
	clean bool
	// limit and burst are the numbers that the counter was last used with.
	limit, burst int64

	// batch is what the counter is part of: being loaded or saved, or about
	// to be. A counter in a batch stays in the table.
	batch *batch
	// loading and evicting say what for; otherwise it is extended. saving is
	// set from when the state to be saved was made.
	loading, evicting, saving bool
	// at and want are what the extension is for: the latest time of those
	// who ask, and how many units they wait for.
	at, want int64
	// granted, spent and next belong to the save under way: the units it
	// tells the store of, what was taken since, and its until.
	granted, spent, next int64
	// err is why this counter could not be loaded.
	err error
}

const (
	// leasePart is which part of what is left of a limit a lease takes.
	leasePart = 8
	// lowPart is which part of a lease is left when it is extended.
	lowPart = 4
)

// leased reports whether the cost may be taken without asking the store.
func (e *entry) leased(l *Limit, cost, now int64) bool {
	return cost <= e.lease.left && e.counter.within(l, now, e.lease.until)
}

// spend notes that units were taken, and reports whether the lease should be
// extended while there still is some.
func (e *entry) spend(l *Limit, cost, now, remaining int64) bool {
	s := e.lease
	s.left -= cost
	s.spent += cost
	s.clean = false
	s.risk = max(0, s.risk-cost)
	s.limit, s.burst = l.Limit, l.Burst
	return s.batch == nil && remaining > 0 && (now >= s.renew || (s.left <= s.low && s.left < remaining))
}

// limitOf returns the limit that the counter was last used with.
func (e *entry) limitOf() Limit {
	return Limit{Name: e.id.Name, Limit: e.lease.limit, Window: e.id.Window, Algorithm: e.id.Algorithm, Burst: e.lease.burst}
}

// extend makes the state that the store is to hold next and reports whether it
// is needed.
func (e *entry) extend() (Record, bool) {
	s, l := e.lease, e.limitOf()
	e.age(s.at)
	e.floor = max(e.floor, s.at)
	now, want := e.floor, s.want
	s.want, s.spent = 0, 0
	var remaining int64
	if l.Limit > 0 {
		remaining, _ = e.counter.report(&l, now)
	}
	kept := s.left
	if !e.counter.within(&l, now, s.until) {
		kept, s.left = 0, 0
	}
	units := max((remaining+leasePart-1)/leasePart, min(remaining, want), kept)
	if remaining == 0 {
		return Record{}, false
	}
	ahead, until := e.counter.ahead(&l, units, now)
	s.granted, s.next = units, until
	s.risk = max(s.risk, units)
	s.clean = false
	_, reset := ahead.report(&l, now)
	e.expires = max(e.expires, fullMilliseconds(reset))
	return e.record(ahead, e.expires), true
}

// extended ends a save that extend began.
func (e *entry) extended(saved bool) {
	s := e.lease
	now := e.floor
	if !saved {
		// Ask again later, so that a store that is away is not asked with
		// every request; who needs more than is left asks anyway.
		s.low, s.renew = s.left/2, soon(now, s.until, 2)
		return
	}
	s.left, s.until = s.granted-s.spent, s.next
	s.risk = s.left
	s.low, s.renew = s.granted/lowPart, soon(now, s.until, 3)
}

// soon is a time before until, by a part of the time that is left; never for
// a lease that is not bound to a time.
func soon(now, until, part int64) int64 {
	if until <= now {
		return math.MaxInt64
	}
	return until - (until-now)/part
}

// record is what the store keeps of a counter.
func (e *entry) record(c counter, expires int64) Record {
	return Record{ID: e.id, State: encodeState(e.algorithm, c), ExpiresAt: unixTime(expires)}
}

// exact is what the store is to hold of a counter that was used: the counter
// as it is, nothing in advance. From here on nothing is taken before the store
// has been asked.
func (e *entry) exact() Record {
	s, l := e.lease, e.limitOf()
	s.left, s.low, s.spent, s.granted = 0, 0, 0, 0
	_, reset := e.counter.report(&l, e.floor)
	return e.record(e.counter, fullMilliseconds(max(reset, e.floor)))
}
