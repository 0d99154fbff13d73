package server

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	operator := w.operator()
	a := w.do("POST", "/v1/tenants", operator, `{"name":"Acme"}`).want(t, 201, "…")
	id, first := a.field(t, "tenant_id"), engine.Credential(a.field(t, "api_key"))
	want := fmt.Sprintf(`{"tenant_id":%q,"name":"Acme","key_id":%q,"api_key":%q,"is_active":true,"created_at":"2025-11-24T01:00:00Z"}`,
		id, a.field(t, "key_id"), string(first))
	if a.body != want {
		t.Errorf("got  %s\nwant %s", a.body, want)
	}
	tenant := fmt.Sprintf(`{"tenant_id":%q,"name":"Acme","is_active":true,"created_at":"2025-11-24T01:00:00Z"}`, id)
	w.do("GET", "/v1/tenants/"+id, operator, "").want(t, 200, tenant)
	w.do("GET", "/v1/tenants?limit=1", operator, "").want(t, 200, `{"items":[`+tenant+`],"total":2,"limit":1,"offset":0}`)
	w.do("GET", "/v1/keys", first, "").want(t, 200, "…")

	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		w.do(method, "/v1/tenants/"+id, first, `{"is_active":true}`).want(t, 403, `{"detail":"Access denied: operators only"}`)
	}
	w.do("GET", "/v1/tenants", first, "").want(t, 403, `{"detail":"Access denied: operators only"}`)
	w.do("POST", "/v1/tenants", first, `{"name":"x"}`).want(t, 403, `{"detail":"Access denied: operators only"}`)

	w.do("PATCH", "/v1/tenants/"+id, operator, `{"is_active":false}`).want(t, 200, strings.Replace(tenant, "true", "false", 1))
	w.do("GET", "/v1/keys", first, "").want(t, 403, `{"detail":"Access denied: tenant is disabled"}`)
	w.do("PATCH", "/v1/tenants/"+id, operator, `{"is_active":true}`).want(t, 200, tenant)
	w.do("GET", "/v1/keys", first, "").want(t, 200, "…")
	w.do("PATCH", "/v1/tenants/platform", operator, `{"is_active":false}`).
		want(t, 409, `{"error":"TENANT_PROTECTED","message":"The platform tenant cannot be disabled","status":"active"}`)
	w.do("GET", "/v1/tenants/ten_unknown", operator, "").want(t, 404, `{"detail":"Tenant with ID ten_unknown not found"}`)
}

func TestScenarios(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	id := w.create("/v1/scenarios", secret, `{"name":"Launch","description":"Week one"}`)
	w.clock.Advance(1500 * time.Millisecond)
	const made = `"created_at":"2025-11-24T01:00:00Z","updated_at":`
	shown := func(name, description, updated string) string {
		return fmt.Sprintf(`{"id":%q,"tenant_id":"ten_a","name":%q,"description":%q,%s%q}`, id, name, description, made, updated)
	}
	w.do("GET", "/v1/scenarios/"+id, secret, "").want(t, 200, shown("Launch", "Week one", "2025-11-24T01:00:00Z"))
	w.do("GET", "/v1/scenarios", secret, "").want(t, 200, `{"items":[`+shown("Launch", "Week one", "2025-11-24T01:00:00Z")+`],"total":1,"limit":20,"offset":0}`)
	w.do("PUT", "/v1/scenarios/"+id, secret, `{"name":"Later"}`).want(t, 200, shown("Later", "", "2025-11-24T01:00:01.5Z"))
	simulation := w.create("/v1/simulations", secret, `{"prompt":"x","scenario_id":"`+strings.ToUpper(id)+`"}`)
	if got := w.do("GET", "/v1/simulations/"+simulation, secret, "").field(t, "scenario_id"); got != id {
		t.Errorf("scenario_id is %s; want %s", got, id)
	}
	w.do("DELETE", "/v1/scenarios/"+id, secret, "").want(t, 204, "")
	w.do("GET", "/v1/scenarios/"+id, secret, "").want(t, 404, `{"detail":"Scenario with ID `+id+` not found"}`)
	if got := w.do("GET", "/v1/simulations/"+simulation, secret, "").field(t, "scenario_id"); got != "<nil>" {
		t.Errorf("scenario_id is %s after the scenario was deleted; want null", got)
	}
	w.do("GET", "/v1/scenarios", secret, "").want(t, 200, `{"items":[],"total":0,"limit":20,"offset":0}`)
}

