package main_test

import (
	"net/http"
	"testing"
)

// TestTestKeys: a test key sees and touches the test resources of its tenant
// only; a live key sees both.
func TestTestKeys(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	live := s.newTenant(t, "Environments")
	testKey := live.newKey(map[string]any{"environment": "test"})
	test := live.with(testKey.APIKey)

	liveKey := live.newKey(nil)
	liveSimulation := live.newSimulation(map[string]any{"prompt": "live"})
	liveScenario := live.newScenario("live")
	testSimulation := test.newSimulation(map[string]any{"prompt": "test"})
	testScenario := test.newScenario("test")
	if liveSimulation.Environment != "live" || testSimulation.Environment != "test" {
		t.Errorf("environments %s and %s", liveSimulation.Environment, testSimulation.Environment)
	}

	for _, o := range []struct {
		noun string
		call
	}{
		{"key", call{method: "GET", path: "/v1/keys/" + liveKey.KeyID}},
		{"key", call{method: "PATCH", path: "/v1/keys/" + liveKey.KeyID, body: `{"is_active":false}`}},
		{"key", call{method: "DELETE", path: "/v1/keys/" + liveKey.KeyID}},
		{"key", call{method: "POST", path: "/v1/keys/" + liveKey.KeyID + "/rotate"}},
		{"simulation", call{method: "GET", path: "/v1/simulations/" + liveSimulation.ID}},
		{"simulation", call{method: "DELETE", path: "/v1/simulations/" + liveSimulation.ID}},
		{"simulation", call{method: "GET", path: "/v1/simulations/" + liveSimulation.ID + "/results"}},
		{"simulation", call{method: "GET", path: "/v1/simulations/" + liveSimulation.ID + "/config"}},
		{"simulation", call{method: "PUT", path: "/v1/simulations/" + liveSimulation.ID + "/config", body: simpleConfig}},
		{"simulation", call{method: "POST", path: "/v1/simulations/" + liveSimulation.ID + "/architect"}},
		{"scenario", call{method: "GET", path: "/v1/scenarios/" + liveScenario.ID}},
		{"scenario", call{method: "PUT", path: "/v1/scenarios/" + liveScenario.ID, body: `{"name":"x"}`}},
		{"scenario", call{method: "DELETE", path: "/v1/scenarios/" + liveScenario.ID}},
		{"scenario", call{method: "POST", path: "/v1/simulations", body: `{"prompt":"p","scenario_id":"` + liveScenario.ID + `"}`}},
	} {
		test.do(o.call).wantDetail(http.StatusForbidden, "Access denied: "+o.noun+" belongs to the live environment")
	}
	test.post("/v1/keys", map[string]any{"name": "up", "environment": "live"}).want(http.StatusForbidden)
	if heir := test.newKey(nil); live.keyInfo(heir.KeyID).Environment != "test" {
		t.Error("a test key made a live key")
	}

	totals := func(c *client, path string) int {
		t.Helper()
		var list struct{ Total int }
		c.get(path).want(http.StatusOK).into(&list)
		return list.Total
	}
	for path, want := range map[string][2]int{"/v1/keys": {4, 2}, "/v1/simulations": {2, 1}, "/v1/scenarios": {2, 1}} {
		if l, te := totals(live, path), totals(test, path); l != want[0] || te != want[1] {
			t.Errorf("%s: a live key sees %d, a test key %d; want %d and %d", path, l, te, want[0], want[1])
		}
	}
	live.get("/v1/simulations/" + testSimulation.ID).want(http.StatusOK)
	live.put("/v1/scenarios/"+testScenario.ID, map[string]any{"name": "by live"}).want(http.StatusOK)
	test.get("/v1/simulations/" + testSimulation.ID).want(http.StatusOK)
	test.delete("/v1/scenarios/" + testScenario.ID).want(http.StatusNoContent)
	live.get("/v1/keys/" + liveKey.KeyID).want(http.StatusOK)
}
