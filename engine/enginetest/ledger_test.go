package enginetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/enginetest"
	"github.com/twyn/twyn/engine/quota"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	enginetest.TestLedger(t, func(t *testing.T) quota.Ledger {
		t.Helper()
		m, err := quota.NewMemory(quota.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	})
}

func TestDurable(t *testing.T) {
	t.Parallel()
	enginetest.TestLedger(t, func(t *testing.T) quota.Ledger {
		t.Helper()
		d, err := quota.NewDurable(enginetest.NewStore(), quota.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return d
	})
}

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	enginetest.TestStore(t, func(*testing.T) quota.Store { return enginetest.NewStore() })
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	s, away := enginetest.NewStore(), errors.New("away")
	r := quota.Record{ID: quota.CounterID{TenantID: "platform", Window: time.Hour}, State: []byte{1}}
	s.Fail(away)
	if err := s.SaveCounters(t.Context(), []quota.Record{r}); !errors.Is(err, away) || len(s.Records()) != 0 {
		t.Errorf("save fails with %v and keeps %d", err, len(s.Records()))
	}
	if _, err := s.LoadCounters(t.Context(), []quota.CounterID{r.ID}); !errors.Is(err, away) {
		t.Errorf("load fails with %v", err)
	}
	s.Fail(nil)
	s.Lose(away)
	if err := s.SaveCounters(t.Context(), []quota.Record{r}); !errors.Is(err, away) || len(s.Records()) != 1 {
		t.Errorf("lost save fails with %v and keeps %d", err, len(s.Records()))
	}
	s.Lose(nil)
	if err := s.SaveCounters(t.Context(), []quota.Record{r, r}); err == nil {
		t.Error("saves an id twice")
	}
	release := s.Hold()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.SaveCounters(ctx, []quota.Record{r}) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("held save ends with %v", err)
	}
	go func() { done <- s.SaveCounters(t.Context(), []quota.Record{r}) }()
	release()
	release()
	if err := <-done; err != nil {
		t.Errorf("released save ends with %v", err)
	}
	if loads, saves := s.Calls(); loads != 1 || saves != 4 {
		t.Errorf("%d loads and %d saves", loads, saves)
	}
}
