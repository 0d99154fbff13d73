package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// keyInfo is a key as the API shows it.
type keyInfo struct {
	KeyID       string         `json:"key_id"`
	APIKey      string         `json:"api_key"` // in the answers that create or rotate it
	TenantID    string         `json:"tenant_id"`
	Name        string         `json:"name"`
	Environment string         `json:"environment"`
	IsActive    bool           `json:"is_active"`
	RateLimit   int64          `json:"rate_limit"`
	Scopes      []string       `json:"scopes"`
	Metadata    map[string]any `json:"metadata"`
	CreatedAt   time.Time      `json:"created_at"`
	ExpiresAt   *time.Time     `json:"expires_at"`
	LastUsedAt  *time.Time     `json:"last_used_at"`
	UsageCount  int64          `json:"usage_count"`
}

type keyList struct {
	Keys  []keyInfo `json:"keys"`
	Total int       `json:"total"`
}

// newKey makes a key of the client's tenant.
func (c *client) newKey(settings map[string]any) keyInfo {
	c.t.Helper()
	if settings == nil {
		settings = map[string]any{}
	}
	if settings["name"] == nil {
		settings["name"] = "Key of a test"
	}
	var made keyInfo
	c.post("/v1/keys", settings).want(http.StatusCreated).into(&made)
	return made
}

// keyInfo reads a key.
func (c *client) keyInfo(id string) keyInfo {
	c.t.Helper()
	var info keyInfo
	c.get("/v1/keys/" + id).want(http.StatusOK).into(&info)
	return info
}

func TestKeyCreation(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Creation")

	a := c.post("/v1/keys", map[string]any{"name": "Plain"}).want(http.StatusCreated)
	if names := orderedNames(t, a.body); !slices.Equal(names, []string{"key_id", "api_key", "tenant_id", "name", "rate_limit", "expires_at", "created_at"}) {
		t.Errorf("a creation without optional fields is answered with %v", names)
	}
	var plain keyInfo
	a.into(&plain)
	if plain.RateLimit != 1000 || plain.ExpiresAt != nil || plain.TenantID != c.tenant || plain.Name != "Plain" {
		t.Errorf("defaults: %s", redact(a.body))
	}
	if !regexp.MustCompile(`^twyn_live_[0-9a-f]{64}$`).MatchString(plain.APIKey) || !regexp.MustCompile(`^key_[a-z0-9]{24}$`).MatchString(plain.KeyID) {
		t.Errorf("formats: %s", redact(a.body))
	}

	settings := map[string]any{
		"name": "Full", "rate_limit": 1_000_000, "expires_in_days": 3650, "environment": "test",
		"scopes": []string{"keys:read", "scenarios:*"}, "metadata": map[string]any{"team": "a", "n": 1},
	}
	a = c.post("/v1/keys", settings).want(http.StatusCreated)
	if names := orderedNames(t, a.body); !slices.Equal(names[7:], []string{"environment", "scopes", "metadata"}) {
		t.Errorf("a creation with optional fields is answered with %v", names)
	}
	var full keyInfo
	a.into(&full)
	if want := full.CreatedAt.Add(3650 * 24 * time.Hour); full.ExpiresAt == nil || !full.ExpiresAt.Equal(want) {
		t.Errorf("expires_at %v; want %v", full.ExpiresAt, want)
	}
	if !strings.HasPrefix(full.APIKey, "twyn_test_") {
		t.Error("a test key does not begin with twyn_test_")
	}
	info := c.keyInfo(full.KeyID)
	if info.Environment != "test" || info.RateLimit != 1_000_000 || !slices.Equal(info.Scopes, []string{"keys:read", "scenarios:*"}) ||
		info.Metadata["team"] != "a" || !info.IsActive || info.LastUsedAt != nil || info.UsageCount != 0 {
		t.Errorf("stored: %+v", info)
	}
	if body := c.get("/v1/keys/" + full.KeyID).body; apiKeyPattern.Match(body) {
		t.Error("GET shows the secret")
	}
}

