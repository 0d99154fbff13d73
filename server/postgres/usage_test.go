package postgres_test

import (
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestAddUsage(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	a, first, _ := newTenant(t, s)
	b, other, _ := newTenant(t, s)
	second := newKey(a.ID)
	if err := s.CreateKey(t.Context(), second, newDigest()); err != nil {
		t.Fatal(err)
	}
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	for _, batch := range [][]engine.Usage{
		nil,
		{{TenantID: a.ID, KeyID: first.ID, Count: 3, LastUsedAt: at(5)}, {TenantID: b.ID, KeyID: other.ID, Count: 1, LastUsedAt: at(1)}},
		{{TenantID: a.ID, KeyID: first.ID, Count: 2, LastUsedAt: at(4)}}, // later written, earlier used
		{{TenantID: a.ID, KeyID: first.ID, Count: 1, LastUsedAt: at(6)}, {TenantID: a.ID, KeyID: first.ID, Count: 1, LastUsedAt: at(7)}},
		{{TenantID: a.ID, KeyID: first.ID, Count: 1}},                                                                           // no time
		{{TenantID: b.ID, KeyID: first.ID, Count: 100, LastUsedAt: at(100)}},                                                    // not that tenant's
		{{TenantID: a.ID, KeyID: engine.NewKeyID(), Count: 1, LastUsedAt: at(1)}, {TenantID: a.ID, KeyID: second.ID, Count: 1}}, // deleted meanwhile
	} {
		if err := s.AddUsage(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []struct {
		key   engine.Key
		count int64
		last  time.Time
	}{{first, 8, at(7)}, {second, 1, time.Time{}}, {other, 1, at(1)}} {
		got := must[engine.Key](t)(s.Key(t.Context(), want.key.TenantID, want.key.ID))
		if got.UsageCount != want.count || !got.LastUsedAt.Equal(want.last) {
			t.Errorf("got %d until %v, want %d until %v", got.UsageCount, got.LastUsedAt, want.count, want.last)
		}
	}
}
