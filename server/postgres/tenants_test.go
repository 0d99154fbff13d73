package postgres_test

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestCreateTenantIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, digest := newTenant(t, s)
	if got := must[engine.Tenant](t)(s.Tenant(t.Context(), tenant.ID)); got != tenant {
		t.Errorf("got %+v, want %+v", got, tenant)
	}
	if got := must[engine.Key](t)(s.Key(t.Context(), tenant.ID, key.ID)); !reflect.DeepEqual(got, key) {
		t.Errorf("got %+v, want %+v", got, key)
	}
	other := engine.Tenant{ID: engine.NewTenantID(), Name: "Other", Active: true, CreatedAt: start}
	for name, c := range map[string]struct {
		tenant engine.Tenant
		key    engine.Key
		digest engine.Digest
		want   error
	}{
		"same tenant":          {tenant, newKey(tenant.ID), newDigest(), engine.ErrConflict},
		"platform":             {engine.Tenant{ID: engine.PlatformTenantID, Name: "x", CreatedAt: start}, newKey(engine.PlatformTenantID), newDigest(), engine.ErrConflict},
		"same secret":          {other, newKey(other.ID), digest, engine.ErrConflict},
		"key of another":       {other, newKey(tenant.ID), newDigest(), nil},
		"id not as agreed":     {engine.Tenant{ID: "acme", Name: "x", CreatedAt: start}, newKey("acme"), newDigest(), nil},
		"tenant without name":  {engine.Tenant{ID: other.ID, CreatedAt: start}, newKey(other.ID), newDigest(), nil},
		"key without any name": {other, engine.Key{ID: engine.NewKeyID(), TenantID: other.ID, Environment: engine.Live, RateLimit: 1}, newDigest(), nil},
	} {
		err := s.CreateTenant(t.Context(), c.tenant, c.key, c.digest)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if _, err := s.Tenant(t.Context(), other.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a tenant without its key is there: %v", err)
	}
}

func TestTenantsListsNewestFirstAndPlatformLast(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	platform := engine.Tenant{ID: engine.PlatformTenantID, Name: "Platform", Active: true, CreatedAt: time.Unix(0, 0).UTC()}
	want := []engine.Tenant{platform}
	for i := range 7 {
		tenant := engine.Tenant{ID: engine.NewTenantID(), Name: name(i), Active: true, CreatedAt: start.Add(time.Duration(i/2) * time.Second)}
		if err := s.CreateTenant(t.Context(), tenant, newKey(tenant.ID), newDigest()); err != nil {
			t.Fatal(err)
		}
		want = append(want, tenant)
	}
	sortNewest(want, func(t engine.Tenant) (time.Time, string) { return t.CreatedAt, t.ID })
	checkPages(t, want, func(p engine.Page) ([]engine.Tenant, int, error) { return s.Tenants(t.Context(), p) })
}

func TestSetTenantActive(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	for _, active := range []bool{false, false, true} {
		tenant.Active = active
		if got := must[engine.Tenant](t)(s.SetTenantActive(t.Context(), tenant.ID, active)); got != tenant {
			t.Errorf("got %+v, want %+v", got, tenant)
		}
		if got := must[engine.Tenant](t)(s.Tenant(t.Context(), tenant.ID)); got != tenant {
			t.Errorf("reads as %+v, want %+v", got, tenant)
		}
	}
	for _, id := range []string{"", "ten_", engine.NewTenantID(), "ten_\x00", "PLATFORM"} {
		if _, err := s.SetTenantActive(t.Context(), id, false); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%q: got %v, want %v", id, err, engine.ErrNotFound)
		}
		if _, err := s.Tenant(t.Context(), id); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%q: got %v, want %v", id, err, engine.ErrNotFound)
		}
	}
}

func TestOneOfManyMakesTheFirstTenant(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	var wg sync.WaitGroup
	made := make(chan string, 8)
	for range cap(made) {
		wg.Go(func() {
			tenant := engine.Tenant{ID: engine.NewTenantID(), Name: "demo", Active: true, CreatedAt: start}
			first, err := s.CreateFirstTenant(t.Context(), tenant, newKey(tenant.ID), newDigest())
			if err != nil {
				t.Error(err)
			}
			if first {
				made <- tenant.ID
			}
		})
	}
	wg.Wait()
	close(made)
	tenants, total, err := s.Tenants(t.Context(), engine.Page{Limit: 10})
	if err != nil || total != 2 || len(made) != 1 || tenants[0].ID != <-made {
		t.Errorf("got %d tenants, %v; %d said that they made one", total, err, len(made))
	}
}