const config = `{"step_unit":"hour","number_of_steps":24,"seed":7,"agent_groups":[{"id":"web","name":"Web","description":"","number_of_agents":10,` +
	`"variables":{"A":{"type":"normal","mean":5,"std":0},"B":{"type":"uniform","min":-1,"max":1.5},"C":{"type":"initial_value","value":3}},` +
	`"actions":{"CALL":{"type":"discrete","description":"Calls","options":[1,2]}}}]}`

func TestSimulations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	id := w.create("/v1/simulations", secret, `{"prompt":"A launch day. Ten times the traffic.","tags":["launch"],"metadata":{"b":1,"a":2},"trace":"s3"}`)
	path := "/v1/simulations/" + id
	pending := fmt.Sprintf(`{"id":%q,"status":"PENDING","title":"A launch day","prompt":"A launch day. Ten times the traffic.","tags":["launch"],`+
		`"tenant_id":"ten_a","scenario_id":null,"environment":"live","metadata":{"b":1,"a":2},"created_at":"2025-11-24T01:00:00Z",`+
		`"updated_at":"2025-11-24T01:00:00Z","lifecycle":{"states":[{"name":"PENDING","at":"2025-11-24T01:00:00Z"}]}}`, id)
	w.do("GET", path, secret, "").want(t, 200, pending)
	w.do("GET", path+"/results", secret, "").want(t, 409, `{"error":"SIMULATION_NOT_COMPLETE","message":"Simulation is still running","status":"PENDING"}`)
	w.do("GET", path+"/config", secret, "").want(t, 409, `{"error":"SIMULATION_CONFIG_NOT_READY","message":"Simulation has no config yet","status":"PENDING"}`)

	w.do("PUT", path+"/config", secret, config).want(t, 200, config)
	w.do("GET", path+"/config", secret, "").want(t, 200, config)
	if got := w.do("GET", path, secret, "").field(t, "status"); got != "COMPLETED_CONFIG" {
		t.Errorf("status is %s after PUT config; want COMPLETED_CONFIG", got)
	}
	again := w.do("POST", path+"/architect", secret, `{"prompt":"Another day","max_turns":3,"model":"any"}`).want(t, 202, "…")
	if again.field(t, "status") != "PENDING" || again.field(t, "prompt") != "Another day" {
		t.Errorf("architect answers %s", again.body)
	}
	w.do("POST", path+"/architect", secret, ``).want(t, 202, "…")

	w.store.mu.Lock()
	done := w.store.simulations[id]
	done.Status, done.Config = engine.SimulationCompletedAnalysis, json.RawMessage(config)
	done.Metrics, done.Analysis = json.RawMessage(`{"by_group":[],"global":{}}`), json.RawMessage(`{"risks":[]}`)
	failed := done
	failed.ID, failed.Status, failed.ErrorLog = "01936f3c-0000-7000-8000-000000000000", engine.SimulationFailed, "out of steps"
	w.store.simulations[id], w.store.simulations[failed.ID] = done, failed
	w.store.mu.Unlock()
	w.do("GET", path+"/results", secret, "").want(t, 200, fmt.Sprintf(`{"id":%q,"status":"COMPLETED_ANALYSIS","title":"A launch day","prompt":"Another day",`+
		`"tags":["launch"],"tenant_id":"ten_a","results_version":1,"config":%s,"metrics":{"by_group":[],"global":{}},"analysis":{"risks":[]}}`, id, config))
	w.do("GET", "/v1/simulations/"+failed.ID+"/results", secret, "").want(t, 409, `{"error":"SIMULATION_NOT_COMPLETE","message":"Simulation failed","status":"FAILED"}`)
	if got := w.do("GET", "/v1/simulations/"+failed.ID, secret, "").field(t, "error_log"); got != "out of steps" {
		t.Errorf("error_log is %q", got)
	}
	w.do("DELETE", path, secret, "").want(t, 204, "")
	w.do("GET", path, secret, "").want(t, 404, `{"detail":"Simulation with ID `+id+` not found"}`)
	w.do("GET", "/v1/simulations/abc123", secret, "").want(t, 404, `{"detail":"Simulation with ID abc123 not found"}`)
	w.do("GET", "/v1/simulations/a%20%C3%A9%22", secret, "").want(t, 404, `{"detail":"Simulation with ID a é\" not found"}`)
}

func TestSimulationWithConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	a := w.do("POST", "/v1/simulations/with-config", secret, `{"prompt":"x","config":`+config+`,"title":"T","what_if":{"rate_limit":5}}`).want(t, 201, "…")
	if a.field(t, "status") != "PENDING" || a.field(t, "title") != "T" {
		t.Errorf("got %s", a.body)
	}
	w.do("GET", "/v1/simulations/"+a.field(t, "id")+"/config", secret, "").want(t, 200, config)
}

func TestListSimulations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	tester := w.key(engine.Key{TenantID: "ten_a", Environment: engine.Test, Scopes: engine.Scopes{"*"}})
	scenario := w.create("/v1/scenarios", secret, `{"name":"s"}`)
	w.create("/v1/simulations", secret, `{"prompt":"p","title":"one","tags":["a","b"]}`)
	w.clock.Advance(time.Hour)
	w.create("/v1/simulations", secret, `{"prompt":"p","title":"two","tags":["b"],"scenario_id":"`+scenario+`"}`)
	w.clock.Advance(time.Hour)
	three := w.create("/v1/simulations", tester, `{"prompt":"p","title":"three"}`)
	w.do("PUT", "/v1/simulations/"+three+"/config", tester, config).want(t, 200, "…")
	for _, tt := range []struct {
		secret      engine.Credential
		query, want string
		total       int
	}{
		{secret, "", "three two one", 3},
		{tester, "", "three", 1},
		{secret, "?limit=1&offset=1", "two", 3},
		{secret, "?tag=b", "two one", 2},
		{secret, "?tag=b&status=PENDING&limit=1", "two", 2},
		{secret, "?status=COMPLETED_CONFIG", "three", 1},
		{secret, "?scenario_id=" + strings.ToUpper(scenario), "two", 1},
		{secret, "?created_after=2025-11-24T01:00:00Z", "three two", 2},
		{secret, "?created_after=2025-11-24T02:30:00%2B01:00&created_before=2025-11-24T03:00:00Z", "two", 1},
	} {
		var list struct {
			Items []struct{ Title string }
			Total int
		}
		if err := json.Unmarshal([]byte(w.do("GET", "/v1/simulations"+tt.query, tt.secret, "").want(t, 200, "…").body), &list); err != nil {
			t.Fatal(err)
		}
		var titles []string
		for _, item := range list.Items {
			titles = append(titles, item.Title)
		}
		if got := strings.Join(titles, " "); got != tt.want || list.Total != tt.total {
			t.Errorf("GET /v1/simulations%s = %q of %d; want %q of %d", tt.query, got, list.Total, tt.want, tt.total)
		}
	}
}

