package server

import (
	"context"
	"sync"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// fixedWindows is a ledger that counts every limit in fixed windows, which is
// all that the default policies ask for.
type fixedWindows struct {
	mu      sync.Mutex
	windows map[quota.CounterID]window
}

type window struct {
	ends time.Time
	used int64
}

var _ quota.Ledger = (*fixedWindows)(nil)

func newFixedWindows() *fixedWindows {
	return &fixedWindows{windows: map[quota.CounterID]window{}}
}

func (l *fixedWindows) Reserve(_ context.Context, at time.Time, claims []quota.Claim, verdicts []quota.Verdict) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	admitted := true
	for i, c := range claims {
		verdicts[i] = l.judge(at, c)
		admitted = admitted && verdicts[i].Admitted
	}
	if !admitted {
		return false, nil
	}
	for i, c := range claims {
		w := l.window(at, c)
		w.used += c.Cost
		l.windows[counter(c)] = w
		verdicts[i].Remaining = max(0, c.Limit.Limit-w.used)
	}
	return true, nil
}

func (l *fixedWindows) Peek(_ context.Context, at time.Time, claims []quota.Claim, verdicts []quota.Verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range claims {
		c.Cost = 0
		verdicts[i] = l.judge(at, c)
	}
	return nil
}

func counter(c quota.Claim) quota.CounterID {
	return quota.CounterID{TenantID: c.TenantID, Subject: c.Subject, Name: c.Limit.Name, Algorithm: c.Limit.Algorithm, Window: c.Limit.Window}
}

func (l *fixedWindows) window(at time.Time, c quota.Claim) window {
	if w, ok := l.windows[counter(c)]; ok && at.Before(w.ends) {
		return w
	}
	return window{ends: at.Add(c.Limit.Window)}
}

func (l *fixedWindows) judge(at time.Time, c quota.Claim) quota.Verdict {
	w := l.window(at, c)
	v := quota.Verdict{
		Name: c.Limit.Name, Limit: c.Limit.Limit, Window: c.Limit.Window, Admitted: w.used+c.Cost <= c.Limit.Limit,
		Remaining: max(0, c.Limit.Limit-w.used), Reset: w.ends,
	}
	if !v.Admitted {
		v.RetryAfter = w.ends.Sub(at)
	}
	return v
}
