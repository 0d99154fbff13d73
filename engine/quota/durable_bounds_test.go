package quota_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/enginetest"
	"github.com/twyn/twyn/engine/quota"
)

// TestDurableDropsLeastUsed goes through many more counters than there is room
// for.
func TestDurableDropsLeastUsed(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms() {
		s := enginetest.NewStore()
		d := open(t, s, 10)
		for round := range 3 {
			for i := range 100 {
				v, err := ask(t, d, start, claim(a, fmt.Sprint(i), 3))
				if err != nil || v.Remaining != int64(2-round) {
					t.Fatalf("%s, round %d: %+v, %v", a, round, v, err)
				}
				if n := d.Len(); n > 10 {
					t.Fatalf("%s: %d counters in process, want at most 10", a, n)
				}
			}
		}
		// One that is used all the time stays.
		before, _ := s.Calls()
		for i := range 100 {
			for _, subject := range []string{"0", fmt.Sprint(i)} {
				if v, err := ask(t, d, start, claim(a, subject, 3)); v.Admitted || err != nil {
					t.Fatalf("%s: %+v, %v", a, v, err)
				}
			}
		}
		if after, _ := s.Calls(); after-before > 100 {
			t.Errorf("%s: %d loads for 100 counters", a, after-before)
		}
		s.Fail(errAway)
		if _, err := ask(t, d, start, claim(a, "50", 3)); !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("%s: %v", a, err)
		}
		s.Fail(nil)
		shut(t, d)
	}
}

func TestDurableTooManyClaims(t *testing.T) {
	t.Parallel()
	d := open(t, enginetest.NewStore(), 2)
	defer shut(t, d)
	claims := []quota.Claim{claim(quota.FixedWindow, "a", 5), claim(quota.FixedWindow, "b", 5), claim(quota.FixedWindow, "c", 5)}
	verdicts := make([]quota.Verdict, 3)
	if _, err := d.Reserve(t.Context(), start, claims, verdicts); !errors.Is(err, quota.ErrUnavailable) {
		t.Errorf("3 claims, room for 2: %v", err)
	}
	for range 5 {
		if ok, err := d.Reserve(t.Context(), start, claims[:2], verdicts[:2]); !ok || err != nil {
			t.Errorf("2 claims, room for 2: %t, %v", ok, err)
		}
		if ok, err := d.Reserve(t.Context(), start, claims[2:], verdicts[2:]); !ok || err != nil {
			t.Errorf("another: %t, %v", ok, err)
		}
	}
}

func TestDurableUnreadableState(t *testing.T) {
	t.Parallel()
	s := enginetest.NewStore()
	bad, good := claim(quota.FixedWindow, "bad", 5), claim(quota.FixedWindow, "good", 5)
	err := s.SaveCounters(t.Context(), []quota.Record{{
		ID:    quota.CounterID{TenantID: "ten_a", Subject: "bad", Name: "key", Algorithm: quota.FixedWindow, Window: time.Hour},
		State: []byte("garbage"), ExpiresAt: start.Add(time.Hour),
	}})
	if err != nil {
		t.Fatal(err)
	}
	d := open(t, s, 0)
	defer shut(t, d)
	for range 2 {
		if _, err := ask(t, d, start, bad); !errors.Is(err, quota.ErrUnavailable) {
			t.Errorf("a counter that cannot be read: %v", err)
		}
		if v, err := ask(t, d, start, good); err != nil || !v.Admitted {
			t.Errorf("another counter: %+v, %v", v, err)
		}
	}
}
