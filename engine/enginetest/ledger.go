// Package enginetest holds the implementations of the engine's ports to one
// behaviour: TestLedger runs over every quota.Ledger and TestStore over every
// quota.Store. Store is a quota.Store in memory that really keeps what it is
// given, and fails when told to.
//
// It is test support: no shipped package may import it. It must import the
// standard library, engine, engine/quota and engine/clock only.
package enginetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// Start is when the suites begin; nothing reads the machine's clock.
var Start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// algorithms are what most of the suite runs over.
func algorithms() []quota.Algorithm {
	return []quota.Algorithm{quota.FixedWindow, quota.SlidingWindow, quota.TokenBucket}
}

// TestLedger runs the conformance suite. newLedger returns an empty ledger
// that is closed, if need be, by a cleanup of t.
func TestLedger(t *testing.T, newLedger func(t *testing.T) quota.Ledger) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, l *ledger, a quota.Algorithm)
	}{
		{"counts to the limit", countsToTheLimit},
		{"exact under concurrency", exactUnderConcurrency},
		{"all or nothing", allOrNothing},
		{"all or nothing under concurrency", allOrNothingUnderConcurrency},
		{"a changed limit acts at once", changedLimit},
		{"retry after", retryAfter},
		{"reset", reset},
		{"peek takes nothing", peek},
		{"cost", cost},
		{"limit 0", limitZero},
		{"counters are separate", separate},
		{"late requests gain nothing", late},
		{"invalid claims", invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, a := range algorithms() {
				t.Run(string(a), func(t *testing.T) {
					t.Parallel()
					test.run(t, &ledger{t, newLedger(t)}, a)
				})
			}
		})
	}
	for name, run := range map[string]func(*testing.T, *ledger){
		"fixed window opens with its first request": opensWithFirst,
		"sliding window admits its limit per span":  slides,
		"token bucket refills":                      refills,
		"no claims":                                 noClaims,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, &ledger{t, newLedger(t)})
		})
	}
}

// claim is a claim of one unit of an hourly limit.
func claim(a quota.Algorithm, name string, limit int64) quota.Claim {
	return quota.Claim{
		TenantID: "platform", Subject: "key_a", Cost: 1,
		Limit: quota.Limit{Name: name, Limit: limit, Window: time.Hour, Algorithm: a},
	}
}

func costing(c quota.Claim, cost int64) quota.Claim {
	c.Cost = cost
	return c
}

// ledger asks a ledger and fails the test on errors.
type ledger struct {
	t    *testing.T
	asks quota.Ledger
}

func (l *ledger) reserve(at time.Time, claims ...quota.Claim) (bool, []quota.Verdict) {
	l.t.Helper()
	verdicts := make([]quota.Verdict, len(claims))
	admitted, err := l.asks.Reserve(l.t.Context(), at, claims, verdicts)
	if err != nil {
		l.t.Fatalf("Reserve: %v", err)
	}
	all := true
	for i, v := range verdicts {
		c := &claims[i]
		all = all && v.Admitted
		if v.Name != c.Limit.Name || v.Limit != c.Limit.Limit || v.Window != c.Limit.Window {
			l.t.Errorf("verdict %+v does not repeat limit %+v", v, c.Limit)
		}
		if v.Admitted != (v.RetryAfter == 0) || v.RetryAfter < 0 || v.Remaining < 0 {
			l.t.Errorf("verdict %+v contradicts itself", v)
		}
	}
	if admitted != all {
		l.t.Errorf("admitted: %t, but the verdicts are %+v", admitted, verdicts)
	}
	return admitted, verdicts
}

// take reserves one claim and wants a certain answer.
func (l *ledger) take(at time.Time, c quota.Claim, admitted bool, remaining int64) quota.Verdict {
	l.t.Helper()
	got, verdicts := l.reserve(at, c)
	if got != admitted || verdicts[0].Remaining != remaining {
		l.t.Fatalf("%s, cost %d at %s: admitted %t with %d remaining, want %t with %d",
			c.Limit.Name, c.Cost, at.Sub(Start), got, verdicts[0].Remaining, admitted, remaining)
	}
	return verdicts[0]
}

func (l *ledger) peek(at time.Time, claims ...quota.Claim) []quota.Verdict {
	l.t.Helper()
	verdicts := make([]quota.Verdict, len(claims))
	if err := l.asks.Peek(l.t.Context(), at, claims, verdicts); err != nil {
		l.t.Fatalf("Peek: %v", err)
	}
	return verdicts
}

