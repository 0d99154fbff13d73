package postgres_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestKeyRoundTrip(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	for name, change := range map[string]func(*engine.Key){
		"plain":       func(*engine.Key) {},
		"test":        func(k *engine.Key) { k.Environment = engine.Test },
		"disabled":    func(k *engine.Key) { k.Active = false },
		"expiring":    func(k *engine.Key) { k.ExpiresAt = start.Add(time.Hour) },
		"no scopes":   func(k *engine.Key) { k.Scopes = engine.Scopes{} },
		"many scopes": func(k *engine.Key) { k.Scopes = engine.Scopes{"keys:read", "simulations:*"} },
		"no metadata": func(k *engine.Key) { k.Metadata = map[string]any{} },
		"deep metadata": func(k *engine.Key) {
			k.Metadata = map[string]any{"a": map[string]any{"b": []any{1.5, "ü", nil, true}}}
		},
		"quotes":        func(k *engine.Key) { k.Name = `Robert'); DROP TABLE keys;-- "\` },
		"100 letters":   func(k *engine.Key) { k.Name = fmt.Sprintf("%0100d", 0) },
		"highest limit": func(k *engine.Key) { k.RateLimit = engine.MaxRateLimit },
	} {
		key := newKey(tenant.ID)
		change(&key)
		if err := s.CreateKey(t.Context(), key, newDigest()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := s.Key(t.Context(), tenant.ID, key.ID)
		if err != nil || !reflect.DeepEqual(got, key) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, key)
		}
	}
}

func TestKeyWithoutScopesAndMetadataReadsAsEmpty(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	key := newKey(tenant.ID)
	key.Scopes, key.Metadata = nil, nil
	if err := s.CreateKey(t.Context(), key, newDigest()); err != nil {
		t.Fatal(err)
	}
	got := must[engine.Key](t)(s.Key(t.Context(), tenant.ID, key.ID))
	if got.Scopes == nil || got.Metadata == nil || len(got.Scopes)+len(got.Metadata) != 0 {
		t.Errorf("got %#v and %#v, want both empty and not nil", got.Scopes, got.Metadata)
	}
}

func TestCreateKeyRefuses(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, digest := newTenant(t, s)
	for name, c := range map[string]struct {
		change func(*engine.Key)
		digest engine.Digest
		want   error // nil: some error of no kind
	}{
		"same id":          {func(k *engine.Key) { k.ID = key.ID }, newDigest(), engine.ErrConflict},
		"same secret":      {func(*engine.Key) {}, digest, engine.ErrConflict},
		"unknown tenant":   {func(k *engine.Key) { k.TenantID = engine.NewTenantID() }, newDigest(), engine.ErrNotFound},
		"limit of 0":       {func(k *engine.Key) { k.RateLimit = 0 }, newDigest(), nil},
		"limit too high":   {func(k *engine.Key) { k.RateLimit = engine.MaxRateLimit + 1 }, newDigest(), nil},
		"no name":          {func(k *engine.Key) { k.Name = "" }, newDigest(), nil},
		"name too long":    {func(k *engine.Key) { k.Name = fmt.Sprintf("%0101d", 0) }, newDigest(), nil},
		"odd environment":  {func(k *engine.Key) { k.Environment = "staging" }, newDigest(), nil},
		"id not as agreed": {func(k *engine.Key) { k.ID = "key_UPPER" }, newDigest(), nil},
	} {
		k := newKey(tenant.ID)
		c.change(&k)
		err := s.CreateKey(t.Context(), k, c.digest)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if _, err := s.FindKey(t.Context(), c.digest); c.digest != digest && !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s: the secret was kept: %v", name, err)
		}
	}
}

func TestKeysListsNewestFirst(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, first, _ := newTenant(t, s)
	newTenant(t, s)
	want := []engine.Key{first}
	for i := range 9 {
		k := newKey(tenant.ID)
		k.Name, k.CreatedAt = name(i), start.Add(time.Duration(i/2+1)*time.Second) // pairs of the same age
		if i%3 == 0 {
			k.Environment = engine.Test
		}
		if err := s.CreateKey(t.Context(), k, newDigest()); err != nil {
			t.Fatal(err)
		}
		want = append(want, k)
	}
	sortNewest(want, func(k engine.Key) (time.Time, string) { return k.CreatedAt, k.ID })
	both := engine.Live.Visible()
	checkPages(t, want, func(p engine.Page) ([]engine.Key, int, error) { return s.Keys(t.Context(), tenant.ID, both, p) })
	want = only(want, func(k engine.Key) bool { return k.Environment == engine.Test })
	checkPages(t, want, func(p engine.Page) ([]engine.Key, int, error) {
		return s.Keys(t.Context(), tenant.ID, engine.Test.Visible(), p)
	})
	checkPages(t, nil, func(p engine.Page) ([]engine.Key, int, error) { return s.Keys(t.Context(), tenant.ID, nil, p) })
}

func TestUpdateKey(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	_, key, _ := newTenant(t, s)
	ptr := func(k engine.Key) *engine.Key { return &k }
	state := ptr(key)
	for _, step := range []struct {
		name   string
		change engine.KeyChange
		apply  func(*engine.Key)
	}{
		{"nothing", engine.KeyChange{}, func(*engine.Key) {}},
		{"name", engine.KeyChange{Name: ref("new")}, func(k *engine.Key) { k.Name = "new" }},
		{"disable", engine.KeyChange{Active: ref(false)}, func(k *engine.Key) { k.Active = false }},
		{"enable", engine.KeyChange{Active: ref(true)}, func(k *engine.Key) { k.Active = true }},
		{"limit", engine.KeyChange{RateLimit: ref(int64(5))}, func(k *engine.Key) { k.RateLimit = 5 }},
		{"expiry", engine.KeyChange{ExpiresAt: ref(start.Add(time.Hour))}, func(k *engine.Key) { k.ExpiresAt = start.Add(time.Hour) }},
		{"keeps expiry", engine.KeyChange{Name: ref("newer")}, func(k *engine.Key) { k.Name = "newer" }},
		{"no expiry", engine.KeyChange{ExpiresAt: ref(time.Time{})}, func(k *engine.Key) { k.ExpiresAt = time.Time{} }},
		{"scopes", engine.KeyChange{Scopes: ref(engine.Scopes{"keys:read"})}, func(k *engine.Key) { k.Scopes = engine.Scopes{"keys:read"} }},
		{"no scopes", engine.KeyChange{Scopes: ref(engine.Scopes(nil))}, func(k *engine.Key) { k.Scopes = engine.Scopes{} }},
		{"metadata", engine.KeyChange{Metadata: ref(map[string]any{"x": "y"})}, func(k *engine.Key) { k.Metadata = map[string]any{"x": "y"} }},
		{"no metadata", engine.KeyChange{Metadata: ref(map[string]any(nil))}, func(k *engine.Key) { k.Metadata = map[string]any{} }},
	} {
		step.apply(state)
		got, err := s.UpdateKey(t.Context(), key.TenantID, key.ID, step.change)
		if err != nil || !reflect.DeepEqual(got, *state) {
			t.Errorf("%s: got %+v, %v; want %+v", step.name, got, err, *state)
		}
		if read := must[engine.Key](t)(s.Key(t.Context(), key.TenantID, key.ID)); !reflect.DeepEqual(read, *state) {
			t.Errorf("%s: reads as %+v, want %+v", step.name, read, *state)
		}
	}
	if _, err := s.UpdateKey(t.Context(), key.TenantID, key.ID, engine.KeyChange{RateLimit: ref(int64(0))}); err == nil {
		t.Error("a limit of 0 was taken")
	}
}

func TestDeleteKeyDeletesItsSecrets(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenant, key, digest := newTenant(t, s)
	rotated := newDigest()
	must[engine.Key](t)(s.RotateKey(t.Context(), tenant.ID, key.ID, rotated, start.Add(time.Hour)))
	if err := s.DeleteKey(t.Context(), tenant.ID, key.ID); err != nil {
		t.Fatal(err)
	}
	for _, d := range []engine.Digest{digest, rotated} {
		if _, err := s.FindKey(t.Context(), d); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("got %v, want %v", err, engine.ErrNotFound)
		}
	}
	if left := dump(t, pool(t, u), "secrets", ""); left != "" {
		t.Error("a secret is left")
	}
	if err := s.DeleteKey(t.Context(), tenant.ID, key.ID); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("again: got %v, want %v", err, engine.ErrNotFound)
	}
}

func TestKeysThatDoNotExist(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, _, _ := newTenant(t, s)
	_, foreign, _ := newTenant(t, s)
	for _, id := range []string{"", "key_", engine.NewKeyID(), foreign.ID, "key_ABCDEFGHIJKLMNOPQRSTUVWX", "key_\x00", "' OR 1=1"} {
		for what, call := range map[string]func() error{
			"read":   func() error { _, err := s.Key(t.Context(), tenant.ID, id); return err },
			"update": func() error { _, err := s.UpdateKey(t.Context(), tenant.ID, id, engine.KeyChange{}); return err },
			"delete": func() error { return s.DeleteKey(t.Context(), tenant.ID, id) },
			"rotate": func() error { _, err := s.RotateKey(t.Context(), tenant.ID, id, newDigest(), start); return err },
		} {
			if err := call(); !errors.Is(err, engine.ErrNotFound) {
				t.Errorf("%s %q: got %v, want %v", what, id, err, engine.ErrNotFound)
			}
		}
	}
}

func TestRotateKeyEndsOlderSecrets(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	for name, c := range map[string]struct {
		expires   time.Time
		rotations []time.Time // oldEnds of each
		want      []time.Time // NotAfter of each secret, the first one's first
	}{
		"at once":                  {time.Time{}, []time.Time{start}, []time.Time{start, {}}},
		"with grace":               {time.Time{}, []time.Time{at(time.Hour)}, []time.Time{at(time.Hour), {}}},
		"grace past the expiry":    {at(time.Minute), []time.Time{at(time.Hour)}, []time.Time{at(time.Minute), {}}},
		"grace before the expiry":  {at(time.Hour), []time.Time{at(time.Minute)}, []time.Time{at(time.Minute), {}}},
		"never later than before":  {time.Time{}, []time.Time{at(0), at(time.Hour)}, []time.Time{at(0), at(time.Hour), {}}},
		"sooner than before":       {time.Time{}, []time.Time{at(time.Hour), at(time.Minute)}, []time.Time{at(time.Minute), at(time.Minute), {}}},
		"three, expiry in between": {at(2 * time.Hour), []time.Time{at(3 * time.Hour), at(time.Hour), at(4 * time.Hour)}, []time.Time{at(time.Hour), at(time.Hour), at(2 * time.Hour), {}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tenant, _, _ := newTenant(t, s)
			key, digests := newKey(tenant.ID), []engine.Digest{newDigest()}
			key.ExpiresAt = c.expires
			if err := s.CreateKey(t.Context(), key, digests[0]); err != nil {
				t.Fatal(err)
			}
			for _, oldEnds := range c.rotations {
				d := newDigest()
				got, err := s.RotateKey(t.Context(), tenant.ID, key.ID, d, oldEnds)
				if err != nil || !reflect.DeepEqual(got, key) {
					t.Fatalf("got %+v, %v; want %+v", got, err, key)
				}
				digests = append(digests, d)
			}
			for i, d := range digests {
				identity := must[*engine.Identity](t)(s.FindKey(t.Context(), d))
				if !identity.NotAfter.Equal(c.want[i]) || identity.Key.ID != key.ID || identity.Digest != d {
					t.Errorf("secret %d of key %s ends %v, want %v", i, identity.Key.ID, identity.NotAfter, c.want[i])
				}
			}
		})
	}
}

func TestRotateKeyRefusesASecretInUse(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, digest := newTenant(t, s)
	if _, err := s.RotateKey(t.Context(), tenant.ID, key.ID, digest, start); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("got %v, want %v", err, engine.ErrConflict)
	}
	if identity := must[*engine.Identity](t)(s.FindKey(t.Context(), digest)); !identity.NotAfter.IsZero() {
		t.Errorf("the secret ends %v although the rotation failed", identity.NotAfter)
	}
}

func TestConcurrentRotationsLeaveOneSecret(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, first := newTenant(t, s)
	digests := []engine.Digest{first}
	for range 12 {
		digests = append(digests, newDigest())
	}
	var wg sync.WaitGroup
	for _, d := range digests[1:] {
		wg.Go(func() {
			if _, err := s.RotateKey(t.Context(), tenant.ID, key.ID, d, start); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	good := 0
	for _, d := range digests {
		if must[*engine.Identity](t)(s.FindKey(t.Context(), d)).NotAfter.IsZero() {
			good++
		}
	}
	if good != 1 {
		t.Errorf("%d secrets are good, want 1", good)
	}
}

func TestFindKey(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenant, key, digest := newTenant(t, s)
	find := func() *engine.Identity {
		t.Helper()
		return must[*engine.Identity](t)(s.FindKey(t.Context(), digest))
	}
	if got := find(); !reflect.DeepEqual(*got.Key, key) || *got.Tenant != tenant || got.Digest != digest || !got.NotAfter.IsZero() {
		t.Errorf("got key %+v of tenant %+v until %v", got.Key, got.Tenant, got.NotAfter)
	}
	must[engine.Key](t)(s.UpdateKey(t.Context(), tenant.ID, key.ID, engine.KeyChange{Active: ref(false), ExpiresAt: ref(start)}))
	if got := find(); got.Key.Active || !got.Key.ExpiresAt.Equal(start) {
		t.Errorf("a disabled, expired key is found as %+v", got.Key)
	}
	must[engine.Tenant](t)(s.SetTenantActive(t.Context(), tenant.ID, false))
	if got := find(); got.Tenant.Active {
		t.Error("a disabled tenant is found active")
	}
	for _, unknown := range []engine.Digest{newDigest(), {}} {
		if _, err := s.FindKey(t.Context(), unknown); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("got %v, want %v", err, engine.ErrNotFound)
		}
	}
}

func TestPlatformKeys(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	key, digest := newKey(engine.PlatformTenantID), newDigest()
	key.Scopes = engine.Scopes{"*", "tenants:*", "policies:*"}
	if err := s.CreateKey(t.Context(), key, digest); err != nil {
		t.Fatal(err)
	}
	if got := must[*engine.Identity](t)(s.FindKey(t.Context(), digest)); got.Tenant.ID != engine.PlatformTenantID || !got.Tenant.Active {
		t.Errorf("found tenant %+v", got.Tenant)
	}
}
