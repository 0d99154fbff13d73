package quota

// tokenBucket refills at the limit's units per window and holds at most its
// burst: the generic cell rate algorithm in its continuous-state form.
//
// The debt is what is missing from a full bucket, counted in parts: a unit is
// as many parts as the window has nanoseconds, so that each nanosecond pays
// back exactly as many parts as the limit is a number. No division happens on
// the way, nothing is rounded and nothing drifts; the products need 128 bits.
//
// The limit is not part of the state. A changed one acts at once: the debt is
// paid back at the new rate from the last taking on, and the bucket holds what
// it holds now. A debt is never forgiven, so that lowering a limit and raising
// it again gives nothing.
type tokenBucket struct {
	// last is when the debt was reckoned, the time of the last taking.
	last int64
	debt wide
}

var _ counter = (*tokenBucket)(nil)

// parts is what n units make.
func (l *Limit) parts(n int64) wide { return product(n, int64(l.Window)) }

// owed is the debt that is left at a time.
func (b *tokenBucket) owed(l *Limit, now int64) wide {
	if now <= b.last {
		return b.debt
	}
	return b.debt.minus(product(now-b.last, l.Limit))
}

func (b *tokenBucket) opens(l *Limit, cost, now int64) int64 {
	over := b.owed(l, now).plus(l.parts(cost)).minus(l.parts(l.capacity()))
	if over == (wide{}) {
		return now
	}
	return later(max(now, b.last), over.over(l.Limit))
}

func (b *tokenBucket) take(l *Limit, cost, now int64) {
	b.debt = b.owed(l, now).plus(l.parts(cost))
	b.last = max(now, b.last)
}

func (b *tokenBucket) report(l *Limit, now int64) (remaining, reset int64) {
	owed := b.owed(l, now)
	if owed == (wide{}) {
		return l.capacity(), 0
	}
	remaining = l.capacity() - owed.over(int64(l.Window))
	return max(0, remaining), later(max(now, b.last), owed.over(l.Limit))
}

func (b *tokenBucket) clear() { *b = tokenBucket{} }

// ahead adds the units to the debt and stops the refill for as long as they
// may be taken.
func (b *tokenBucket) ahead(l *Limit, n, now int64) (counter, int64) {
	b.debt = b.owed(l, now)
	b.last = max(now, b.last)
	until := max(now+l.horizon(), b.last)
	return &tokenBucket{last: until, debt: b.debt.plus(l.parts(n))}, until
}

func (*tokenBucket) within(_ *Limit, now, until int64) bool { return now <= until }

// covers compares the debts now and from when on both are paid back: in between
// at most one of them is.
func (b *tokenBucket) covers(live counter, l *Limit, now int64) bool {
	s, ok := live.(*tokenBucket)
	if !ok {
		return false
	}
	both := max(now, b.last, s.last)
	return s.owed(l, now).atMost(b.owed(l, now)) && s.owed(l, both).atMost(b.owed(l, both))
}

func (b *tokenBucket) encode(buf []byte) []byte {
	if b.debt == (wide{}) {
		return buf
	}
	return appendNumbers(buf, uint64(b.last), b.debt.hi, b.debt.lo)
}

func decodeTokenBucket(r *stateReader, l *Limit) counter {
	if r.empty() {
		return &tokenBucket{}
	}
	b := &tokenBucket{last: int64(r.number(maxStateTime))}
	b.debt.hi = r.number(1<<63 - 1)
	b.debt.lo = r.number(1<<64 - 1)
	r.require(b.debt != (wide{}) && b.debt.atMost(l.parts(MaxLimit)))
	return b
}
