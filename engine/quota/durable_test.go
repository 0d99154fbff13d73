package quota_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/enginetest"
	"github.com/twyn/twyn/engine/quota"
)

var (
	start   = enginetest.Start
	errAway = errors.New("the store is away")
)

func algorithms() []quota.Algorithm {
	return []quota.Algorithm{quota.FixedWindow, quota.SlidingWindow, quota.TokenBucket}
}

func claim(a quota.Algorithm, subject string, limit int64) quota.Claim {
	return quota.Claim{
		TenantID: "ten_a", Subject: subject, Cost: 1,
		Limit: quota.Limit{Name: "key", Limit: limit, Window: time.Hour, Algorithm: a},
	}
}

func open(t testing.TB, s quota.Store, maxCounters int) *quota.Durable {
	t.Helper()
	d, err := quota.NewDurable(s, quota.Options{MaxCounters: maxCounters})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shut(t testing.TB, d *quota.Durable) {
	t.Helper()
	if err := d.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// crash ends the goroutines of a ledger and lets it save nothing more.
func crash(t testing.TB, d *quota.Durable, s *enginetest.Store) {
	t.Helper()
	s.Fail(errAway)
	_ = d.Close(context.Background())
	s.Fail(nil)
}

func ask(t testing.TB, l quota.Ledger, at time.Time, c quota.Claim) (quota.Verdict, error) {
	t.Helper()
	var v [1]quota.Verdict
	ok, err := l.Reserve(t.Context(), at, []quota.Claim{c}, v[:])
	if ok != v[0].Admitted && err == nil {
		t.Errorf("%t, but %+v", ok, v[0])
	}
	return v[0], err
}

// drain asks until it is refused and counts what passed.
func drain(t testing.TB, l quota.Ledger, at time.Time, c quota.Claim) int64 {
	t.Helper()
	for n := int64(0); ; n++ {
		v, err := ask(t, l, at, c)
		if err != nil {
			t.Fatal(err)
		}
		if !v.Admitted {
			return n
		}
	}
}

func storm(t testing.TB, l quota.Ledger, at time.Time, c quota.Claim) int {
	t.Helper()
	var wg sync.WaitGroup
	passed := make(chan bool, 1000)
	for range cap(passed) {
		wg.Go(func() {
			v, err := ask(t, l, at, c)
			if err != nil {
				t.Error(err)
			}
			passed <- v.Admitted
		})
	}
	wg.Wait()
	n := 0
	for range cap(passed) {
		if <-passed {
			n++
		}
	}
	return n
}

func TestDurableOutlivesItself(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		for _, limit := range []int64{5, 200} {
			for _, end := range []string{"closed", "crashed"} {
				t.Run(fmt.Sprint(a, limit, end), func(t *testing.T) {
					t.Parallel()
					s := enginetest.NewStore()
					d := open(t, s, 0)
					if n := storm(t, d, start, claim(a, "a", limit)); int64(n) != limit {
						t.Errorf("%d passed a limit of %d", n, limit)
					}
					if end == "closed" {
						shut(t, d)
					} else {
						crash(t, d, s)
					}
					d = open(t, s, 0)
					defer shut(t, d)
					if n := storm(t, d, start.Add(time.Millisecond), claim(a, "a", limit)); n != 0 {
						t.Errorf("%d more passed after it %s", n, end)
					}
				})
			}
		}
	}
}

// TestDurableCrashCost holds what a crash costs to what AtRisk said.
func TestDurableCrashCost(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		s := enginetest.NewStore()
		d := open(t, s, 0)
		c := claim(a, "a", 1000)
		for range 100 {
			if v, err := ask(t, d, start, c); !v.Admitted || err != nil {
				t.Fatal(v, err)
			}
		}
		counters, units := d.AtRisk()
		if counters != 1 || units < 1 || units > 125 {
			t.Errorf("%s: %d units of %d counters at risk", a, units, counters)
		}
		crash(t, d, s)
		d = open(t, s, 0)
		if n := drain(t, d, start, c); n > 900 || n < 900-125 {
			t.Errorf("%s: %d of 900 left after a crash", a, n)
		}
		// A window and a little later, all is whole.
		if n := drain(t, d, start.Add(time.Hour+4*time.Minute), c); n != 1000 {
			t.Errorf("%s: %d of 1000 an hour on", a, n)
		}
		shut(t, d)
		if counters, units := d.AtRisk(); counters != 0 || units != 0 {
			t.Errorf("%s: %d units of %d counters at risk when closed", a, units, counters)
		}
	}
}