func (l *ledger) remaining(at time.Time, c quota.Claim, want int64) {
	l.t.Helper()
	if got := l.peek(at, c)[0].Remaining; got != want {
		l.t.Errorf("%s has %d remaining, want %d", c.Limit.Name, got, want)
	}
}

func countsToTheLimit(_ *testing.T, l *ledger, a quota.Algorithm) {
	c := claim(a, "key", 5)
	for left := int64(4); left >= 0; left-- {
		l.take(Start, c, true, left)
	}
	l.take(Start, c, false, 0)
	l.take(Start, c, false, 0)
}

// together runs f in n goroutines at once and counts how often it is true.
func together(n int, f func() bool) int64 {
	var wg sync.WaitGroup
	var passed atomic.Int64
	ready := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-ready
			if f() {
				passed.Add(1)
			}
		})
	}
	close(ready)
	wg.Wait()
	return passed.Load()
}

func exactUnderConcurrency(t *testing.T, l *ledger, a quota.Algorithm) {
	for _, limit := range []int64{5, 300} {
		c := claim(a, fmt.Sprintf("of %d", limit), limit)
		if got := together(1000, func() bool { ok, _ := l.reserve(Start, c); return ok }); got != limit {
			t.Errorf("%d of 1,000 requests passed a limit of %d", got, limit)
		}
	}
}

func allOrNothing(t *testing.T, l *ledger, a quota.Algorithm) {
	tight, wide := claim(a, "tight", 3), claim(a, "wide", 5)
	for range 3 {
		if ok, _ := l.reserve(Start, wide, tight); !ok {
			t.Fatal("refused within both limits")
		}
	}
	ok, verdicts := l.reserve(Start, wide, tight)
	if ok || !verdicts[0].Admitted || verdicts[0].Remaining != 2 || verdicts[1].Admitted || verdicts[1].Remaining != 0 {
		t.Errorf("admitted: %t, verdicts %+v", ok, verdicts)
	}
	l.remaining(Start, wide, 2)
	l.take(Start, wide, true, 1)
}

func allOrNothingUnderConcurrency(t *testing.T, l *ledger, a quota.Algorithm) {
	first, second, third := claim(a, "first", 40), claim(a, "second", 30), claim(a, "third", 50)
	// In different orders, so that a ledger which locks them one by one
	// would wait for itself.
	orders := [][]quota.Claim{{first, second}, {second, first}, {second, third}, {third, first, second}}
	var next, spent [4]atomic.Int64
	got := together(400, func() bool {
		i := int(next[0].Add(1)) % len(orders)
		ok, _ := l.reserve(Start, orders[i]...)
		if ok {
			spent[i].Add(1)
		}
		return ok
	})
	if got != 30 {
		t.Errorf("%d requests passed where the tightest limit is 30", got)
	}
	l.remaining(Start, second, 0)
	l.remaining(Start, first, 40-spent[0].Load()-spent[1].Load()-spent[3].Load())
	l.remaining(Start, third, 50-spent[2].Load()-spent[3].Load())
}

func changedLimit(_ *testing.T, l *ledger, a quota.Algorithm) {
	c := claim(a, "key", 10)
	l.take(Start, costing(c, 10), true, 0)
	raised, lowered := claim(a, "key", 12), claim(a, "key", 4)
	l.take(Start, raised, true, 1)
	l.take(Start, lowered, false, 0)
	l.take(Start, c, false, 0)
	l.take(Start, raised, true, 0)
	l.take(Start, raised, false, 0)
}

func retryAfter(t *testing.T, l *ledger, a quota.Algorithm) {
	for _, units := range []int64{1, 3, 10} {
		c := costing(claim(a, fmt.Sprintf("by %d", units), 10), units)
		at := Start
		for range 20 {
			ok, verdicts := l.reserve(at, c)
			if ok {
				at = at.Add(90 * time.Second)
				continue
			}
			wait := verdicts[0].RetryAfter
			if ok, _ := l.reserve(at.Add(wait-time.Millisecond), c); ok {
				t.Fatalf("passed before the %s that it was told to wait", wait)
			}
			if at = at.Add(wait); !l.peek(at, c)[0].Admitted {
				t.Fatal("not even a peek passes")
			}
			if ok, verdicts := l.reserve(at, c); !ok {
				t.Fatalf("refused after the %s that it was told to wait: %+v", wait, verdicts[0])
			}
		}
	}
}

