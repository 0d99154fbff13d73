package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/decisionlog"
	"github.com/twyn/twyn/server/postgres"
)

// forgetful is a database whose answer is lost after the commit, as long as it
// is told to be.
type forgetful struct {
	*postgres.Store

	lost atomic.Bool
}

func (f *forgetful) SaveDecisions(ctx context.Context, batch []engine.DecisionRecord) error {
	err := f.Store.SaveDecisions(ctx, batch)
	if err == nil && f.lost.Load() {
		err = fmt.Errorf("the answer is lost: %w", engine.ErrUnavailable)
	}
	return err
}

// TestDecisionLog brings decisions through memory and disk into PostgreSQL, with
// a process in between that has saved a batch and does not know it.
func TestDecisionLog(t *testing.T) {
	t.Parallel()
	const secret = "twyn_live_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	s, u := open(t)
	store := &forgetful{Store: s}
	store.lost.Store(true)
	dir := t.TempDir()
	start := func() *decisionlog.Log {
		l, err := decisionlog.Open(decisionlog.Options{Dir: dir, Store: store, Sample: 1, Rate: 1000, FlushInterval: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	tenantID := engine.NewTenantID()
	principal := &engine.Principal{
		Key:    &engine.Key{ID: engine.NewKeyID(), TenantID: tenantID, Environment: engine.Live, Metadata: map[string]any{"a": "\x00" + secret}},
		Tenant: &engine.Tenant{ID: tenantID},
	}
	const decisions = 700
	record := func(l *decisionlog.Log) {
		for i := range decisions {
			at := time.Date(2030, 1, 2, 3, 4, 5, i*1000, time.UTC)
			l.Record(t.Context(),
				&engine.Request{ID: "r", At: at, Credential: secret, Method: "GET", Path: "/\x00\xff" + secret, Query: map[string]string{"key": secret, "nul": "\x00"}},
				&engine.Decision{ID: engine.NewDecisionID(at), At: at, Effect: engine.Deny, Principal: principal, Reasons: []engine.Reason{{Code: "c", Message: "\x00"}}})
		}
	}
	first := start()
	record(first)
	if err := first.Flush(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	store.lost.Store(false)
	second := start()
	record(second)
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := second.Stats(); stats.Shipped != 2*decisions || stats.Lost() != 0 || stats.DiskBytes != 0 {
		t.Errorf("got %+v", stats)
	}
	rows := dump(t, pool(t, u), "decisions", tenantID)
	if n := strings.Count(rows, "\n") + 1; n != 2*decisions {
		t.Errorf("%d rows; want %d", n, 2*decisions)
	}
	if strings.Contains(rows, secret) || !strings.Contains(rows, "[redacted]") {
		t.Error("a secret is in the rows, or nothing was taken out of them")
	}
}
