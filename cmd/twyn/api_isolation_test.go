package main_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestTenantIsolation: tenant B asks for each of tenant A's resources by each
// method, and gets the contract's sentence; nothing changes in the database,
// not even what B has used. What is written down is that B was refused, in B's
// own decision log.
func TestTenantIsolation(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	a := s.newTenant(t, "Tenant A")
	b := s.newTenant(t, "Tenant B")
	testKey := b.with(b.newKey(map[string]any{"environment": "test"}).APIKey)
	powerless := b.with(b.newKey(map[string]any{"scopes": []string{"traces:read"}}).APIKey)

	key := a.newKey(nil)
	testSideKey := a.newKey(map[string]any{"environment": "test"})
	folder := a.newScenario("A's folder")
	sim := a.newSimulation(map[string]any{"prompt": "A's prompt", "scenario_id": folder.ID, "tags": []string{"a"}})
	a.do(call{method: "PUT", path: "/v1/simulations/" + sim.ID + "/config", body: simpleConfig}).want(http.StatusOK)

	var calls []struct {
		noun string
		call
	}
	add := func(noun, method, path string, body any) {
		calls = append(calls, struct {
			noun string
			call
		}{noun, call{method: method, path: path, body: body}})
	}
	for _, id := range []string{key.KeyID, testSideKey.KeyID} {
		add("key", "GET", "/v1/keys/"+id, nil)
		add("key", "PATCH", "/v1/keys/"+id, `{"name":"B's now","is_active":false,"rate_limit":1,"scopes":["keys:read"]}`)
		add("key", "DELETE", "/v1/keys/"+id, nil)
		add("key", "POST", "/v1/keys/"+id+"/rotate", `{"grace_period_seconds":0}`)
	}
	add("simulation", "GET", "/v1/simulations/"+sim.ID, nil)
	add("simulation", "DELETE", "/v1/simulations/"+sim.ID, nil)
	add("simulation", "GET", "/v1/simulations/"+sim.ID+"/results", nil)
	add("simulation", "GET", "/v1/simulations/"+sim.ID+"/config", nil)
	add("simulation", "PUT", "/v1/simulations/"+sim.ID+"/config", simpleConfig)
	add("simulation", "POST", "/v1/simulations/"+sim.ID+"/architect", `{"prompt":"B's prompt"}`)
	add("scenario", "GET", "/v1/scenarios/"+folder.ID, nil)
	add("scenario", "PUT", "/v1/scenarios/"+folder.ID, `{"name":"B's now"}`)
	add("scenario", "DELETE", "/v1/scenarios/"+folder.ID, nil)

	s.restart() // usage and limits are written down by a graceful stop
	dump := func() []string {
		return slices.DeleteFunc(s.dump(t), func(row string) bool {
			return strings.HasPrefix(row, "decisions ") && strings.Contains(row, `"tenant_id": "`+b.tenant+`"`)
		})
	}
	before := dump()
	for _, from := range []*client{b, testKey, powerless} {
		for _, o := range calls {
			from.do(o.call).wantDetail(http.StatusForbidden, "Access denied: "+o.noun+" belongs to different tenant")
			head := from.do(call{method: http.MethodHead, path: o.path, bad: true})
			if head.status != http.StatusForbidden && head.status != http.StatusMethodNotAllowed {
				t.Errorf("HEAD %s: answered %d", o.path, head.status)
			}
		}
	}
	s.restart()
	after := dump()
	if !slices.Equal(before, after) {
		for _, row := range after {
			if !slices.Contains(before, row) {
				t.Errorf("new or changed: %s", row)
			}
		}
		for _, row := range before {
			if !slices.Contains(after, row) {
				t.Errorf("gone or changed: %s", row)
			}
		}
	}
	if apiKeyPattern.MatchString(strings.Join(after, "\n")) {
		t.Error("the database holds an API key")
	}
	if len(before) < 12 {
		t.Errorf("the dump has only %d rows", len(before))
	}

	// What names another resource in its body is judged by it as well.
	b.post("/v1/simulations", map[string]any{"prompt": "p", "scenario_id": folder.ID}).
		wantDetail(http.StatusForbidden, "Access denied: scenario belongs to different tenant")
	// Lists and filters show nothing of A.
	for path, own := range map[string]int{
		"/v1/keys": 3, "/v1/simulations": 0, "/v1/scenarios": 0, "/v1/simulations?scenario_id=" + folder.ID: 0, "/v1/simulations?tag=a": 0,
	} {
		var list struct{ Total int }
		b.get(path).want(http.StatusOK).into(&list)
		if list.Total != own {
			t.Errorf("GET %s shows B %d; want %d", path, list.Total, own)
		}
	}
}
