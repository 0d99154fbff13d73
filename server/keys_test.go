package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

// TestCreateKeyAsDocumented holds the creation of a key to the bytes that the
// documentation shows.
func TestCreateKeyAsDocumented(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("your-tenant-id")
	a := w.do("POST", "/v1/keys", secret, `{"name":"Development Server","rate_limit":500,"expires_in_days":90}`).want(t, 201, "…")
	want := `{"key_id":"` + a.field(t, "key_id") + `","api_key":"` + a.field(t, "api_key") + `","tenant_id":"your-tenant-id",` +
		`"name":"Development Server","rate_limit":500,"expires_at":"2026-02-22T01:00:00Z","created_at":"2025-11-24T01:00:00Z"}`
	if a.body != want {
		t.Errorf("got  %s\nwant %s", a.body, want)
	}
	if env, ok := engine.ParseCredential(engine.Credential(a.field(t, "api_key"))); !ok || env != engine.Live {
		t.Error("the new key is not a live key in the documented format")
	}
	w.clock.Advance(time.Minute)
	made := engine.Credential(a.field(t, "api_key"))
	w.do("GET", "/v1/keys", made, "").want(t, 200, "…")
	w.clock.Advance(time.Second)
	info := w.do("GET", "/v1/keys/"+a.field(t, "key_id"), made, "").want(t, 200, "…")
	want = `{"key_id":"` + a.field(t, "key_id") + `","tenant_id":"your-tenant-id","name":"Development Server","environment":"live",` +
		`"is_active":true,"rate_limit":500,"scopes":["*"],"metadata":{},"created_at":"2025-11-24T01:00:00Z",` +
		`"expires_at":"2026-02-22T01:00:00Z","last_used_at":"2025-11-24T01:01:01Z","usage_count":2}`
	if info.body != want {
		t.Errorf("got  %s\nwant %s", info.body, want)
	}
}

// TestCreateKeyEchoesWhatWasAsked checks that optional fields come back if and
// only if the request named them.
func TestCreateKeyEchoesWhatWasAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	for body, want := range map[string]string{
		`{"name":"x","environment":"test"}`:                                                    `"created_at":"2025-11-24T01:00:00Z","environment":"test"}`,
		`{"name":"x","scopes":["keys:read","keys:write"]}`:                                     `"created_at":"2025-11-24T01:00:00Z","scopes":["keys:read","keys:write"]}`,
		`{"name":"x","metadata":{"a":[1.50,"<&>",{}]}}`:                                        `"created_at":"2025-11-24T01:00:00Z","metadata":{"a":[1.50,"<&>",{}]}}`,
		`{"name":"x","metadata":{}}`:                                                           `"created_at":"2025-11-24T01:00:00Z","metadata":{}}`,
		`{"name":"x","expires_in_days":null,"environment":null,"scopes":null,"metadata":null}`: `"rate_limit":1000,"expires_at":null,"created_at":"2025-11-24T01:00:00Z"}`,
	} {
		if a := w.do("POST", "/v1/keys", secret, body).want(t, 201, "…"); !strings.HasSuffix(a.body, want) {
			t.Errorf("%s gives %s; want it to end in %s", body, a.body, want)
		}
	}
}

