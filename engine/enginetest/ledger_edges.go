package enginetest

import (
	"errors"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// This file is the part of TestLedger that looks at what is invalid and at
// what one algorithm alone does.

func invalid(t *testing.T, l *ledger, a quota.Algorithm) {
	good := claim(a, "key", 5)
	with := func(change func(*quota.Claim)) []quota.Claim {
		bad := claim(a, "other", 5)
		change(&bad)
		return []quota.Claim{good, bad}
	}
	for _, test := range []struct {
		name   string
		at     time.Time
		claims []quota.Claim
		want   error
	}{
		{"limit", Start, with(func(c *quota.Claim) { c.Limit.Limit = -1 }), quota.ErrInvalidLimit},
		{"window", Start, with(func(c *quota.Claim) { c.Limit.Window = 0 }), quota.ErrInvalidLimit},
		{"burst", Start, with(func(c *quota.Claim) { c.Limit.Burst = quota.MaxLimit + 1 }), quota.ErrInvalidLimit},
		{"name", Start, with(func(c *quota.Claim) { c.Limit.Name = "" }), quota.ErrInvalidLimit},
		{"algorithm", Start, with(func(c *quota.Claim) { c.Limit.Algorithm = "leaky" }), quota.ErrInvalidLimit},
		{"cost", Start, with(func(c *quota.Claim) { c.Cost = -1 }), quota.ErrInvalidClaim},
		{"zero byte", Start, with(func(c *quota.Claim) { c.Subject = "key\x00" }), quota.ErrInvalidClaim},
		{"not UTF-8", Start, with(func(c *quota.Claim) { c.Limit.Name = "\xff" }), quota.ErrInvalidClaim},
		{"the same counter twice", Start, []quota.Claim{good, claim(a, "other", 5), costing(good, 2)}, quota.ErrInvalidClaim},
		{"time", time.Time{}, []quota.Claim{good}, quota.ErrInvalidClaim},
	} {
		verdicts := make([]quota.Verdict, len(test.claims))
		if ok, err := l.asks.Reserve(t.Context(), test.at, test.claims, verdicts); ok || !errors.Is(err, test.want) {
			t.Errorf("%s: admitted %t, error %v", test.name, ok, err)
		}
		if err := l.asks.Peek(t.Context(), test.at, test.claims, verdicts); !errors.Is(err, test.want) && test.name != "cost" {
			t.Errorf("%s: peek: %v", test.name, err)
		}
	}
	for _, n := range []int{0, 2} {
		if _, err := l.asks.Reserve(t.Context(), Start, []quota.Claim{good}, make([]quota.Verdict, n)); !errors.Is(err, quota.ErrInvalidClaim) {
			t.Errorf("one claim, %d verdicts: %v", n, err)
		}
	}
	l.remaining(Start, good, 5)
}

func opensWithFirst(t *testing.T, l *ledger) {
	c := claim(quota.FixedWindow, "key", 2)
	l.peek(Start.Add(-time.Minute), c)
	v := l.take(Start, c, true, 1)
	end := Start.Add(time.Hour)
	if !v.Reset.Equal(end) {
		t.Errorf("window ends at %s, want an hour after its first request", v.Reset)
	}
	l.take(end.Add(-time.Millisecond), c, true, 0)
	if v := l.take(end.Add(-time.Millisecond), c, false, 0); v.RetryAfter != time.Millisecond {
		t.Errorf("wait %s at the end of the window", v.RetryAfter)
	}
	later := end.Add(time.Minute)
	if v := l.take(later, c, true, 1); !v.Reset.Equal(later.Add(time.Hour)) {
		t.Errorf("next window ends at %s, want an hour after its own first request", v.Reset)
	}
}

func slides(t *testing.T, l *ledger) {
	const limit = 20
	c := claim(quota.SlidingWindow, "key", limit)
	var admitted []time.Time
	for i := range 600 {
		at := Start.Add(time.Duration(i) * 37 * time.Second)
		if ok, _ := l.reserve(at, c); ok {
			admitted = append(admitted, at)
		}
	}
	for i := limit; i < len(admitted); i++ {
		if span := admitted[i].Sub(admitted[i-limit]); span < time.Hour {
			t.Fatalf("%d requests passed within %s", limit+1, span)
		}
	}
	// 6 hours and 10 minutes of demand: no more than a sixtieth is lost.
	if len(admitted) < 6*limit {
		t.Errorf("%d requests passed, want %d", len(admitted), 6*limit)
	}
}

func refills(t *testing.T, l *ledger) {
	c := claim(quota.TokenBucket, "key", 3600)
	c.Limit.Burst = 3
	l.take(Start, costing(c, 3), true, 0)
	if v := l.take(Start, c, false, 0); v.RetryAfter != time.Second {
		t.Errorf("wait %s for a unit that comes each second", v.RetryAfter)
	}
	l.take(Start.Add(999*time.Millisecond), c, false, 0)
	l.take(Start.Add(time.Second), c, true, 0)
	l.take(Start.Add(3500*time.Millisecond), costing(c, 2), true, 0)
	l.take(Start.Add(4*time.Second), c, true, 0)
	l.remaining(Start.Add(time.Minute), c, 3)
	if v := l.take(Start.Add(time.Minute), costing(c, 4), false, 3); v.RetryAfter != time.Hour {
		t.Errorf("more than the bucket holds waits %s, want a window", v.RetryAfter)
	}
}

func noClaims(t *testing.T, l *ledger) {
	if ok, _ := l.reserve(Start); !ok {
		t.Error("refused without a claim")
	}
}