func reset(t *testing.T, l *ledger, a quota.Algorithm) {
	c := claim(a, "key", 7)
	if v := l.peek(Start, c)[0]; !v.Reset.Equal(Start.Add(time.Hour)) || v.Remaining != 7 {
		t.Errorf("unused limit: %+v, want a reset an hour on", v)
	}
	at := Start.Add(time.Second)
	l.take(Start, c, true, 6)
	v := l.take(at, costing(c, 2), true, 4)
	if seen := l.peek(at, c)[0].Reset; !seen.Equal(v.Reset) || !seen.After(at) {
		t.Fatalf("reset at %s and %s", v.Reset, seen)
	}
	if got := l.peek(v.Reset.Add(-time.Second), c)[0]; got.Remaining == 7 {
		t.Errorf("whole before its reset: %+v", got)
	}
	l.remaining(v.Reset, c, 7)
	l.take(v.Reset, costing(c, 7), true, 0)
}

func peek(t *testing.T, l *ledger, a quota.Algorithm) {
	c, other := claim(a, "key", 2), claim(a, "other", 3)
	for range 5 {
		if v := l.peek(Start, c, other); v[0].Remaining != 2 || v[1].Remaining != 3 || !v[0].Admitted {
			t.Errorf("peek at unused limits: %+v", v)
		}
	}
	taken := l.take(Start, c, true, 1)
	seen := l.peek(Start, c)[0]
	if !taken.Reset.Equal(seen.Reset) || seen.Remaining != 1 || !seen.Admitted || seen.Name != "key" || seen.Limit != 2 || seen.Window != time.Hour {
		t.Errorf("peek sees %+v after %+v", seen, taken)
	}
	l.take(Start, c, true, 0)
	if v := l.peek(Start, c)[0]; !v.Admitted || v.Remaining != 0 || v.RetryAfter != 0 {
		t.Errorf("peek, a cost of 0, at a limit that is used up: %+v", v)
	}
}

func cost(t *testing.T, l *ledger, a quota.Algorithm) {
	c := claim(a, "key", 5)
	l.take(Start, costing(c, 0), true, 5)
	l.take(Start, costing(c, 3), true, 2)
	l.take(Start, costing(c, 3), false, 2)
	l.take(Start, costing(c, 2), true, 0)
	l.take(Start, costing(c, 0), true, 0)
	for _, above := range []int64{6, 1 << 40, 1<<63 - 1} {
		if v := l.take(Start, costing(c, above), false, 0); v.RetryAfter != time.Hour {
			t.Errorf("a cost above the limit waits %s, want a window", v.RetryAfter)
		}
	}
}

func limitZero(t *testing.T, l *ledger, a quota.Algorithm) {
	for _, units := range []int64{0, 1} {
		v := l.take(Start, costing(claim(a, "key", 0), units), false, 0)
		if v.RetryAfter != time.Hour || !v.Reset.Equal(Start.Add(time.Hour)) {
			t.Errorf("cost %d: %+v, want to wait a window", units, v)
		}
	}
	if v := l.peek(Start, claim(a, "key", 0))[0]; v.Admitted {
		t.Errorf("a peek passes: %+v", v)
	}
	l.take(Start, costing(claim(a, "key", 2), 2), true, 0)
	l.take(Start, claim(a, "key", 0), false, 0)
	l.take(Start, claim(a, "key", 2), false, 0)
}

func separate(_ *testing.T, l *ledger, a quota.Algorithm) {
	used := claim(a, "key", 1)
	l.take(Start, used, true, 0)
	tenant, subject, name, window := used, used, used, used
	tenant.TenantID = "ten_other"
	subject.Subject = "key_b"
	name.Limit.Name = "other"
	window.Limit.Window = time.Minute
	// The same letters, divided otherwise.
	shifted := used
	shifted.TenantID, shifted.Subject = "platformkey", "_a"
	for _, c := range []quota.Claim{tenant, subject, name, window, shifted} {
		l.take(Start, c, true, 0)
		l.take(Start, c, false, 0)
	}
	for _, b := range algorithms() {
		l.take(Start, claim(b, "key", 1), a != b, 0)
	}
	l.take(Start, used, false, 0)
}

func late(_ *testing.T, l *ledger, a quota.Algorithm) {
	c := claim(a, "key", 3)
	l.take(Start, c, true, 2)
	l.take(Start.Add(-time.Second), c, true, 1)
	l.take(Start.Add(-2*time.Second), c, true, 0)
	l.take(Start.Add(-3*time.Second), c, false, 0)
	l.take(Start.Add(-time.Minute), c, false, 0)
}
