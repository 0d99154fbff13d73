package quota

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

var testStart = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func testClaim(a Algorithm, subject string, limit int64) Claim {
	return Claim{TenantID: "ten_a", Subject: subject, Cost: 1, Limit: Limit{Name: "key", Limit: limit, Window: time.Hour, Algorithm: a}}
}

// dice are random enough for tests, and the same in every run.
type dice uint64

func (d *dice) roll(n int) int {
	*d = *d*6364136223846793005 + 1442695040888963407
	return int(uint64(*d)>>33) % n
}

func newMemory(t testing.TB, maxCounters int) *Memory {
	t.Helper()
	m, err := NewMemory(Options{MaxCounters: maxCounters})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// reserve asks for one claim and fails the test on an error.
func reserve(t testing.TB, l Ledger, at time.Time, c Claim) (bool, Verdict) {
	t.Helper()
	var v [1]Verdict
	ok, err := l.Reserve(t.Context(), at, []Claim{c}, v[:])
	if err != nil {
		t.Fatal(err)
	}
	return ok, v[0]
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 3)
	for i := range 3 {
		if ok, _ := reserve(t, m, testStart.Add(time.Duration(i)*time.Minute), testClaim(FixedWindow, fmt.Sprint(i), 5)); !ok {
			t.Fatal("refused")
		}
	}
	fourth := testClaim(FixedWindow, "fourth", 5)
	ask := func(at time.Time, claims ...Claim) (bool, error) {
		return m.Reserve(t.Context(), at, claims, make([]Verdict, len(claims)))
	}
	late := testStart.Add(time.Hour - 1)
	if ok, err := ask(late, fourth); ok || !errors.Is(err, ErrUnavailable) {
		t.Errorf("a full ledger answers %t, %v", ok, err)
	}
	// What needs no new counter goes on.
	free := fourth
	free.Cost = 0
	above := fourth
	above.Cost = 6
	if ok, err := ask(late, testClaim(FixedWindow, "0", 5), free); !ok || err != nil {
		t.Errorf("known and free claims: %t, %v", ok, err)
	}
	if ok, err := ask(late, above); ok || err != nil {
		t.Errorf("a refused claim: %t, %v", ok, err)
	}
	if err := m.Peek(t.Context(), late, []Claim{fourth}, make([]Verdict, 1)); err != nil {
		t.Errorf("peek: %v", err)
	}
	// The first counter has expired; one of two new ones finds room, the
	// call as a whole does not, and takes nothing.
	at := testStart.Add(time.Hour)
	if ok, err := ask(at, testClaim(FixedWindow, "1", 5), fourth, testClaim(FixedWindow, "fifth", 5)); ok || !errors.Is(err, ErrUnavailable) {
		t.Errorf("two new counters in one place: %t, %v", ok, err)
	}
	if _, v := reserve(t, m, at, testClaim(FixedWindow, "1", 5)); v.Remaining != 3 {
		t.Errorf("%d remaining after a call that failed, want 3", v.Remaining)
	}
	if _, v := reserve(t, m, at, fourth); v.Remaining != 4 {
		t.Errorf("%d remaining of a new counter, want 4", v.Remaining)
	}
	if n := m.Len(); n != 3 {
		t.Errorf("%d counters, want 3", n)
	}
}

