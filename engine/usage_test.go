package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

// ledgerBook adds usage up in memory and fails when told to.
type ledgerBook struct {
	mu     sync.Mutex
	counts map[string]int64
	last   map[string]time.Time
	fail   bool
}

func (b *ledgerBook) AddUsage(_ context.Context, batch []engine.Usage) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail {
		return errors.New("away")
	}
	for _, u := range batch {
		b.counts[u.KeyID] += u.Count
		if u.LastUsedAt.After(b.last[u.KeyID]) {
			b.last[u.KeyID] = u.LastUsedAt
		}
	}
	return nil
}

func TestUsageMeter(t *testing.T) {
	book := &ledgerBook{counts: map[string]int64{}, last: map[string]time.Time{}}
	meter := engine.NewUsageMeter(book)
	const keys, each = 1500, 4
	var wg sync.WaitGroup
	for n := range each {
		wg.Go(func() {
			for i := range keys {
				p := &engine.Principal{Key: &engine.Key{ID: fmt.Sprint("key_", i)}, Tenant: &engine.Tenant{ID: "acme"}}
				d := engine.Decision{Effect: engine.Allow, Principal: p, At: start.Add(time.Duration(n) * time.Second)}
				meter.Record(t.Context(), nil, &d)
				d.Effect = engine.Throttle
				meter.Record(t.Context(), nil, &d)
				if i%500 == 0 {
					if err := meter.Flush(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	book.fail = true
	p := &engine.Principal{Key: &engine.Key{ID: "key_0"}, Tenant: &engine.Tenant{ID: "acme"}}
	meter.Record(t.Context(), nil, &engine.Decision{Effect: engine.Allow, Principal: p, At: start})
	if err := meter.Flush(t.Context()); err == nil {
		t.Fatal("a failed write was not reported")
	}
	book.fail = false
	if err := meter.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range keys {
		want := int64(each)
		if i == 0 {
			want++
		}
		id := fmt.Sprint("key_", i)
		if book.counts[id] != want || !book.last[id].Equal(start.Add((each-1)*time.Second)) {
			t.Fatalf("%s: used %d times, last %s; want %d", id, book.counts[id], book.last[id], want)
		}
	}
}
