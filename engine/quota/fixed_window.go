package quota

// fixedWindow opens a window with the first units taken, admits the limit's
// units in it, and forgets them all when the window ends. The limit is not
// part of the state: a changed one acts at once on the running window.
type fixedWindow struct {
	// start is when the window opened. used is what was taken in it; 0 means
	// that no window is open.
	start, used int64
}

var _ counter = (*fixedWindow)(nil)

// running reports whether the window is open. A time before its start is
// within it.
func (w *fixedWindow) running(l *Limit, now int64) bool {
	return w.used > 0 && now < w.start+int64(l.Window)
}

func (w *fixedWindow) opens(l *Limit, cost, now int64) int64 {
	if !w.running(l, now) || cost <= l.Limit-w.used {
		return now
	}
	return w.start + int64(l.Window)
}

func (w *fixedWindow) take(l *Limit, cost, now int64) {
	if !w.running(l, now) {
		*w = fixedWindow{start: now}
	}
	w.used += cost
}

func (w *fixedWindow) report(l *Limit, now int64) (remaining, reset int64) {
	if !w.running(l, now) {
		return l.Limit, 0
	}
	return max(0, l.Limit-w.used), w.start + int64(l.Window)
}

func (w *fixedWindow) clear() { *w = fixedWindow{} }

// ahead adds the units to the running window. Where none is running, it does
// not know yet with which request the next one opens, so it lets it open as
// late as the units may be taken.
func (w *fixedWindow) ahead(l *Limit, n, now int64) (counter, int64) {
	if w.running(l, now) {
		return &fixedWindow{start: w.start, used: w.used + n}, 0
	}
	until := now + l.horizon()
	return &fixedWindow{start: until, used: n}, until
}

// within holds for the whole of a running window: the units were granted to
// it, or to its opening.
func (w *fixedWindow) within(l *Limit, now, until int64) bool {
	return w.running(l, now) || now <= until
}

func (w *fixedWindow) covers(live counter, l *Limit, now int64) bool {
	s, ok := live.(*fixedWindow)
	return ok && (!s.running(l, now) || (w.start >= s.start && w.used >= s.used))
}

func (w *fixedWindow) encode(b []byte) []byte {
	if w.used == 0 {
		return b
	}
	return appendNumbers(b, uint64(w.start), uint64(w.used))
}

func decodeFixedWindow(r *stateReader, _ *Limit) counter {
	if r.empty() {
		return &fixedWindow{}
	}
	start, used := r.number(maxStateTime), r.number(MaxLimit)
	r.require(used > 0)
	return &fixedWindow{start: int64(start), used: int64(used)}
}