// TestDurableWrites bounds how often the store is asked.
func TestDurableWrites(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		s := enginetest.NewStore()
		d := open(t, s, 0)
		c := claim(a, "a", 1000)
		for i := range 1000 {
			if v, err := ask(t, d, start.Add(time.Duration(i)), c); !v.Admitted || err != nil {
				t.Fatal(v, err)
			}
		}
		for range 1000 {
			if v, err := ask(t, d, start.Add(time.Second/2), c); v.Admitted || err != nil {
				t.Fatal(v, err)
			}
		}
		if loads, saves := s.Calls(); loads != 1 || saves > 100 {
			t.Errorf("%s: %d loads and %d saves for 1000 units", a, loads, saves)
		}
		shut(t, d)
	}
}

func TestDurableGroupsCalls(t *testing.T) {
	t.Parallel()
	s := enginetest.NewStore()
	d := open(t, s, 0)
	defer shut(t, d)
	// Known or not, what comes while the store is busy makes one call; the
	// first of each may be under way alone.
	for _, phase := range []string{"load", "save"} {
		loads, saves := s.Calls()
		release := s.Hold()
		var wg sync.WaitGroup
		for i := range 200 {
			for range 5 {
				wg.Go(func() {
					c, v := claim(quota.FixedWindow, fmt.Sprint(i), 100), make([]quota.Verdict, 1)
					if phase == "load" {
						if err := d.Peek(t.Context(), start, []quota.Claim{c}, v); err != nil {
							t.Error(err)
						}
					} else if v, err := ask(t, d, start, c); !v.Admitted || err != nil {
						t.Error(v, err)
					}
				})
			}
		}
		for d.Waiting() < 200 {
			runtime.Gosched()
		}
		release()
		wg.Wait()
		if l, s := s.Calls(); l-loads > 2 || s-saves > 2 {
			t.Errorf("%s: %d loads and %d saves for 200 counters", phase, l-loads, s-saves)
		}
	}
}

func TestDurableStoreFails(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		s := enginetest.NewStore()
		d := open(t, s, 0)
		c, empty := claim(a, "a", 100), claim(a, "empty", 1)
		if _, err := ask(t, d, start, empty); err != nil {
			t.Fatal(err)
		}
		if _, err := ask(t, d, start, c); err != nil {
			t.Fatal(err)
		}
		s.Fail(errAway)
		// What was told in advance goes on, then nothing passes.
		passed := 1
		for ; ; passed++ {
			v, err := ask(t, d, start, c)
			if err == nil && v.Admitted {
				continue
			}
			if !errors.Is(err, quota.ErrUnavailable) || !errors.Is(err, errAway) {
				t.Errorf("%s: %+v, %v", a, v, err)
			}
			break
		}
		if passed < 10 || passed > 30 {
			t.Errorf("%s: %d passed before the store was needed", a, passed)
		}
		// Known counters can be looked at and refuse.
		var v [1]quota.Verdict
		if err := d.Peek(t.Context(), start, []quota.Claim{c}, v[:]); err != nil || v[0].Remaining != int64(100-passed) {
			t.Errorf("%s: peek sees %+v, %v", a, v, err)
		}
		if v, err := ask(t, d, start, empty); v.Admitted || err != nil {
			t.Errorf("%s: a limit that is used up: %+v, %v", a, v, err)
		}
		if _, err := ask(t, d, start, claim(a, "unknown", 5)); !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: an unknown counter: %v", a, err)
		}
		if err := d.Peek(t.Context(), start, []quota.Claim{claim(a, "unknown", 5)}, v[:]); !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: peek at an unknown counter: %v", a, err)
		}
		if err := d.Close(t.Context()); !errors.Is(err, errAway) {
			t.Errorf("%s: close: %v", a, err)
		}
		s.Fail(nil)
		shut(t, d)
		if _, err := ask(t, d, start, c); !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: after close: %v", a, err)
		}
		d = open(t, s, 0)
		if n := drain(t, d, start, c); n != int64(100-passed) {
			t.Errorf("%s: %d left after %d of 100", a, n, passed)
		}
		shut(t, d)
	}
}

// TestDurableHeals goes on with the same ledger when the store is back.
func TestDurableHeals(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		for name, fail := range map[string]func(*enginetest.Store, error){"fail": (*enginetest.Store).Fail, "lose": (*enginetest.Store).Lose} {
			s := enginetest.NewStore()
			d := open(t, s, 0)
			c := claim(a, "a", 100)
			var passed int
			for i := range 1000 {
				fail(s, nil)
				if i%3 == 0 {
					fail(s, errAway)
				}
				if v, err := ask(t, d, start, c); err == nil && v.Admitted {
					passed++
				} else if err != nil && !errors.Is(err, errAway) {
					t.Error(err)
				}
			}
			if passed != 100 {
				t.Errorf("%s, %s: %d passed a limit of 100", a, name, passed)
			}
			crash(t, d, s)
		}
	}
}