func TestKeyList(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "List")
	for i := range 5 {
		c.newKey(map[string]any{"name": fmt.Sprintf("key %d", i)})
	}
	names := func(query string) (names []string, total int) {
		var list keyList
		c.get("/v1/keys" + query).want(http.StatusOK).into(&list)
		for _, k := range list.Keys {
			names = append(names, k.Name)
		}
		return names, list.Total
	}
	all := []string{"key 4", "key 3", "key 2", "key 1", "key 0", "First key"}
	for query, want := range map[string][]string{
		"": all, "?limit=1000": all, "?limit=2": all[:2], "?limit=2&offset=1": all[1:3], "?offset=5": all[5:], "?offset=6": nil,
	} {
		if got, total := names(query); !slices.Equal(got, want) || total != len(all) {
			t.Errorf("GET /v1/keys%s = %v of %d; want %v of %d", query, got, total, want, len(all))
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1001", "?limit=x", "?limit=", "?offset=-1", "?offset=1.5", "?limit=1&limit=2", "?lmit=1"} {
		c.do(call{method: "GET", path: "/v1/keys" + query, bad: true}).want(http.StatusUnprocessableEntity)
	}
}

func TestKeyUpdateActsAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Update")
	made := c.newKey(nil)
	user := c.with(made.APIKey)
	path := "/v1/keys/" + made.KeyID
	user.get("/v1/scenarios").want(http.StatusOK)

	var info keyInfo
	c.patch(path, map[string]any{"name": "Renamed", "is_active": false}).want(http.StatusOK).into(&info)
	if info.Name != "Renamed" || info.IsActive || info.UsageCount != 1 {
		t.Errorf("after disabling: %+v", info)
	}
	user.get("/v1/scenarios").want(http.StatusUnauthorized)
	c.patch(path, map[string]any{"is_active": true}).want(http.StatusOK)
	user.get("/v1/scenarios").want(http.StatusOK)
	if info = c.keyInfo(made.KeyID); info.UsageCount != 2 || info.Name != "Renamed" {
		t.Errorf("a disabled key did not keep its history: %+v", info)
	}

	c.patch(path, map[string]any{"scopes": []string{"keys:read"}}).want(http.StatusOK)
	user.get("/v1/scenarios").wantDetail(http.StatusForbidden, "Access denied: scope scenarios:read is required")
	c.patch(path, map[string]any{"scopes": []string{"*"}, "metadata": map[string]any{"a": nil}}).want(http.StatusOK)
	user.get("/v1/scenarios").want(http.StatusOK)

	ends := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	c.patch(path, map[string]any{"expires_at": ends.Format(time.RFC3339Nano)}).want(http.StatusOK).into(&info)
	if info.ExpiresAt == nil || !info.ExpiresAt.Equal(ends) {
		t.Errorf("expires_at %v; want %v", info.ExpiresAt, ends)
	}
	info = keyInfo{}
	c.patch(path, map[string]any{"expires_at": nil}).want(http.StatusOK).into(&info)
	if info.ExpiresAt != nil {
		t.Errorf("expires_at %v; want null", info.ExpiresAt)
	}
	before := c.get(path).body
	c.patch(path, map[string]any{}).want(http.StatusOK)
	if after := c.get(path).body; string(after) != string(before) {
		t.Errorf("an empty PATCH changed %s to %s", before, after)
	}
	c.patch(path, map[string]any{"expires_at": "2001-01-01T00:00:00Z"}).want(http.StatusUnprocessableEntity)

	c.delete(path).wantBody(http.StatusNoContent, "")
	user.get("/v1/scenarios").want(http.StatusUnauthorized)
	c.get(path).wantDetail(http.StatusNotFound, "Key with ID "+made.KeyID+" not found")
	c.delete(path).want(http.StatusNotFound)
}

