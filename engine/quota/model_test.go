package quota

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The algorithms are checked against a model that keeps a list of all that was
// ever taken and reads the answer off it.

// step is one claim: how long after the one before it, and its cost. A wait
// below 0 makes it late.
type step struct{ wait, cost int64 }

// taken is an entry of the model's list.
type taken struct{ at, units int64 }

// reporter is what rapid.T and testing.T have in common here.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
}

const (
	modelStart = 1_700_000_000_123_456_789
	endOfTime  = 1<<63 - 1
)

// modelOf judges a claim by the list.
type modelOf func(l *Limit, list []taken, cost, now int64) bool

func models() map[Algorithm]modelOf {
	return map[Algorithm]modelOf{FixedWindow: fixedModel, SlidingWindow: slidingModel, TokenBucket: bucketModel}
}

func fixedModel(l *Limit, list []taken, cost, now int64) bool {
	var start, used int64
	for _, e := range list {
		if used == 0 || e.at >= start+int64(l.Window) {
			start, used = e.at, 0
		}
		used += e.units
	}
	return used == 0 || now >= start+int64(l.Window) || used+cost <= l.Limit
}

// slidingModel counts the slots that the window touches.
func slidingModel(l *Limit, list []taken, cost, now int64) bool {
	used := cost
	for _, e := range list {
		if e.at/l.slot() >= now/l.slot()-windowSlots {
			used += e.units
		}
	}
	return used <= l.Limit
}

func bucketModel(l *Limit, list []taken, cost, now int64) bool {
	capacity := big.NewRat(l.capacity(), 1)
	level, last := new(big.Rat).Set(capacity), int64(0)
	refill := func(at int64) {
		gain := big.NewRat(l.Limit, int64(l.Window))
		level.Add(level, gain.Mul(gain, big.NewRat(at-last, 1)))
		if level.Cmp(capacity) > 0 {
			level.Set(capacity)
		}
		last = at
	}
	for _, e := range list {
		refill(e.at)
		level.Sub(level, big.NewRat(e.units, 1))
	}
	refill(now)
	return level.Cmp(big.NewRat(cost, 1)) >= 0
}

// play takes the steps through the algorithm and the model.
func play(t reporter, l Limit, steps []step) {
	t.Helper()
	a, model := l.Algorithm.find(), models()[l.Algorithm]
	c := a.open()
	var list []taken
	last, now := int64(0), int64(modelStart)
	for i, s := range steps {
		if now += s.wait; now < 0 || now >= maxSeconds*int64(time.Second) {
			break
		}
		cost := 1 + s.cost%l.capacity()
		// The model's list is in order: what is late counts as the latest,
		// but in a sliding window, where it keeps its slot if that is not
		// too old.
		at := max(now, last)
		if l.Algorithm == SlidingWindow {
			at = max(now, (last/l.slot()-spareSlots)*l.slot())
		}
		opens := c.opens(&l, cost, now)
		admitted := opens == now
		if want := model(&l, list, cost, at); admitted != want {
			t.Fatalf("%+v, step %d: cost %d at %d: admitted %t, the model says %t of %v", l, i, cost, now, admitted, want, list)
		}
		checkOpens(t, c, &l, cost, now, opens)
		checkReport(t, c, &l, now)
		if admitted {
			c.take(&l, cost, now)
			list, last = append(list, taken{at, cost}), max(last, at)
		}
		checkEncoding(t, a, c, &l)
	}
	if l.Algorithm == SlidingWindow {
		checkSpans(t, &l, list)
	}
}

// checkOpens holds a refusal to the time it names.
func checkOpens(t reporter, c counter, l *Limit, cost, now, opens int64) {
	t.Helper()
	if opens < now {
		t.Fatalf("%+v: opens %d before now", l, now-opens)
	}
	if opens > now && c.opens(l, cost, opens-1) == opens-1 {
		t.Fatalf("%+v: cost %d fits before %d, which was named", l, cost, opens)
	}
	if got := c.opens(l, cost, opens); got != opens && opens != endOfTime {
		t.Fatalf("%+v: cost %d was to fit at %d, and then at %d", l, cost, opens, got)
	}
}

// checkReport holds what is said to be left, and when the limit is whole, to
// what is admitted.
func checkReport(t reporter, c counter, l *Limit, now int64) {
	t.Helper()
	remaining, reset := c.report(l, now)
	if remaining > 0 && c.opens(l, remaining, now) != now {
		t.Fatalf("%+v: %d remaining, but they do not fit", l, remaining)
	}
	if remaining < l.capacity() && c.opens(l, remaining+1, now) == now {
		t.Fatalf("%+v: %d remaining, but one more fits", l, remaining)
	}
	if reset == 0 {
		if remaining != l.capacity() {
			t.Fatalf("%+v: whole, with %d remaining", l, remaining)
		}
		return
	}
	if reset == endOfTime {
		return
	}
	if left, again := c.report(l, reset); left != l.capacity() || again != 0 {
		t.Fatalf("%+v: %d remaining and a reset of %d where it was to be whole", l, left, again)
	}
	if _, again := c.report(l, reset-1); again == 0 {
		t.Fatalf("%+v: whole before its reset", l)
	}
}

