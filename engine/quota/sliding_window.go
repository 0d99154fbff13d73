package quota

// slidingWindow admits at most the limit's units in any span of the window.
//
// It counts in slots of a sixtieth of the window, aligned to 1970. The window
// that ends now begins somewhere inside a slot; that oldest slot counts in
// full. So the algorithm never admits more than the limit in any span of the
// window, and what was taken is forgotten at most a sixtieth of the window
// later than it could be.
//
// A window therefore touches 61 slots. The ring has three more: requests that
// come late by up to three slots are judged and counted in the slot of their
// own time, and ahead may count units in a slot still to come.
type slidingWindow struct {
	// head is the number of the newest slot in the ring: its start divided
	// by the length of a slot. It holds units unless total is 0.
	head int64
	// total is the sum of the ring.
	total int64
	slots [ringSlots]uint32
}

const (
	windowSlots = 60
	ringSlots   = 64 // a power of two, so that finding a slot is a mask
	spareSlots  = ringSlots - windowSlots - 1
	aheadSlots  = 2
)

var _ counter = (*slidingWindow)(nil)

// slot is the length of a slot, rounded up, so that 60 are never less than
// the window.
func (l *Limit) slot() int64 { return (int64(l.Window) + windowSlots - 1) / windowSlots }

func (w *slidingWindow) at(slot int64) *uint32 { return &w.slots[slot&(ringSlots-1)] }

// place returns the slot that a time counts in, no older than the ring allows.
func (w *slidingWindow) place(l *Limit, now int64) int64 {
	k := now / l.slot()
	if w.total > 0 {
		k = max(k, w.head-spareSlots)
	}
	return k
}

// used sums the slots that a window ending in slot k touches, and any newer.
func (w *slidingWindow) used(k int64) int64 {
	if w.total == 0 || k > w.head+windowSlots {
		return 0
	}
	used := w.total
	for old := w.head - ringSlots + 1; old < k-windowSlots; old++ {
		used -= int64(*w.at(old))
	}
	return used
}

func (w *slidingWindow) opens(l *Limit, cost, now int64) int64 {
	k := w.place(l, now)
	used := w.used(k)
	over := used + cost - l.Limit
	if over <= 0 {
		return now
	}
	oldest := w.head
	if over <= used-int64(*w.at(w.head)) {
		oldest = max(k-windowSlots, w.head-ringSlots+1)
		for over -= int64(*w.at(oldest)); over > 0; over -= int64(*w.at(oldest)) {
			oldest++
		}
	}
	return (oldest + windowSlots + 1) * l.slot()
}

func (w *slidingWindow) take(l *Limit, cost, now int64) { w.add(w.place(l, now), cost) }

// add counts units in slot k and makes room for it in the ring.
func (w *slidingWindow) add(k, units int64) {
	if w.total == 0 || k >= w.head+ringSlots {
		*w = slidingWindow{head: k}
	}
	for w.head < k {
		w.head++
		w.total -= int64(*w.at(w.head))
		*w.at(w.head) = 0
	}
	*w.at(k) += uint32(units)
	w.total += units
}

func (w *slidingWindow) report(l *Limit, now int64) (remaining, reset int64) {
	used := w.used(w.place(l, now))
	if used == 0 {
		return l.Limit, 0
	}
	return max(0, l.Limit-used), (w.head + windowSlots + 1) * l.slot()
}

func (w *slidingWindow) clear() {
	if w.total > 0 {
		*w = slidingWindow{}
	}
}

// ahead counts the units in a slot to come: wherever up to there they are
// taken, they are forgotten no later.
func (w *slidingWindow) ahead(l *Limit, n, now int64) (counter, int64) {
	k := w.place(l, now) + aheadSlots
	p := *w
	p.add(k, n)
	return &p, (k+1)*l.slot() - 1
}

func (*slidingWindow) within(_ *Limit, now, until int64) bool { return now <= until }

// covers holds if, for each slot that may come, at least as much is counted.
func (w *slidingWindow) covers(live counter, l *Limit, now int64) bool {
	s, ok := live.(*slidingWindow)
	if !ok {
		return false
	}
	k := now / l.slot()
	if w.total == 0 || s.total == 0 {
		return s.used(k) == 0
	}
	for k = max(k, min(w.head, s.head)-ringSlots); k <= s.head+windowSlots; k++ {
		if w.used(k) < s.used(k) {
			return false
		}
	}
	return true
}

func (w *slidingWindow) encode(b []byte) []byte {
	if w.total == 0 {
		return b
	}
	oldest := w.head - ringSlots + 1
	for *w.at(oldest) == 0 {
		oldest++
	}
	b = appendNumbers(b, uint64(w.head), uint64(w.head-oldest))
	for ; oldest <= w.head; oldest++ {
		b = appendNumbers(b, uint64(*w.at(oldest)))
	}
	return b
}

func decodeSlidingWindow(r *stateReader, l *Limit) counter {
	w := &slidingWindow{}
	if r.empty() {
		return w
	}
	w.head = int64(r.number(maxStateTime / uint64(l.slot())))
	span := int64(r.number(ringSlots - 1))
	for k := w.head - span; k <= w.head; k++ {
		units := r.number(MaxLimit)
		r.require(units > 0 || (k > w.head-span && k < w.head))
		*w.at(k) = uint32(units)
		w.total += int64(units)
	}
	return w
}
