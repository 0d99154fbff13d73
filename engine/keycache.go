package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// KeyCache keeps identities in process, so that a known key costs no query.
//
// Found and unknown digests are kept apart, each in a bounded number, so that
// a flood of made-up keys cannot push out real ones. Concurrent misses of one
// digest share one query.
//
// # Revocation
//
// Each Forget, ForgetTenant and ForgetAll is a revocation with a number. A miss
// notes the number before its query and is neither kept nor answered if a
// revocation of what it found came meanwhile: it asks again. So once a Forget
// has returned, no lookup that begins or ends after it yields the old state.
type KeyCache struct {
	source Keys
	shards [keyCacheShards]keyCacheShard

	mu sync.Mutex
	// digests finds a key's entries by the key's id.
	digests map[string][]Digest
	// revoked counts the revocations and recent holds the last of them,
	// number n at n modulo its length.
	revoked uint64
	recent  [256]revocation
}

// revocation says what was forgotten: a key, a tenant, or, if both are empty,
// everything.
type revocation struct{ keyID, tenantID string }

func (r revocation) hits(i *Identity) bool {
	return (r.keyID == "" && r.tenantID == "") || r.keyID == i.Key.ID || r.tenantID == i.Tenant.ID
}

const (
	keyCacheShards = 64
	// maxLookups bounds how often one miss is asked again because of
	// revocations that raced it.
	maxLookups = 16
)

type keyCacheShard struct {
	mu      sync.RWMutex
	known   map[Digest]*Identity
	unknown map[Digest]struct{}
	flights map[Digest]*flight

	maxKnown, maxUnknown int
}

// flight is one query under way and those who wait for it.
type flight struct {
	done     chan struct{}
	identity *Identity
	err      error
}

// NewKeyCache returns a cache of at most maxKeys known keys, and an eighth as
// many unknown digests, over source.
func NewKeyCache(source Keys, maxKeys int) (*KeyCache, error) {
	if maxKeys < 1 {
		return nil, fmt.Errorf("key cache of %d keys: want at least 1", maxKeys)
	}
	c := &KeyCache{source: source, digests: make(map[string][]Digest)}
	for i := range c.shards {
		c.shards[i] = keyCacheShard{
			known: make(map[Digest]*Identity), unknown: make(map[Digest]struct{}), flights: make(map[Digest]*flight),
			maxKnown: (maxKeys + keyCacheShards - 1) / keyCacheShards, maxUnknown: max(1, maxKeys/8/keyCacheShards),
		}
	}
	return c, nil
}

// FindKey returns the identity of a digest, from memory if it is known there.
func (c *KeyCache) FindKey(ctx context.Context, digest Digest) (*Identity, error) {
	s := c.shard(digest)
	s.mu.RLock()
	identity, err, held := s.look(digest)
	s.mu.RUnlock()
	if held {
		return identity, err
	}
	return c.miss(ctx, s, digest)
}

// look returns what is held of a digest. The caller holds a lock.
func (s *keyCacheShard) look(digest Digest) (identity *Identity, err error, held bool) {
	if identity, known := s.known[digest]; known {
		return identity, nil, true
	}
	if _, unknown := s.unknown[digest]; unknown {
		return nil, ErrNotFound, true
	}
	return nil, nil, false
}

// miss joins the query for digest that is under way, or makes one.
func (c *KeyCache) miss(ctx context.Context, s *keyCacheShard, digest Digest) (*Identity, error) {
	s.mu.Lock()
	// The query that another began may have ended since the first look.
	if identity, err, held := s.look(digest); held {
		s.mu.Unlock()
		return identity, err
	}
	f, joined := s.flights[digest]
	if !joined {
		f = &flight{done: make(chan struct{})}
		s.flights[digest] = f
	}
	s.mu.Unlock()
	if !joined {
		// The query outlives its first caller: others wait for it too.
		go c.fly(context.WithoutCancel(ctx), s, digest, f)
	}
	select {
	case <-f.done:
		return f.identity, f.err
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting for the API key: %w", ctx.Err())
	}
}

