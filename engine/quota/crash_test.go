package quota_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twyn/twyn/engine/enginetest"
	"github.com/twyn/twyn/engine/quota"
)

// fate is what becomes of a save.
type fate int

const (
	saved  fate = iota
	failed      // it had no effect
	lost        // it took effect, and nobody hears of it
	died        // the process dies before it takes effect
	diedAt      // the process dies after it took effect
)

// witness is a store that watches its ledger: whenever it is asked to save,
// and after that, it must hold a state that covers every counter.
type witness struct {
	*enginetest.Store
	ledger *quota.Durable
	dead   atomic.Bool
	mu     sync.Mutex
	fates  []fate
	faults []string
}

func (w *witness) SaveCounters(ctx context.Context, records []quota.Record) error {
	if w.dead.Load() {
		return errAway
	}
	defer w.look()
	w.look()
	f := w.next()
	if f == died || f == diedAt {
		w.dead.Store(true)
	}
	if f == failed || f == died {
		return errAway
	}
	if err := w.Store.SaveCounters(ctx, records); err != nil {
		return err
	}
	if f != saved {
		return errAway
	}
	return nil
}

func (w *witness) LoadCounters(ctx context.Context, ids []quota.CounterID) ([]quota.Record, error) {
	if w.dead.Load() {
		return nil, errAway
	}
	return w.Store.LoadCounters(ctx, ids)
}

// next is the fate of the next save; all goes well once they have run out.
func (w *witness) next() fate {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.fates) == 0 {
		return saved
	}
	f := w.fates[0]
	w.fates = w.fates[1:]
	return f
}

func (w *witness) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, w.ledger.Uncovered(w.Records())...)
}

// live opens a ledger on the store, under a witness.
func live(t *rapid.T, s *enginetest.Store, maxCounters int, fates []fate) *witness {
	w := &witness{Store: s, fates: fates}
	d, err := quota.NewDurable(w, quota.Options{MaxCounters: maxCounters})
	if err != nil {
		t.Fatal(err)
	}
	w.ledger = d
	return w
}

// end closes the ledger, whether or not it has died.
func (w *witness) end(t *rapid.T) {
	w.mu.Lock()
	w.fates = nil
	w.mu.Unlock()
	if !w.dead.Load() {
		w.look()
	}
	if err := w.ledger.Close(context.Background()); err != nil && !w.dead.Load() {
		t.Fatalf("close: %v, dead: %t", err, w.dead.Load())
	}
	if len(w.faults) > 0 {
		t.Fatalf("not covered: %v", w.faults)
	}
}

type passed struct {
	at   time.Time
	cost int64
}

// checkPassed holds what passed in all lives to the limit.
func checkPassed(t *rapid.T, l quota.Limit, list []passed) {
	for _, first := range list {
		var inWindow int64
		used := int64(0)
		for _, p := range list {
			if p.at.Before(first.at) {
				continue
			}
			span := p.at.Sub(first.at)
			used += p.cost
			if span < l.Window {
				inWindow += p.cost
			}
			// 128-bit safe: limits and windows are small here.
			if refill := int64(span) * l.Limit / int64(l.Window); l.Algorithm == quota.TokenBucket && used > l.Limit+refill {
				t.Fatalf("%d units within %s of a bucket of %+v: %v", used, span, l, list)
			}
		}
		switch most := l.Limit; l.Algorithm {
		case quota.FixedWindow:
			// A span of a window may touch two windows.
			if inWindow > 2*most {
				t.Fatalf("%d units in a window of %+v: %v", inWindow, l, list)
			}
		case quota.SlidingWindow:
			if inWindow > most {
				t.Fatalf("%d units in a window of %+v: %v", inWindow, l, list)
			}
		default:
		}
	}
	// No window ends before this, whatever request has opened it.
	if end := start.Add(l.Window); list[len(list)-1].at.Before(end) && l.Algorithm == quota.FixedWindow {
		var all int64
		for _, p := range list {
			all += p.cost
		}
		if all > l.Limit {
			t.Fatalf("%d units in the first window of %+v: %v", all, l, list)
		}
	}
}

