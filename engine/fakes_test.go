package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// start is when the tests begin; nothing reads the machine's clock.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// directory is a key and resource store that behaves, in memory.
type directory struct {
	mu         sync.Mutex
	identities map[engine.Digest]engine.Identity
	resources  map[engine.Target]engine.Resource
	err        error
	queries    int
	// gate, if set, is received from before each key query is answered.
	gate chan struct{}
}

func newDirectory() *directory {
	return &directory{identities: map[engine.Digest]engine.Identity{}, resources: map[engine.Target]engine.Resource{}}
}

// add makes a live key of the tenant and returns its credential.
func (d *directory) add(t testing.TB, tenantID string, change func(*engine.Identity)) engine.Credential {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	credential := engine.Credential(fmt.Sprintf("twyn_live_%064x", len(d.identities)+1))
	identity := engine.Identity{
		Principal: engine.Principal{
			Key: &engine.Key{
				ID: fmt.Sprintf("key_%s_%d", tenantID, len(d.identities)), TenantID: tenantID, Name: "a key",
				Environment: engine.Live, Active: true, RateLimit: 10, Scopes: engine.Scopes{"*"}, CreatedAt: start,
			},
			Tenant: &engine.Tenant{ID: tenantID, Name: tenantID, Active: true, CreatedAt: start},
		},
		Digest: credential.Digest(),
	}
	if change != nil {
		change(&identity)
	}
	d.identities[identity.Digest] = identity
	return credential
}

// update replaces the stored identity, as a store does: what was handed out
// before stays as it was.
func (d *directory) update(credential engine.Credential, change func(*engine.Key)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	identity := d.identities[credential.Digest()]
	key := *identity.Key
	change(&key)
	identity.Key = &key
	d.identities[credential.Digest()] = identity
}

func (d *directory) FindKey(_ context.Context, digest engine.Digest) (*engine.Identity, error) {
	d.mu.Lock()
	d.queries++
	identity, ok := d.identities[digest]
	err, gate := d.err, d.gate
	d.mu.Unlock()
	if gate != nil {
		<-gate
	}
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, engine.ErrNotFound
	}
	return &identity, nil
}

func (d *directory) FindResource(_ context.Context, target engine.Target) (engine.Resource, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	resource, ok := d.resources[target]
	switch {
	case d.err != nil:
		return engine.Resource{}, d.err
	case !ok:
		return engine.Resource{}, engine.ErrNotFound
	}
	return resource, nil
}

func (d *directory) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries
}

// policyFunc is a policy as a function.
type policyFunc func(ctx context.Context, question engine.Question) (engine.Judgement, error)

func (f policyFunc) Judge(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	return f(ctx, question)
}

// isolation allows a tenant its own resources and nothing else.
func isolation(_ context.Context, q engine.Question) (engine.Judgement, error) {
	if q.Resource != nil && q.Resource.TenantID != q.Principal.Tenant.ID {
		return engine.Judgement{Reasons: []engine.Reason{{Code: "tenant_isolation", Message: "Access denied"}}, Revision: "r1"}, nil
	}
	return engine.Judgement{Allow: true, Revision: "r1"}, nil
}

// brokenLedger is a ledger whose store is away.
type brokenLedger struct{}

func (brokenLedger) Reserve(context.Context, time.Time, []quota.Claim, []quota.Verdict) (bool, error) {
	return false, fmt.Errorf("%w: away", quota.ErrUnavailable)
}

func (brokenLedger) Peek(context.Context, time.Time, []quota.Claim, []quota.Verdict) error {
	return fmt.Errorf("%w: away", quota.ErrUnavailable)
}

// log keeps the decisions it is told of.
type log struct {
	mu        sync.Mutex
	decisions []engine.Decision
}

func (l *log) Record(_ context.Context, _ *engine.Request, d *engine.Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions = append(l.decisions, *d)
}