func checkEncoding(t reporter, a *algorithm, c counter, l *Limit) {
	t.Helper()
	id := CounterID{Name: "key", Algorithm: l.Algorithm, Window: l.Window}
	state := encodeState(a, c)
	again, err := decodeState(&id, state)
	if err != nil {
		t.Fatalf("decoding %x of %+v: %v", state, c, err)
	}
	if string(encodeState(a, again)) != string(state) || !again.covers(c, l, 0) || !c.covers(again, l, 0) {
		t.Fatalf("%+v became %+v", c, again)
	}
}

// checkSpans looks at every span of a window: what was taken in it must not
// exceed the limit.
func checkSpans(t reporter, l *Limit, list []taken) {
	t.Helper()
	for _, first := range list {
		var used int64
		for _, e := range list {
			if e.at >= first.at && e.at < first.at+int64(l.Window) {
				used += e.units
			}
		}
		if used > l.Limit {
			t.Fatalf("%+v: %d units in one window of %v", l, used, list)
		}
	}
}

// limits draws limits of all sizes.
func limits(a Algorithm) *rapid.Generator[Limit] {
	return rapid.Custom(func(t *rapid.T) Limit {
		number := rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, MaxLimit), rapid.Just(int64(MaxLimit)))
		l := Limit{
			Name: "key", Algorithm: a, Limit: number.Draw(t, "limit"),
			Window: time.Duration(rapid.OneOf(
				rapid.SampledFrom([]int64{int64(time.Second), int64(time.Hour), int64(MaxWindow)}),
				rapid.Int64Range(int64(MinWindow), int64(MaxWindow)),
			).Draw(t, "window")),
		}
		if a == TokenBucket && rapid.Bool().Draw(t, "has burst") {
			l.Burst = number.Draw(t, "burst")
		}
		return l
	})
}

// stepsOf draws claims whose waits fit the limit.
func stepsOf(l Limit) *rapid.Generator[[]step] {
	w := int64(l.Window)
	unit := max(1, w/l.Limit)
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			wait: rapid.OneOf(
				rapid.Int64Range(0, 3*unit), rapid.Int64Range(0, w/20), rapid.Int64Range(w-2, w+w/50), rapid.Int64Range(0, 3*w),
				rapid.Int64Range(-w/100, 0), rapid.Just(int64(0)),
			).Draw(t, "wait"),
			cost: rapid.OneOf(rapid.Int64Range(0, 2), rapid.Int64Range(0, l.capacity()), rapid.Int64Range(0, l.capacity()/4)).Draw(t, "cost"),
		}
	}), 1, 60)
}

func TestModels(t *testing.T) {
	t.Parallel()
	for a := range models() {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				l := limits(a).Draw(t, "limit")
				play(t, l, stepsOf(l).Draw(t, "steps"))
			})
		})
	}
}

// TestAhead holds ahead to its promise: whatever is taken within it, the
// counter that was returned refuses all that the live one refuses.
func TestAhead(t *testing.T) {
	t.Parallel()
	for a := range models() {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				l := limits(a).Draw(t, "limit")
				c, now := a.find().open(), int64(modelStart)
				take := func(cost, at int64) bool {
					if c.opens(&l, cost, at) != at {
						return false
					}
					c.take(&l, cost, at)
					return true
				}
				for _, s := range stepsOf(l).Draw(t, "before") {
					now += max(0, s.wait)
					take(1+s.cost%l.capacity(), now)
				}
				now += rapid.SampledFrom([]int64{-int64(l.Window) / 4, 0, 1, int64(l.Window) / 2, int64(l.Window)}).Draw(t, "wait")
				remaining, _ := c.report(&l, now)
				if remaining == 0 {
					return
				}
				left := rapid.Int64Range(1, remaining).Draw(t, "units")
				ahead, until := c.ahead(&l, left, now)
				checkEncoding(t, a.find(), ahead, &l)
				for range rapid.IntRange(0, 20).Draw(t, "takes") {
					at := now + rapid.Int64Range(0, int64(l.Window)/10).Draw(t, "at")
					cost := rapid.Int64Range(1, l.capacity()).Draw(t, "cost")
					if cost <= left && c.within(&l, at, until) && take(cost, at) {
						left -= cost
					}
					checkCovers(t, ahead, c, &l, now)
				}
			})
		})
	}
}

// checkCovers tries claims at times from now on.
func checkCovers(t *rapid.T, ahead, live counter, l *Limit, now int64) {
	if !ahead.covers(live, l, now) {
		t.Fatalf("%+v does not cover %+v", ahead, live)
	}
	at := now + rapid.OneOf(rapid.Int64Range(0, int64(l.Window)/8), rapid.Int64Range(0, 3*int64(l.Window))).Draw(t, "probe")
	cost := rapid.Int64Range(1, l.capacity()).Draw(t, "probe cost")
	if live.opens(l, cost, at) != at && ahead.opens(l, cost, at) == at {
		t.Fatalf("cost %d at %d passes %+v and not %+v", cost, at, ahead, live)
	}
}