// TestNewKeyRights checks that a key never has more rights than its creator.
func TestNewKeyRights(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tenant("ten_a")
	creator := func(env engine.Environment, scopes ...string) engine.Credential {
		return w.key(engine.Key{TenantID: "ten_a", Environment: env, Scopes: scopes})
	}
	operator := w.operator()
	for _, tt := range []struct {
		name   string
		secret engine.Credential
		body   string
		status int
		want   string
	}{
		{"live makes live", creator(engine.Live, "*"), `{"name":"x","environment":"live"}`, 201, "…"},
		{"live makes test", creator(engine.Live, "*"), `{"name":"x","environment":"test"}`, 201, "…"},
		{"test makes test", creator(engine.Test, "*"), `{"name":"x","environment":"test"}`, 201, "…"},
		{"test makes live", creator(engine.Test, "*"), `{"name":"x","environment":"live"}`, 403, `{"detail":"Access denied: a test key cannot create a live key"}`},
		{"all makes some", creator(engine.Live, "*"), `{"name":"x","scopes":["keys:read"]}`, 201, "…"},
		{"some makes all", creator(engine.Live, "keys:*"), `{"name":"x","scopes":["*"]}`, 403, `{"detail":"Access denied: scope * is required"}`},
		{"some makes other", creator(engine.Live, "keys:*"), `{"name":"x","scopes":["keys:read","scenarios:read"]}`, 403, `{"detail":"Access denied: scope scenarios:read is required"}`},
		{"all makes operator", creator(engine.Live, "*"), `{"name":"x","scopes":["tenants:read"]}`, 403, `{"detail":"Access denied: scope tenants:read is required"}`},
		{"stray operator scope", creator(engine.Live, "*", "tenants:*"), `{"name":"x"}`, 403, `{"detail":"Access denied: scope tenants:* is for operators only"}`},
		{"operator makes operator", operator, `{"name":"x","scopes":["tenants:read"]}`, 201, "…"},
		{"no right to make", creator(engine.Live, "keys:read"), `{"name":"x"}`, 403, `{"detail":"Access denied: scope keys:write is required"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w.do("POST", "/v1/keys", tt.secret, tt.body).want(t, tt.status, tt.want)
		})
	}
}

// TestKeyRightsOnChange checks that changing or rotating a key is no way
// around the rule of its creation.
func TestKeyRightsOnChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tenant("ten_a")
	strong := w.key(engine.Key{ID: "key_aaaaaaaaaaaaaaaaaaaaaaaa", TenantID: "ten_a", Scopes: engine.Scopes{"*"}})
	weak := w.key(engine.Key{ID: "key_bbbbbbbbbbbbbbbbbbbbbbbb", TenantID: "ten_a", Scopes: engine.Scopes{"keys:*"}})
	const strongPath, weakPath = "/v1/keys/key_aaaaaaaaaaaaaaaaaaaaaaaa", "/v1/keys/key_bbbbbbbbbbbbbbbbbbbbbbbb"
	w.do("PATCH", weakPath, weak, `{"scopes":["*"]}`).want(t, 403, `{"detail":"Access denied: scope * is required"}`)
	w.do("POST", strongPath+"/rotate", weak, ``).want(t, 403, `{"detail":"Access denied: scope * is required"}`)
	w.do("GET", "/v1/keys", strong, "").want(t, 200, "…")
	w.do("POST", weakPath+"/rotate", strong, ``).want(t, 200, "…")
	w.do("GET", "/v1/keys", weak, "").want(t, 401, unauthorised)
}

func TestUpdateKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	id := w.create("/v1/keys", secret, `{"name":"x","metadata":{"a":1}}`)
	for _, tt := range []struct{ body, field, want string }{
		{`{}`, "name", "x"},
		{`{"name":"Production Server (Updated)"}`, "name", "Production Server (Updated)"},
		{`{"is_active":false}`, "is_active", "false"},
		{`{"is_active":true,"rate_limit":7}`, "rate_limit", "7"},
		{`{"expires_at":"2026-01-01T01:00:00.5+01:00"}`, "expires_at", "2026-01-01T00:00:00.5Z"},
		{`{"expires_at":null}`, "expires_at", "<nil>"},
		{`{"scopes":["keys:read"]}`, "scopes", "[keys:read]"},
		{`{"metadata":{}}`, "metadata", "map[]"},
	} {
		if a := w.do("PATCH", "/v1/keys/"+id, secret, tt.body).want(t, 200, "…"); a.field(t, tt.field) != tt.want {
			t.Errorf("%s gives %s; want %s %s", tt.body, a.body, tt.field, tt.want)
		}
	}
}

// TestRevocation checks that what a change takes away is gone when the change
// has answered, although the key was cached.
func TestRevocation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	fresh := func() (id string, key engine.Credential) {
		a := w.do("POST", "/v1/keys", secret, `{"name":"x"}`).want(t, 201, "…")
		key = engine.Credential(a.field(t, "api_key"))
		w.do("GET", "/v1/scenarios", key, "").want(t, 200, "…")
		return a.field(t, "key_id"), key
	}
	id, key := fresh()
	w.do("PATCH", "/v1/keys/"+id, secret, `{"is_active":false}`).want(t, 200, "…")
	w.do("GET", "/v1/scenarios", key, "").want(t, 401, unauthorised)
	w.do("PATCH", "/v1/keys/"+id, secret, `{"is_active":true}`).want(t, 200, "…")
	w.do("GET", "/v1/scenarios", key, "").want(t, 200, "…")
	w.do("PATCH", "/v1/keys/"+id, secret, `{"scopes":["keys:read"]}`).want(t, 200, "…")
	w.do("GET", "/v1/scenarios", key, "").want(t, 403, `{"detail":"Access denied: scope scenarios:read is required"}`)
	w.do("DELETE", "/v1/keys/"+id, secret, "").want(t, 204, "")
	w.do("GET", "/v1/scenarios", key, "").want(t, 401, unauthorised)
	w.do("GET", "/v1/keys/"+id, secret, "").want(t, 404, `{"detail":"Key with ID `+id+` not found"}`)

	id, key = fresh()
	rotated := w.do("POST", "/v1/keys/"+id+"/rotate", secret, `{"grace_period_seconds":60}`).want(t, 200, "…")
	newer := engine.Credential(rotated.field(t, "api_key"))
	w.do("GET", "/v1/scenarios", key, "").want(t, 200, "…")
	w.do("GET", "/v1/scenarios", newer, "").want(t, 200, "…")
	w.clock.Advance(time.Minute)
	w.do("GET", "/v1/scenarios", key, "").want(t, 401, unauthorised)
	w.do("POST", "/v1/keys/"+id+"/rotate", newer, "").want(t, 200, "…")
	w.do("GET", "/v1/scenarios", newer, "").want(t, 401, unauthorised)

	id, key = fresh()
	w.do("DELETE", "/v1/keys/"+id, key, "").want(t, 204, "")
	w.do("DELETE", "/v1/keys/"+id, key, "").want(t, 401, unauthorised)
}

func TestListKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	w.tenant("ten_b")
	tester := w.key(engine.Key{TenantID: "ten_a", Environment: engine.Test, Scopes: engine.Scopes{"*"}})
	for i := range 5 {
		w.clock.Advance(time.Second)
		w.create("/v1/keys", secret, fmt.Sprintf(`{"name":"%d"}`, i))
	}
	names := func(secret engine.Credential, query string) (string, int) {
		var list struct {
			Keys  []struct{ Name string }
			Total int
		}
		if err := json.Unmarshal([]byte(w.do("GET", "/v1/keys"+query, secret, "").want(t, 200, "…").body), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, k := range list.Keys {
			names = append(names, k.Name)
		}
		return strings.Join(names, " "), list.Total
	}
	for _, tt := range []struct {
		secret engine.Credential
		query  string
		want   string
		total  int
	}{
		{secret, "?limit=3", "4 3 2", 7},
		{secret, "?limit=2&offset=1", "3 2", 7},
		{secret, "?offset=100", "", 7},
		{tester, "", "Key", 1},
	} {
		if got, total := names(tt.secret, tt.query); got != tt.want || total != tt.total {
			t.Errorf("GET /v1/keys%s = %q of %d; want %q of %d", tt.query, got, total, tt.want, tt.total)
		}
	}
	if got, _ := names(secret, ""); !strings.HasPrefix(got, "4 3 2 1 0 ") {
		t.Errorf("GET /v1/keys = %q; want all, newest first", got)
	}
}
