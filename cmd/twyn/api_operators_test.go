package main_test

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// tenantInfo is a tenant as operators see it.
type tenantInfo struct {
	TenantID string `json:"tenant_id"`
	Name     string `json:"name"`
	IsActive bool   `json:"is_active"`
}

func TestOperators(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	operator := s.as(t, s.operatorKey())
	a := operator.post("/v1/tenants", map[string]any{"name": "Made by API"}).want(http.StatusCreated)
	var made madeTenant
	a.into(&made)
	tenant := operator.with(made.APIKey)
	if info := tenant.keyInfo(made.KeyID); !slices.Equal(info.Scopes, []string{"*"}) || info.Environment != "live" || info.TenantID != made.TenantID {
		t.Errorf("the first key of a tenant: %+v", info)
	}
	path := "/v1/tenants/" + made.TenantID
	var info tenantInfo
	operator.get(path).want(http.StatusOK).into(&info)
	if info != (tenantInfo{made.TenantID, "Made by API", true}) {
		t.Errorf("read %+v", info)
	}
	var list page[tenantInfo]
	operator.get("/v1/tenants?limit=1").want(http.StatusOK).into(&list)
	if list.Limit != 1 || len(list.Items) != 1 || list.Items[0] != info || list.Total < 2 {
		t.Errorf("the newest tenant of the list: %+v", list)
	}

	operator.patch(path, map[string]any{"is_active": false}).want(http.StatusOK).into(&info)
	if info.IsActive {
		t.Error("a disabled tenant is shown as active")
	}
	tenant.get("/v1/keys").wantDetail(http.StatusForbidden, "Access denied: tenant is disabled")
	tenant.post("/v1/keys", map[string]any{"name": "k"}).want(http.StatusForbidden)
	operator.patch(path, map[string]any{"is_active": true}).want(http.StatusOK)
	tenant.get("/v1/keys").want(http.StatusOK)
	operator.patch("/v1/tenants/platform", map[string]any{"is_active": false}).want(http.StatusConflict)
	operator.get("/v1/tenants").want(http.StatusOK)

	// Operators manage tenants; what belongs to a tenant stays its own.
	operator.get("/v1/keys/"+made.KeyID).wantDetail(http.StatusForbidden, "Access denied: key belongs to different tenant")
	operator.delete("/v1/keys/" + made.KeyID).want(http.StatusForbidden)
	scenario := tenant.newScenario("private")
	operator.get("/v1/scenarios/"+scenario.ID).wantDetail(http.StatusForbidden, "Access denied: scenario belongs to different tenant")
}

// TestOnlyOperatorsReachTenants: not with "*", and not with an operator's
// scope in the wrong tenant.
func TestOnlyOperatorsReachTenants(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Ambitious")
	forged := c.newKey(nil)
	s.execute(t, `UPDATE keys SET scopes = '{*,tenants:*,policies:*}' WHERE id = $1`, forged.KeyID)
	for _, key := range []string{c.key, forged.APIKey} {
		for _, o := range []call{
			{method: "GET", path: "/v1/tenants"},
			{method: "POST", path: "/v1/tenants", body: `{"name":"x"}`},
			{method: "GET", path: "/v1/tenants/platform"},
			{method: "GET", path: "/v1/tenants/" + c.tenant},
			{method: "PATCH", path: "/v1/tenants/" + c.tenant, body: `{"is_active":false}`},
			{method: "PATCH", path: "/v1/tenants/platform", body: `{"is_active":false}`},
		} {
			a := c.with(key).do(o)
			if a.status != http.StatusForbidden || !isDetail(a.body) {
				t.Errorf("%s %s: answered %d %s", o.method, o.path, a.status, a.body)
			}
		}
	}
	// An operator's key may do only what its scopes say.
	operator := s.as(t, s.operatorKey())
	reader := operator.with(operator.newKey(map[string]any{"scopes": []string{"tenants:read"}}).APIKey)
	reader.get("/v1/tenants").want(http.StatusOK)
	reader.post("/v1/tenants", map[string]any{"name": "x"}).wantDetail(http.StatusForbidden, "Access denied: scope tenants:write is required")
	plain := operator.with(operator.newKey(map[string]any{"scopes": []string{"*"}}).APIKey)
	plain.get("/v1/tenants").wantDetail(http.StatusForbidden, "Access denied: scope tenants:read is required")
}

// TestCommandLineReachesTheRunningServer: what an operator changes from a
// terminal acts on a server that is running, whose caches know the old state.
func TestCommandLineReachesTheRunningServer(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Remote")
	other := c.with(c.newKey(nil).APIKey)
	await := func(user *client, status int) {
		t.Helper()
		deadline := time.Now().Add(startTimeout)
		for user.get("/v1/scenarios").status != status {
			if time.Now().After(deadline) {
				t.Fatalf("the server does not come to answer %d", status)
			}
		}
	}
	await(other, http.StatusOK)
	s.twyn("tenant", "disable", c.tenant, "--json")
	await(other, http.StatusForbidden)
	s.twyn("tenant", "enable", c.tenant, "--json")
	await(other, http.StatusOK)
	var list keyList
	c.get("/v1/keys").want(http.StatusOK).into(&list)
	s.twyn("key", "revoke", list.Keys[0].KeyID, "--json")
	await(other, http.StatusUnauthorized)
	c.get("/v1/keys").want(http.StatusOK)
}