func TestMemorySweeps(t *testing.T) {
	t.Parallel()
	for i := range algorithms {
		a := algorithms[i].name
		m := newMemory(t, 1<<16)
		for i := range 5000 {
			reserve(t, m, testStart, testClaim(a, fmt.Sprint(i), 5))
		}
		if err := m.Sweep(testStart.Add(time.Minute)); err != nil || m.Len() != 5000 {
			t.Errorf("%s: %v, %d live counters left of 5000", a, err, m.Len())
		}
		if err := m.Sweep(testStart.Add(2 * time.Hour)); err != nil || m.Len() != 0 {
			t.Errorf("%s: %v, %d expired counters left", a, err, m.Len())
		}
		// Without Sweep, new counters push expired ones out.
		for i := range 20_000 {
			reserve(t, m, testStart.Add(3*time.Hour+time.Duration(i)*10*time.Second), testClaim(a, fmt.Sprint(i), 5))
		}
		if m.Len() > 2000 {
			t.Errorf("%s: %d counters where 370 are live", a, m.Len())
		}
		// Even calls on one counter alone do.
		for range m.Len() * sweepEvery * maxShards {
			reserve(t, m, testStart.Add(1000*time.Hour), testClaim(a, "0", 5))
		}
		if shards := len(m.table.shards); m.Len() > 2000-2000/shards {
			t.Errorf("%s: %d counters of %d shards", a, m.Len(), shards)
		}
	}
	if err := newMemory(t, 0).Sweep(time.Time{}); !errors.Is(err, ErrInvalidClaim) {
		t.Errorf("sweeping in the year 1: %v", err)
	}
}

// TestMemoryLate shows that a request which comes after its counter was swept
// finds no fresh limit in the old window.
func TestMemoryLate(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 10)
	c := testClaim(FixedWindow, "a", 1)
	reserve(t, m, testStart, c)
	if err := m.Sweep(testStart.Add(time.Hour)); err != nil || m.Len() != 0 {
		t.Fatal(err, m.Len())
	}
	_, v := reserve(t, m, testStart.Add(time.Minute), c)
	if want := testStart.Add(2 * time.Hour); !v.Admitted || !v.Reset.Equal(want) {
		t.Errorf("the late request's window ends at %s, want %s", v.Reset, want)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := NewMemory(Options{MaxCounters: -1}); err == nil {
		t.Error("a negative maximum is taken")
	}
	if _, err := NewDurable(nil, Options{}); err == nil {
		t.Error("no store is taken")
	}
	for _, n := range []int{0, 1, 1023, 2048, 100_000, 1 << 20} {
		table := newMemory(t, n).table
		if want := n; n > 0 && (table.max() > want || table.max() < want-maxShards) {
			t.Errorf("room for %d counters, want %d", table.max(), want)
		}
	}
}

// TestManyClaims goes over the number of claims that need no memory.
func TestManyClaims(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 0)
	claims := make([]Claim, 100)
	for i := range claims {
		claims[i] = testClaim(algorithms[i%3].name, fmt.Sprint(i), int64(10+i))
	}
	verdicts := make([]Verdict, len(claims))
	for i := range 11 {
		ok, err := m.Reserve(t.Context(), testStart, claims, verdicts)
		if err != nil || ok != (i < 10) {
			t.Fatalf("call %d: %t, %v", i, ok, err)
		}
	}
	for i, v := range verdicts {
		if v.Remaining != int64(i) || v.Admitted != (i > 0) {
			t.Errorf("claim %d: %+v", i, v)
		}
	}
}

// TestCollisions puts counters with equal hashes into one shard.
func TestCollisions(t *testing.T) {
	t.Parallel()
	s := &newMemory(t, 10).table.shards[0]
	random := dice(1)
	var here []string
	for range 2000 {
		c := testClaim(FixedWindow, fmt.Sprint(random.roll(6)), 5)
		e := s.find(7, &c, &algorithms[0])
		if (e != nil) != slices.Contains(here, c.Subject) {
			t.Fatalf("%s: found %v among %v", c.Subject, e, here)
		}
		switch {
		case e == nil:
			s.insert(&c, 7, &algorithms[0], 0)
			here = append(here, c.Subject)
		case random.roll(2) == 0:
			s.touch(e)
		default:
			s.remove(e, 0)
			here = slices.DeleteFunc(here, func(h string) bool { return h == c.Subject })
		}
		n := 0
		for e := s.list.next; e != &s.list; e = e.next {
			n++
		}
		if n != len(here) || s.n != n {
			t.Fatalf("%d in the ring, %d counted, want %d", n, s.n, len(here))
		}
	}
}