func TestCoversNothingElse(t *testing.T) {
	t.Parallel()
	for a := range models() {
		l := Limit{Name: "key", Algorithm: a, Limit: 10, Window: time.Hour}
		used, more := a.find().open(), a.find().open()
		used.take(&l, 3, modelStart)
		more.take(&l, 3, modelStart)
		more.take(&l, 1, modelStart+1)
		fresh := a.find().open()
		for _, test := range []struct {
			name         string
			stored, live counter
			covers       bool
		}{
			{"itself", used, used, true},
			{"less", more, used, true},
			{"more", used, more, false},
			{"an unused one", used, fresh, true},
			{"a used one", fresh, used, false},
		} {
			if got := test.stored.covers(test.live, &l, modelStart+1); got != test.covers {
				t.Errorf("%s covers %s: %t", a, test.name, got)
			}
		}
		if other := (&fixedWindow{start: 1, used: 5}); a != FixedWindow && used.covers(other, &l, modelStart) {
			t.Errorf("%s covers another algorithm", a)
		}
	}
}

func TestSlidingWindowSlots(t *testing.T) {
	t.Parallel()
	l := Limit{Name: "key", Algorithm: SlidingWindow, Limit: 10, Window: time.Minute}
	w := &slidingWindow{}
	slot := int64(time.Second)
	base := int64(modelStart) / slot * slot
	// Nine units at the end of a slot count until the slot's window is over.
	w.take(&l, 9, base+slot-1)
	for _, test := range []struct {
		at, cost, opens int64
	}{
		{base + slot, 1, base + slot},
		{base + slot, 2, base + 61*slot},
		{base + 60*slot, 2, base + 61*slot},
		{base + 61*slot - 1, 2, base + 61*slot},
		{base + 61*slot, 10, base + 61*slot},
		{base - slot, 2, base + 61*slot},
		{base - 10*slot, 2, base + 61*slot},
		{base - 10*slot, 1, base - 10*slot},
	} {
		if got := w.opens(&l, test.cost, test.at); got != test.opens {
			t.Errorf("cost %d opens at %s, want %s", test.cost, time.Duration(got-base), time.Duration(test.opens-base))
		}
	}
	if remaining, reset := w.report(&l, base+slot); remaining != 1 || reset != base+61*slot {
		t.Errorf("%d remaining, reset after %s", remaining, time.Duration(reset-base))
	}
}

func TestTokenBucketExtremes(t *testing.T) {
	t.Parallel()
	// The slowest bucket: more years than a time can tell.
	l := Limit{Name: "key", Algorithm: TokenBucket, Limit: 1, Window: MaxWindow, Burst: MaxLimit}
	b := &tokenBucket{}
	b.take(&l, MaxLimit, modelStart)
	if opens := b.opens(&l, MaxLimit, modelStart); opens != endOfTime {
		t.Errorf("opens at %d, want the end of time", opens)
	}
	if remaining, reset := b.report(&l, modelStart); remaining != 0 || reset != endOfTime {
		t.Errorf("%d remaining until %d", remaining, reset)
	}
	if opens := b.opens(&l, 1, modelStart); opens != modelStart+int64(MaxWindow) {
		t.Errorf("one unit opens after %s, want a window", time.Duration(opens-modelStart))
	}
	// The fastest: a unit in each nanosecond.
	l = Limit{Name: "key", Algorithm: TokenBucket, Limit: MaxLimit, Window: time.Second, Burst: 1}
	b = &tokenBucket{}
	for now := int64(modelStart); now < modelStart+1000; now++ {
		if b.opens(&l, 1, now) != now {
			t.Fatalf("refused after %d ns", now-modelStart)
		}
		b.take(&l, 1, now)
		if b.opens(&l, 1, now) != now+1 {
			t.Fatalf("two in nanosecond %d", now-modelStart)
		}
	}
	// Thirds of a nanosecond are neither lost nor gained.
	l = Limit{Name: "key", Algorithm: TokenBucket, Limit: 3, Window: time.Second, Burst: 1}
	b = &tokenBucket{}
	for i := range int64(3_000) {
		now := modelStart + (i*int64(time.Second)+2)/3
		if b.take(&l, 1, now); b.opens(&l, 1, now) <= now {
			t.Fatalf("unit %d: two at once", i)
		}
		if got, want := b.opens(&l, 1, now), modelStart+((i+1)*int64(time.Second)+2)/3; got != want && got != want+1 {
			t.Fatalf("unit %d: opens at %d, want %d", i, got, want)
		}
	}
}

func ExampleLimit_Validate() {
	fmt.Println(Limit{Name: "key", Limit: 5, Window: time.Hour, Algorithm: "leaky_bucket"}.Validate())
	// Output: invalid limit "key": algorithm "leaky_bucket": want fixed_window, sliding_window or token_bucket
}