func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Rotation")
	first := c.newKey(map[string]any{"expires_in_days": 1, "rate_limit": 50})
	works := func(key string, status int) {
		t.Helper()
		c.with(key).get("/v1/scenarios").want(status)
	}
	rotate := func(body any) keyInfo {
		t.Helper()
		var made keyInfo
		c.post("/v1/keys/"+first.KeyID+"/rotate", body).want(http.StatusOK).into(&made)
		if made.KeyID != first.KeyID || made.APIKey == first.APIKey || made.RateLimit != 50 || !made.ExpiresAt.Equal(*first.ExpiresAt) {
			t.Errorf("rotation changed the key: %+v", made.KeyID)
		}
		return made
	}
	works(first.APIKey, http.StatusOK)
	second := rotate(nil)
	works(first.APIKey, http.StatusUnauthorized)
	works(second.APIKey, http.StatusOK)

	third := rotate(map[string]any{"grace_period_seconds": 600})
	works(second.APIKey, http.StatusOK)
	works(third.APIKey, http.StatusOK)

	// A grace never outlives the key, and a rotation never makes a key that
	// has an end live on.
	fourth := rotate(map[string]any{"grace_period_seconds": 30 * 24 * 3600})
	works(third.APIKey, http.StatusOK)
	if late := s.queryInt(t, `SELECT count(*) FROM secrets s JOIN keys k ON k.id = s.key_id WHERE s.key_id = $1 AND s.ends_at > k.expires_at`, first.KeyID); late != 0 {
		t.Errorf("%d secrets end after their key", late)
	}
	c.patch("/v1/keys/"+first.KeyID, map[string]any{"is_active": false}).want(http.StatusOK)
	for _, key := range []string{second.APIKey, third.APIKey, fourth.APIKey} {
		works(key, http.StatusUnauthorized)
	}
	c.do(call{method: "POST", path: "/v1/keys/" + first.KeyID + "/rotate", body: `{"grace_period_seconds":-1}`, bad: true}).
		want(http.StatusUnprocessableEntity)
}

// TestKeyNeverGrantsMoreThanItsCreator covers creating, changing and rotating.
func TestKeyNeverGrantsMoreThanItsCreator(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Scopes")
	broad := owner.newKey(nil)
	limited := owner.with(owner.newKey(map[string]any{"scopes": []string{"keys:*", "scenarios:read"}}).APIKey)
	for _, scopes := range [][]string{{"*"}, {"scenarios:write"}, {"scenarios:*"}, {"keys:read", "simulations:read"}} {
		limited.post("/v1/keys", map[string]any{"name": "more", "scopes": scopes}).want(http.StatusForbidden)
	}
	heir := limited.newKey(nil)
	if info := owner.keyInfo(heir.KeyID); !slices.Equal(info.Scopes, []string{"keys:*", "scenarios:read"}) {
		t.Errorf("a key made without scopes holds %v", info.Scopes)
	}
	limited.patch("/v1/keys/"+heir.KeyID, map[string]any{"scopes": []string{"*"}}).want(http.StatusForbidden)
	limited.post("/v1/keys/"+broad.KeyID+"/rotate", nil).want(http.StatusForbidden)
	for _, scope := range []string{"tenants:read", "tenants:*", "policies:write"} {
		owner.post("/v1/keys", map[string]any{"name": "operator", "scopes": []string{scope}}).want(http.StatusForbidden)
	}
	owner.with(broad.APIKey).get("/v1/keys").want(http.StatusOK)
}

// TestKeyUsageIsExact: what passed is counted, once, and nothing else.
func TestKeyUsageIsExact(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Usage")
	made := owner.newKey(map[string]any{"scopes": []string{"scenarios:*"}})
	user := owner.with(made.APIKey)
	before := time.Now().Truncate(time.Microsecond)
	for range 3 {
		user.get("/v1/scenarios").want(http.StatusOK)
	}
	user.get("/v1/keys").want(http.StatusForbidden)                                       // not counted
	user.get("/v1/scenarios/no-such-id").want(http.StatusNotFound)                        // counted
	user.do(call{method: "POST", path: "/v1/scenarios", body: `{}`, bad: true}).want(422) // counted
	check := func() {
		t.Helper()
		info := owner.keyInfo(made.KeyID)
		if info.UsageCount != 5 || info.LastUsedAt == nil || info.LastUsedAt.Before(before) || info.LastUsedAt.After(time.Now()) {
			t.Errorf("usage_count %d, last_used_at %v; want 5, since %v", info.UsageCount, info.LastUsedAt, before)
		}
	}
	check()
	s.restart()
	check()
}