// TestMemoryHammer drives few counters from many goroutines, under sweeping,
// and checks the sum.
func TestMemoryHammer(t *testing.T) {
	t.Parallel()
	const subjects, limit = 8, 50
	m := newMemory(t, 16)
	var mu sync.Mutex
	passed := map[string]int64{}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			random := dice(w)
			var verdicts [2]Verdict
			for i := range 500 {
				a := algorithms[random.roll(3)].name
				first := random.roll(subjects)
				claims := []Claim{
					testClaim(a, fmt.Sprint(first), limit),
					testClaim(a, fmt.Sprint((first+1+random.roll(subjects-1))%subjects), limit),
				}
				// Within a sixtieth of the window: nothing comes back.
				at := testStart.Add(time.Duration(i))
				ok, err := m.Reserve(t.Context(), at, claims, verdicts[:])
				if err != nil && !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					for _, c := range claims {
						passed[string(a)+c.Subject]++
					}
					mu.Unlock()
				}
				if i%50 == 0 {
					_ = m.Sweep(at)
					_ = m.Peek(t.Context(), at, claims, verdicts[:])
				}
			}
		})
	}
	wg.Wait()
	for subject, n := range passed {
		if n > limit {
			t.Errorf("%s: %d passed a limit of %d", subject, n, limit)
		}
	}
}

func TestAllocations(t *testing.T) {
	d, err := NewDurable(nowhere{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	for _, l := range []Ledger{newMemory(t, 0), d} {
		for n := 1; n <= inlineClaims; n++ {
			claims, verdicts := make([]Claim, n), make([]Verdict, n)
			for i := range claims {
				claims[i] = testClaim(algorithms[i%3].name, fmt.Sprint(n, i), MaxLimit)
				claims[i].Cost = 1
			}
			ctx := t.Context()
			reserve := func() {
				if ok, err := l.Reserve(ctx, testStart, claims, verdicts); !ok || err != nil {
					t.Error(ok, err)
				}
			}
			reserve()
			if got := testing.AllocsPerRun(100, reserve); got != 0 {
				t.Errorf("%T: Reserve of %d claims: %v allocations", l, n, got)
			}
			if got := testing.AllocsPerRun(100, func() { _ = l.Peek(ctx, testStart, claims, verdicts) }); got != 0 {
				t.Errorf("%T: Peek of %d claims: %v allocations", l, n, got)
			}
		}
	}
}

// TestMemoryHolds makes room for a new counter in the call that uses an
// expired one again.
func TestMemoryHolds(t *testing.T) {
	t.Parallel()
	for i := range algorithms {
		a := algorithms[i].name
		m := newMemory(t, 2)
		old, other := testClaim(a, "old", 5), testClaim(a, "new", 5)
		reserve(t, m, testStart, old)
		at := testStart.Add(2 * time.Hour)
		var v [2]Verdict
		if ok, err := m.Reserve(t.Context(), at, []Claim{old, other}, v[:]); !ok || err != nil {
			t.Fatal(ok, err)
		}
		for _, c := range []Claim{old, other} {
			if _, v := reserve(t, m, at, c); v.Remaining != 3 {
				t.Errorf("%s: %d remaining of %s, want 3", a, v.Remaining, c.Subject)
			}
		}
	}
}

// TestLoweredTokenBucket lowers a limit whose debt would take days to pay back
// at the new rate: what was taken at the old rate is forgotten when it would
// have been paid back at that.
func TestLoweredTokenBucket(t *testing.T) {
	t.Parallel()
	m := newMemory(t, 10)
	c := testClaim(TokenBucket, "a", 1000)
	c.Cost = 500
	reserve(t, m, testStart, c)
	c.Limit.Limit, c.Cost = 10, 1
	_, v := reserve(t, m, testStart, c)
	if want := 30 * time.Minute; v.Admitted || v.RetryAfter != want || !v.Reset.Equal(testStart.Add(want)) {
		t.Errorf("%+v, want to wait %s", v, want)
	}
	if _, v = reserve(t, m, testStart.Add(v.RetryAfter-1), c); v.Admitted {
		t.Error("admitted too early")
	}
	if _, v = reserve(t, m, testStart.Add(30*time.Minute), c); !v.Admitted || v.Remaining != 9 {
		t.Errorf("%+v, want a whole bucket", v)
	}
}
