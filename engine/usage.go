package engine

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"
)

// UsageStore adds to what keys have used: counts are added, last uses kept if
// later than what is stored. A batch is written as a whole or not at all.
type UsageStore interface {
	AddUsage(ctx context.Context, batch []Usage) error
}

// UsageMeter counts the allowed requests of each key in process and writes
// them down in batches. Flush before the process ends and before usage is
// read, and both are complete.
type UsageMeter struct {
	store  UsageStore
	seed   maphash.Seed
	shards [usageShards]usageShard
	// flushing lets a Flush wait for the one under way, so that whoever
	// returns from Flush knows that everything before it is stored.
	flushing sync.Mutex
}

const (
	usageShards   = 64
	maxUsageBatch = 1000
)

type usageShard struct {
	mu    sync.Mutex
	usage map[string]*Usage
}

// NewUsageMeter returns a meter that writes to store.
func NewUsageMeter(store UsageStore) *UsageMeter {
	m := &UsageMeter{store: store, seed: maphash.MakeSeed()}
	for i := range m.shards {
		m.shards[i].usage = make(map[string]*Usage)
	}
	return m
}

// Record counts an allowed decision; a refused one uses nothing.
func (m *UsageMeter) Record(_ context.Context, _ *Request, d *Decision) {
	if d.Effect == Allow {
		m.add(d.Principal.Tenant.ID, d.Principal.Key.ID, 1, d.At)
	}
}

func (m *UsageMeter) add(tenantID, keyID string, count int64, at time.Time) {
	s := &m.shards[maphash.String(m.seed, keyID)%usageShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.usage[keyID]
	if !ok {
		u = &Usage{TenantID: tenantID, KeyID: keyID}
		s.usage[keyID] = u
	}
	u.Count += count
	if at.After(u.LastUsedAt) {
		u.LastUsedAt = at
	}
}

// Flush writes down what was counted. What could not be written is counted
// again by the next Flush.
func (m *UsageMeter) Flush(ctx context.Context) error {
	m.flushing.Lock()
	defer m.flushing.Unlock()
	var taken []Usage
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		for _, u := range s.usage {
			taken = append(taken, *u)
		}
		clear(s.usage)
		s.mu.Unlock()
	}
	for len(taken) > 0 {
		n := min(len(taken), maxUsageBatch)
		if err := m.store.AddUsage(ctx, taken[:n]); err != nil {
			for _, u := range taken {
				m.add(u.TenantID, u.KeyID, u.Count, u.LastUsedAt)
			}
			return fmt.Errorf("writing down the usage of %d keys: %w", len(taken), err)
		}
		taken = taken[n:]
	}
	return nil
}

var _ Recorder = (*UsageMeter)(nil)