// fly asks the source until no revocation has come between question and
// answer, keeps the answer, and tells everyone who waits.
func (c *KeyCache) fly(ctx context.Context, s *keyCacheShard, digest Digest, f *flight) {
	f.err = fmt.Errorf("%w: keys change faster than they can be read", ErrUnavailable)
	for range maxLookups {
		c.mu.Lock()
		seen := c.revoked
		c.mu.Unlock()
		identity, err := c.ask(ctx, digest)
		if c.land(s, digest, f, seen, identity, err) {
			return
		}
	}
	s.mu.Lock()
	delete(s.flights, digest)
	s.mu.Unlock()
	close(f.done)
}

// ask queries the source; a source that panics has not answered.
func (c *KeyCache) ask(ctx context.Context, digest Digest) (identity *Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			identity, err = nil, fmt.Errorf("%w: the key store panicked", ErrUnavailable)
		}
	}()
	return c.source.FindKey(ctx, digest)
}

// land keeps an answer and ends its flight, unless the identity was revoked
// since the revocation numbered seen. An answer of "not found" lets nobody in
// and needs no second look.
func (c *KeyCache) land(s *keyCacheShard, digest Digest, f *flight, seen uint64, identity *Identity, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && c.revokedSince(seen, identity) {
		return false
	}
	f.identity, f.err = identity, err
	switch {
	case err == nil:
		c.keep(s, digest, identity)
	case errors.Is(err, ErrNotFound):
		for d := range s.unknown {
			if len(s.unknown) < s.maxUnknown {
				break
			}
			delete(s.unknown, d)
		}
		s.unknown[digest] = struct{}{}
	}
	delete(s.flights, digest)
	close(f.done)
	return true
}

// revokedSince tells whether a revocation after the one numbered seen hits the
// identity; if too many came to know, it says yes. The caller holds c.mu.
func (c *KeyCache) revokedSince(seen uint64, identity *Identity) bool {
	if c.revoked-seen > uint64(len(c.recent)) {
		return true
	}
	for n := seen; n < c.revoked; n++ {
		if c.recent[n%uint64(len(c.recent))].hits(identity) {
			return true
		}
	}
	return false
}

// revoke numbers a revocation. The caller holds c.mu.
func (c *KeyCache) revoke(r revocation) {
	c.recent[c.revoked%uint64(len(c.recent))] = r
	c.revoked++
}

// keep stores an identity, dropping others where the shard is full. The
// caller holds both locks.
func (c *KeyCache) keep(s *keyCacheShard, digest Digest, identity *Identity) {
	for d, old := range s.known {
		if len(s.known) < s.maxKnown {
			break
		}
		delete(s.known, d)
		c.unindex(old.Key.ID, d)
	}
	s.known[digest] = identity
	if !slices.Contains(c.digests[identity.Key.ID], digest) {
		c.digests[identity.Key.ID] = append(c.digests[identity.Key.ID], digest)
	}
}

func (c *KeyCache) unindex(keyID string, digest Digest) {
	left := slices.DeleteFunc(c.digests[keyID], func(d Digest) bool { return d == digest })
	if len(left) == 0 {
		delete(c.digests, keyID)
		return
	}
	c.digests[keyID] = left
}

// Forget drops everything known of a key.
func (c *KeyCache) Forget(keyID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoke(revocation{keyID: keyID})
	for _, digest := range c.digests[keyID] {
		s := c.shard(digest)
		s.mu.Lock()
		delete(s.known, digest)
		s.mu.Unlock()
	}
	delete(c.digests, keyID)
}

// ForgetTenant drops everything known of a tenant's keys.
func (c *KeyCache) ForgetTenant(tenantID string) {
	c.forget(revocation{tenantID: tenantID})
}

// ForgetAll drops everything, unknown digests too.
func (c *KeyCache) ForgetAll() {
	c.forget(revocation{})
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.unknown)
		s.mu.Unlock()
	}
}

func (c *KeyCache) forget(r revocation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revoke(r)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for digest, identity := range s.known {
			if r.hits(identity) {
				delete(s.known, digest)
				c.unindex(identity.Key.ID, digest)
			}
		}
		s.mu.Unlock()
	}
}

// Len returns how many known keys and unknown digests are held.
func (c *KeyCache) Len() (known, unknown int) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		known += len(s.known)
		unknown += len(s.unknown)
		s.mu.RUnlock()
	}
	return known, unknown
}

func (c *KeyCache) shard(digest Digest) *keyCacheShard {
	return &c.shards[binary.LittleEndian.Uint64(digest[:])%keyCacheShards]
}

var _ Keys = (*KeyCache)(nil)