// TestForeignResources has one tenant try every route on another's resources:
// each is a 403 with the published text, and nothing changes.
func TestForeignResources(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	owner, stranger := w.tenant("ten_a"), w.tenant("ten_b")
	test := w.key(engine.Key{TenantID: "ten_a", Environment: engine.Test, Scopes: engine.Scopes{"*"}})
	ids := map[string]string{
		"key":        w.create("/v1/keys", owner, `{"name":"x"}`),
		"scenario":   w.create("/v1/scenarios", owner, `{"name":"x"}`),
		"simulation": w.create("/v1/simulations", owner, `{"prompt":"x"}`),
	}
	state := func() string {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return fmt.Sprint(w.store.keys[ids["key"]], w.store.scenarios, w.store.simulations, len(w.store.keys), len(w.store.secrets))
	}
	before := state()
	for _, r := range w.server.routes() {
		id, ok := ids[r.resource]
		if !ok || r.param == "" {
			continue
		}
		target := strings.Replace(r.pattern, ":"+r.param, id, 1)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "PURGE"} {
			w.do(method, target, stranger, `{"name":"stolen"}`).want(t, 403, `{"detail":"Access denied: `+r.resource+` belongs to different tenant"}`)
			w.do(method, target, test, `{"name":"stolen"}`).want(t, 403, `{"detail":"Access denied: `+r.resource+` belongs to the live environment"}`)
		}
	}
	for _, target := range []string{"/v1/simulations", "/v1/simulations/with-config"} {
		body := `{"prompt":"x","config":` + config + `,"scenario_id":"` + ids["scenario"] + `"}`
		if !strings.HasSuffix(target, "config") {
			body = strings.Replace(body, `"config":`+config+`,`, "", 1)
		}
		w.do("POST", target, stranger, body).want(t, 403, `{"detail":"Access denied: scenario belongs to different tenant"}`)
		w.do("POST", target, test, body).want(t, 403, `{"detail":"Access denied: scenario belongs to the live environment"}`)
	}
	if after := state(); after != before {
		t.Errorf("strangers changed something:\nbefore %s\nafter  %s", before, after)
	}
}

func TestIdempotency(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret, other := w.tenant("ten_a"), w.tenant("ten_b")
	for target, body := range map[string]string{
		"/v1/scenarios": `{"name":"x"}`, "/v1/simulations": `{"prompt":"x"}`, "/v1/simulations/with-config": `{"prompt":"x","config":` + config + `}`,
	} {
		first := w.do("POST", target, secret, body, "Idempotency-Key", "k").want(t, 201, "…")
		if first.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("POST %s: the first answer is marked as replayed", target)
		}
		w.clock.Advance(time.Hour)
		again := w.do("POST", target, secret, body, "Idempotency-Key", "k").want(t, 201, first.body)
		if again.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("POST %s: the second answer is not marked as replayed", target)
		}
		w.do("POST", target, secret, strings.Replace(body, "x", "y", 1), "Idempotency-Key", "k").want(t, 422,
			`{"detail":[{"loc":["header","Idempotency-Key"],"msg":"Value error, key was used with another body","type":"value_error"}]}`)
		if a := w.do("POST", target, other, body, "Idempotency-Key", "k").want(t, 201, "…"); a.body == first.body {
			t.Errorf("POST %s: another tenant got the first one's answer", target)
		}
		w.clock.Advance(23 * time.Hour)
		if a := w.do("POST", target, secret, body, "Idempotency-Key", "k").want(t, 201, "…"); a.body == first.body {
			t.Errorf("POST %s: the answer was kept for over a day", target)
		}
		w.do("POST", target, secret, body, "Idempotency-Key", strings.Repeat("k", 255)).want(t, 201, "…")
		for _, key := range []string{strings.Repeat("k", 256), "a b", "é"} {
			if a := w.do("POST", target, secret, body, "Idempotency-Key", key).want(t, 422, "…"); !strings.HasPrefix(a.body, `{"detail":[{"loc":["header","Idempotency-Key"],`) {
				t.Errorf("POST %s with key %q: %s", target, key, a.body)
			}
		}
	}
}

func TestDeriveTitle(t *testing.T) {
	t.Parallel()
	for prompt, want := range map[string]string{
		"A launch day. Ten times the traffic.": "A launch day",
		"Is it fast?! Yes":                     "Is it fast",
		"Version 1.5 is out":                   "Version 1.5 is out",
		"  two\n\n lines ":                     "two lines",
		" \n ":                                 "Untitled",
		"...":                                  "Untitled",
		strings.Repeat("word ", 30):            strings.TrimSpace(strings.Repeat("word ", 16)),
		strings.Repeat("é", 100):               strings.Repeat("é", 80),
		strings.Repeat("x", 80) + " y":         strings.Repeat("x", 80),
	} {
		if got := deriveTitle(prompt); got != want {
			t.Errorf("deriveTitle(%q) = %q; want %q", prompt, got, want)
		}
	}
}