// TestDurableCrashes lets a ledger die again and again, at any point, under
// concurrent requests, on a store that fails now and then: in all its lives
// together no more passes than the limit admits.
func TestDurableCrashes(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				c := claim(a, "a", rapid.SampledFrom([]int64{1, 5, 30, 300}).Draw(t, "limit"))
				c.Limit.Window = time.Minute
				stride := rapid.SampledFrom([]time.Duration{1, 10 * time.Millisecond, time.Second, 13 * time.Second}).Draw(t, "stride")
				s, at := enginetest.NewStore(), start
				var mu sync.Mutex
				var list []passed
				for range rapid.IntRange(1, 5).Draw(t, "lives") {
					w := live(t, s, 2, rapid.SliceOfN(rapid.SampledFrom([]fate{
						saved, saved, saved, saved, failed, lost, died, diedAt,
					}), 0, 20).Draw(t, "fates"))
					for range rapid.IntRange(1, 10).Draw(t, "rounds") {
						at = at.Add(stride)
						// Other counters push this one out.
						subjects := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "a", "a", "b", "c"}), 1, 12).Draw(t, "subjects")
						costs := rapid.SliceOfN(rapid.Int64Range(1, max(1, c.Limit.Limit/10)), 12, 12).Draw(t, "costs")
						// A limit that is lowered leaves leases that are
						// larger than what is left of it.
						limit := rapid.SampledFrom([]int64{1, 1, 2, 10}).Draw(t, "divisor")
						limit = max(1, c.Limit.Limit/limit)
						var wg sync.WaitGroup
						for i, subject := range subjects {
							mine := c
							mine.Subject, mine.Cost, mine.Limit.Limit = subject, costs[i], limit
							wg.Go(func() {
								ok, err := w.ledger.Reserve(context.Background(), at, []quota.Claim{mine}, make([]quota.Verdict, 1))
								if err != nil && !errors.Is(err, errAway) {
									t.Errorf("Reserve: %v", err)
								}
								if ok && subject == "a" {
									mu.Lock()
									list = append(list, passed{at, mine.Cost})
									mu.Unlock()
								}
							})
						}
						wg.Wait()
					}
					w.end(t)
				}
				if len(list) > 0 {
					checkPassed(t, c.Limit, list)
				}
			})
		})
	}
}

// TestDurableIsMemory plays the same requests to a Durable that is closed,
// opened and short of room, and to a Memory: every answer must be the same.
func TestDurableIsMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, at := enginetest.NewStore(), start
		m, err := quota.NewMemory(quota.Options{})
		if err != nil {
			t.Fatal(err)
		}
		limit := rapid.Int64Range(0, 30).Draw(t, "limit")
		stride := rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute, 20 * time.Minute}).Draw(t, "stride")
		w := live(t, s, 4, nil)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			at = at.Add(time.Duration(rapid.Int64Range(0, int64(stride)).Draw(t, "wait")))
			if rapid.IntRange(0, 9).Draw(t, "restart") == 0 {
				w.end(t)
				w = live(t, s, 4, nil)
			}
			subjects := rapid.SliceOfNDistinct(rapid.IntRange(0, 5), 1, 3, rapid.ID).Draw(t, "subjects")
			var claims []quota.Claim
			for _, n := range subjects {
				c := claim(algorithms()[n%3], fmt.Sprint(n), limit)
				c.Cost = rapid.Int64Range(0, 5).Draw(t, "cost")
				claims = append(claims, c)
			}
			want, got := make([]quota.Verdict, len(claims)), make([]quota.Verdict, len(claims))
			wantOK, err1 := m.Reserve(context.Background(), at, claims, want)
			gotOK, err2 := w.ledger.Reserve(context.Background(), at, claims, got)
			if err1 != nil || err2 != nil || wantOK != gotOK || !slices.Equal(want, got) {
				t.Fatalf("step %d at %s: %+v\nMemory  %t %+v %v\nDurable %t %+v %v", i, at, claims, wantOK, want, err1, gotOK, got, err2)
			}
		}
		w.end(t)
	})
}

// TestDurableHammer is for the race detector: many goroutines on few counters,
// with room for fewer, on a store that fails now and then.
func TestDurableHammer(t *testing.T) {
	t.Parallel()
	const subjects, limit = 12, 40
	s := enginetest.NewStore()
	d := open(t, s, 8)
	var admitted [3][subjects]atomic.Int64
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 200 {
				first, second := (worker+i)%subjects, (worker*7+i*3)%subjects
				a := i % 3
				claims := []quota.Claim{claim(algorithms()[a], fmt.Sprint(first), limit)}
				if second != first {
					claims = append(claims, claim(algorithms()[a], fmt.Sprint(second), limit))
				}
				at := start.Add(time.Duration(i) * time.Microsecond)
				verdicts := make([]quota.Verdict, len(claims))
				ok, err := d.Reserve(t.Context(), at, claims, verdicts)
				if err != nil && !errors.Is(err, quota.ErrUnavailable) {
					t.Error(err)
				}
				if ok {
					admitted[a][first].Add(1)
					if second != first {
						admitted[a][second].Add(1)
					}
				}
				switch i % 50 {
				case 10:
					s.Fail(errAway)
				case 13:
					s.Fail(nil)
				case 20:
					_ = d.Sweep(at)
					d.AtRisk()
				case 30:
					_ = d.Peek(t.Context(), at, claims, verdicts)
				}
			}
		})
	}
	wg.Wait()
	s.Fail(nil)
	shut(t, d)
	d = open(t, s, 0)
	defer shut(t, d)
	for a := range admitted {
		for subject := range admitted[a] {
			n := admitted[a][subject].Load()
			left := drain(t, d, start.Add(time.Millisecond), claim(algorithms()[a], fmt.Sprint(subject), limit))
			if n+left > limit {
				t.Errorf("%s %d: %d passed, then %d more, of %d", algorithms()[a], subject, n, left, limit)
			}
		}
	}
}