// TestDurableKeepsLease lowers a limit under a lease that is larger than what
// is left, and loses the answer of the save that this leads to: what is left of
// the lease must be part of what the store holds.
func TestDurableKeepsLease(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		s := enginetest.NewStore()
		d := open(t, s, 0)
		c := claim(a, "a", 1000)
		at, total := start, int64(0)
		take := func(limit int64, n int) {
			t.Helper()
			c.Limit.Limit = limit
			for range n {
				if v, err := ask(t, d, at, c); !v.Admitted || err != nil {
					t.Fatalf("%s: %+v, %v", a, v, err)
				}
				total++
			}
		}
		take(1000, 1)
		s.Lose(errAway)
		take(100, 92)
		// The lease nears its end and is extended in the background.
		at = at.Add(110 * time.Second)
		if a == quota.SlidingWindow {
			at = at.Add(20 * time.Second)
		}
		take(100, 1)
		for d.Waiting() > 0 {
			runtime.Gosched()
		}
		s.Lose(nil)
		s.Fail(errAway)
		take(1000, 31)
		if _, saves := s.Calls(); saves < 2 {
			t.Errorf("%s: %d saves, want one for the lowered limit", a, saves)
		}
		crash(t, d, s)
		d = open(t, s, 0)
		most := int64(1000)
		if a == quota.TokenBucket {
			most += 30 // what came back in 110 s
		}
		if total += drain(t, d, at, c); total > most {
			t.Errorf("%s: %d passed, want at most %d", a, total, most)
		}
		shut(t, d)
	}
}

func TestDurableContextEnds(t *testing.T) {
	t.Parallel()
	s := enginetest.NewStore()
	d := open(t, s, 0)
	c := claim(quota.FixedWindow, "a", 5)
	for _, known := range []bool{false, true} {
		if known {
			if err := d.Peek(t.Context(), start, []quota.Claim{c}, make([]quota.Verdict, 1)); err != nil {
				t.Fatal(err)
			}
		}
		release := s.Hold()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := d.Reserve(ctx, start, []quota.Claim{c}, make([]quota.Verdict, 1))
			done <- err
		}()
		cancel()
		if err := <-done; !errors.Is(err, quota.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			t.Errorf("known: %t: %v", known, err)
		}
		release()
	}
	if n := drain(t, d, start, c); n != 5 {
		t.Errorf("%d left of 5 after requests that went away", n)
	}
	shut(t, d)
}

func TestDurableCloseGivesUp(t *testing.T) {
	t.Parallel()
	s := enginetest.NewStore()
	d := open(t, s, 0)
	c := claim(quota.FixedWindow, "a", 100)
	if _, err := ask(t, d, start, c); err != nil {
		t.Fatal(err)
	}
	release := s.Hold()
	done := make(chan error)
	go func() {
		_, err := ask(t, d, start, claim(quota.FixedWindow, "b", 5))
		done <- err
	}()
	for d.Len() < 2 {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("a request that waited: %v", err)
	}
	release()
	shut(t, d)
	shut(t, d)
	d = open(t, s, 0)
	if n := drain(t, d, start, c); n != 99 {
		t.Errorf("%d left of 99", n)
	}
	shut(t, d)
}

func ExampleDurable() {
	store := enginetest.NewStore()
	ctx := context.Background()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	claims := []quota.Claim{{
		TenantID: "ten_a", Subject: "key_a", Cost: 1,
		Limit: quota.Limit{Name: "key", Limit: 2, Window: time.Hour, Algorithm: quota.FixedWindow},
	}}
	verdicts := make([]quota.Verdict, len(claims))
	for range 3 {
		// Each round is another process on the same store.
		ledger, err := quota.NewDurable(store, quota.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		admitted, err := ledger.Reserve(ctx, at, claims, verdicts)
		fmt.Println(admitted, verdicts[0].Remaining, verdicts[0].RetryAfter, err)
		if err := ledger.Close(ctx); err != nil {
			fmt.Println(err)
		}
		at = at.Add(20 * time.Minute)
	}
	// Output:
	// true 1 0s <nil>
	// true 0 0s <nil>
	// false 0 20m0s <nil>
}
