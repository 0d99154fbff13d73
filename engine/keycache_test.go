package engine_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/twyn/twyn/engine"
)

func newCache(t testing.TB, source engine.Keys, maxKeys int) *engine.KeyCache {
	t.Helper()
	cache, err := engine.NewKeyCache(source, maxKeys)
	if err != nil {
		t.Fatal(err)
	}
	return cache
}

func TestKeyCacheAsksOnce(t *testing.T) {
	d := newDirectory()
	cache := newCache(t, d, 1000)
	credential := d.add(t, "acme", nil)
	for range 5 {
		identity, err := cache.FindKey(t.Context(), credential.Digest())
		if err != nil || identity.Tenant.ID != "acme" {
			t.Fatalf("got %v, %v", identity, err)
		}
		if _, err := cache.FindKey(t.Context(), engine.Credential("nobody").Digest()); !errors.Is(err, engine.ErrNotFound) {
			t.Fatalf("unknown key: %v", err)
		}
	}
	if got := d.asked(); got != 2 {
		t.Errorf("the store was asked %d times, want once a digest", got)
	}
}

func TestKeyCacheSharesAMiss(t *testing.T) {
	d := newDirectory()
	d.gate = make(chan struct{})
	cache := newCache(t, d, 1000)
	credential := d.add(t, "acme", nil)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := cache.FindKey(context.Background(), credential.Digest()); err != nil {
				t.Error(err)
			}
		})
	}
	d.gate <- struct{}{}
	wg.Wait()
	if got := d.asked(); got != 1 {
		t.Errorf("the store was asked %d times, want 1", got)
	}
}

// TestKeyCacheRevocationDuringMiss holds a query back until the key it read is
// disabled and forgotten: what the query read must not be answered or kept.
func TestKeyCacheRevocationDuringMiss(t *testing.T) {
	d := newDirectory()
	d.gate = make(chan struct{})
	cache := newCache(t, d, 1000)
	credential := d.add(t, "acme", nil)
	found := make(chan *engine.Identity)
	go func() {
		identity, err := cache.FindKey(context.Background(), credential.Digest())
		if err != nil {
			t.Error(err)
		}
		found <- identity
	}()
	for d.asked() == 0 {
		runtime.Gosched()
	}
	d.update(credential, func(k *engine.Key) { k.Active = false })
	cache.Forget("key_acme_0")
	d.gate <- struct{}{} // the query that read the old state
	d.gate <- struct{}{} // the one that replaces it
	if identity := <-found; identity.Key.Active {
		t.Error("a miss resurrected a disabled key")
	}
	if identity, err := cache.FindKey(t.Context(), credential.Digest()); err != nil || identity.Key.Active {
		t.Errorf("the cache kept the old state: %v", err)
	}
}

func TestKeyCacheForgets(t *testing.T) {
	for name, forget := range map[string]func(*engine.KeyCache){
		"key":    func(c *engine.KeyCache) { c.Forget("key_acme_0") },
		"tenant": func(c *engine.KeyCache) { c.ForgetTenant("acme") },
		"all":    func(c *engine.KeyCache) { c.ForgetAll() },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDirectory()
			cache := newCache(t, d, 1000)
			credential := d.add(t, "acme", nil)
			if _, err := cache.FindKey(t.Context(), credential.Digest()); err != nil {
				t.Fatal(err)
			}
			d.update(credential, func(k *engine.Key) { k.Name = "renamed" })
			forget(cache)
			identity, err := cache.FindKey(t.Context(), credential.Digest())
			if err != nil || identity.Key.Name != "renamed" {
				t.Errorf("got %+v, %v", identity, err)
			}
		})
	}
}

func TestKeyCacheIsBounded(t *testing.T) {
	d := newDirectory()
	cache := newCache(t, d, 640)
	credential := d.add(t, "acme", nil)
	if _, err := cache.FindKey(t.Context(), credential.Digest()); err != nil {
		t.Fatal(err)
	}
	for i := range 20_000 {
		if _, err := cache.FindKey(t.Context(), engine.Credential(fmt.Sprint(i)).Digest()); !errors.Is(err, engine.ErrNotFound) {
			t.Fatal(err)
		}
	}
	asked := d.asked()
	if _, err := cache.FindKey(t.Context(), credential.Digest()); err != nil || d.asked() != asked {
		t.Errorf("a flood of unknown keys pushed out a known one (%v)", err)
	}
	for range 3000 {
		if _, err := cache.FindKey(t.Context(), d.add(t, "many", nil).Digest()); err != nil {
			t.Fatal(err)
		}
	}
	if known, unknown := cache.Len(); known > 640 || unknown > 80 {
		t.Errorf("holds %d known and %d unknown, want at most 640 and 80", known, unknown)
	}
}

func TestKeyCacheStoreAway(t *testing.T) {
	d := newDirectory()
	cache := newCache(t, d, 10)
	credential := d.add(t, "acme", nil)
	d.err = engine.ErrUnavailable
	if _, err := cache.FindKey(t.Context(), credential.Digest()); !errors.Is(err, engine.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	d.err = nil
	if _, err := cache.FindKey(t.Context(), credential.Digest()); err != nil {
		t.Errorf("an error was kept: %v", err)
	}
}

// TestKeyCacheHammer changes and forgets keys while others look them up: a
// lookup that begins after a Forget has returned never sees older state.
func TestKeyCacheHammer(t *testing.T) {
	d := newDirectory()
	cache := newCache(t, d, 64)
	const keys = 8
	credentials := make([]engine.Credential, keys)
	for i := range credentials {
		credentials[i] = d.add(t, "acme", nil)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var readers, writers sync.WaitGroup
	for i, credential := range credentials {
		if i%2 == 0 {
			readers.Go(func() {
				for ; ctx.Err() == nil; runtime.Gosched() {
					if _, err := cache.FindKey(ctx, credential.Digest()); err != nil && ctx.Err() == nil && !errors.Is(err, engine.ErrUnavailable) {
						t.Error(err)
						return
					}
				}
			})
		}
		writers.Go(func() {
			for limit := int64(1); limit <= 200; limit++ {
				d.update(credential, func(k *engine.Key) { k.RateLimit = limit })
				cache.Forget(fmt.Sprintf("key_acme_%d", i))
				identity, err := cache.FindKey(ctx, credential.Digest())
				if errors.Is(err, engine.ErrUnavailable) {
					continue
				}
				if err != nil || identity.Key.RateLimit < limit {
					t.Errorf("after forgetting limit %d: %+v, %v", limit, identity, err)
					return
				}
			}
		})
	}
	writers.Wait()
	cancel()
	readers.Wait()
}
