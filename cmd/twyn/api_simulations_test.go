package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// simulation is a simulation as the API shows it.
type simulation struct {
	ID          string          `json:"id"`
	Status      string          `json:"status"`
	Title       string          `json:"title"`
	Prompt      string          `json:"prompt"`
	Tags        []string        `json:"tags"`
	TenantID    string          `json:"tenant_id"`
	ScenarioID  *string         `json:"scenario_id"`
	Environment string          `json:"environment"`
	Metadata    json.RawMessage `json:"metadata"`
	CreatedAt   time.Time       `json:"created_at"`
	UpdatedAt   time.Time       `json:"updated_at"`
	Lifecycle   struct {
		States []struct {
			Name string    `json:"name"`
			At   time.Time `json:"at"`
		} `json:"states"`
	} `json:"lifecycle"`
}

// page is a page of a list.
type page[T any] struct {
	Items  []T `json:"items"`
	Total  int `json:"total"`
	Limit  int `json:"limit"`
	Offset int `json:"offset"`
}

// newSimulation makes a simulation.
func (c *client) newSimulation(body map[string]any) simulation {
	c.t.Helper()
	var made simulation
	c.post("/v1/simulations", body).want(http.StatusCreated).into(&made)
	return made
}

// simpleConfig is a config with one of each kind of variable and action.
const simpleConfig = `{"step_unit":"hour","number_of_steps":24,"seed":7,"agent_groups":[{"id":"web","name":"Web","description":"Browsers",` +
	`"number_of_agents":100,"variables":{"a":{"type":"normal","mean":1.5,"std":0},"b":{"type":"uniform","min":0,"max":1},"c":{"type":"initial_value","value":"x"}},` +
	`"actions":{"call":{"type":"discrete","description":"Calls","min":0,"max":9,"weights":[1,2]},"stop":{"type":"binary"},"load":{"type":"continuous"}}}]}`

func TestSimulationLife(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Simulations")
	scenario := c.newScenario("Folder")
	made := c.newSimulation(map[string]any{
		"prompt": "A launch day. And what follows.", "tags": []string{"b", "a"}, "scenario_id": scenario.ID,
		"metadata": map[string]any{"k": []int{1}}, "what_if": map[string]any{"rate_limit": 5}, "trace": []int{1},
	})
	if made.Status != "PENDING" || made.Title != "A launch day" || !slices.Equal(made.Tags, []string{"b", "a"}) || made.TenantID != c.tenant ||
		made.ScenarioID == nil || *made.ScenarioID != scenario.ID || made.Environment != "live" || string(made.Metadata) != `{"k":[1]}` ||
		len(made.Lifecycle.States) != 1 || made.Lifecycle.States[0].Name != "PENDING" || !made.Lifecycle.States[0].At.Equal(made.CreatedAt) {
		t.Errorf("made %+v", made)
	}
	path := "/v1/simulations/" + made.ID
	var again simulation
	c.get(path).want(http.StatusOK).into(&again)
	if again.UpdatedAt != made.UpdatedAt || again.Title != made.Title {
		t.Errorf("read %+v; want %+v", again, made)
	}
	const running = `{"error":"SIMULATION_NOT_COMPLETE","message":"Simulation is still running","status":"PENDING"}`
	c.get(path+"/results").wantBody(http.StatusConflict, running)
	if a := c.get(path + "/config").want(http.StatusConflict); a.fields()["status"] != "PENDING" {
		t.Errorf("config of a pending simulation: %s", a.body)
	}

	a := c.do(call{method: "PUT", path: path + "/config", body: simpleConfig}).want(http.StatusOK)
	wantSameJSON(t, a.body, simpleConfig)
	wantSameJSON(t, c.get(path+"/config").want(http.StatusOK).body, simpleConfig)
	c.get(path).want(http.StatusOK).into(&again)
	if again.Status != "COMPLETED_CONFIG" || again.Lifecycle.States[len(again.Lifecycle.States)-1].Name != "COMPLETED_CONFIG" || !again.UpdatedAt.After(made.UpdatedAt) {
		t.Errorf("after PUT config: %+v", again)
	}
	c.post(path+"/architect", map[string]any{"prompt": "Another prompt", "max_turns": 3, "model": "any"}).want(http.StatusAccepted).into(&again)
	if again.Status != "PENDING" || again.Prompt != "Another prompt" {
		t.Errorf("after the Architect: %+v", again)
	}
	c.get(path + "/config").want(http.StatusConflict)
	c.post(path+"/architect", nil).want(http.StatusAccepted)

	c.delete(path).wantBody(http.StatusNoContent, "")
	c.get(path).want(http.StatusNotFound)

	var configured simulation
	c.post("/v1/simulations/with-config", map[string]any{"prompt": "p", "title": "Given", "config": json.RawMessage(simpleConfig)}).
		want(http.StatusCreated).into(&configured)
	if configured.Title != "Given" || configured.Status != "PENDING" {
		t.Errorf("with config: %+v", configured)
	}
	wantSameJSON(t, c.get("/v1/simulations/"+configured.ID+"/config").want(http.StatusOK).body, simpleConfig)
}

// wantSameJSON compares values, not bytes.
func wantSameJSON(t testing.TB, got []byte, want string) {
	t.Helper()
	normal := func(b []byte) string {
		var v any
		if err := json.Unmarshal(b, &v); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if normal(got) != normal([]byte(want)) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSimulationFilters(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Filters")
	folder := c.newScenario("Folder")
	var made []simulation
	for i := range 25 {
		body := map[string]any{"prompt": fmt.Sprintf("prompt %d", i), "title": fmt.Sprintf("s%02d", i), "tags": []string{"all", fmt.Sprintf("mod%d", i%3)}}
		if i%5 == 0 {
			body["scenario_id"] = folder.ID
		}
		made = append(made, c.newSimulation(body))
	}
	c.do(call{method: "PUT", path: "/v1/simulations/" + made[3].ID + "/config", body: simpleConfig}).want(http.StatusOK)
	titles := func(step, from int) (want []string) {
		for i := len(made) - 1; i >= 0; i-- {
			if i%step == from {
				want = append(want, made[i].Title)
			}
		}
		return want
	}
	moment := func(i int) string { return url.QueryEscape(made[i].CreatedAt.Format(time.RFC3339Nano)) }
	all := titles(1, 0)
	for _, tt := range []struct {
		query string
		want  []string
		total int
	}{
		{"", all[:20], 25},
		{"?limit=100", all, 25},
		{"?limit=1", all[:1], 25},
		{"?limit=10&offset=20", all[20:], 25},
		{"?offset=25", nil, 25},
		{"?tag=mod1", titles(3, 1), len(titles(3, 1))},
		{"?tag=mod", nil, 0},
		{"?tag=all&limit=2", all[:2], 25},
		{"?scenario_id=" + folder.ID, titles(5, 0), 5},
		{"?scenario_id=" + folder.ID + "&tag=mod0", []string{"s15", "s00"}, 2},
		{"?scenario_id=00000000-0000-7000-8000-000000000000", nil, 0},
		{"?status=COMPLETED_CONFIG", []string{"s03"}, 1},
		{"?status=PENDING&tag=mod0&limit=100", slices.DeleteFunc(titles(3, 0), func(s string) bool { return s == "s03" }), 8},
		{"?status=FAILED", nil, 0},
		{"?created_after=" + moment(20) + "&limit=100", all[:4], 4},
		{"?created_before=" + moment(2) + "&limit=100", all[23:], 2},
		{"?created_after=" + moment(4) + "&created_before=" + moment(7), []string{"s06", "s05"}, 2},
	} {
		var got page[simulation]
		c.get("/v1/simulations" + tt.query).want(http.StatusOK).into(&got)
		var names []string
		for _, m := range got.Items {
			names = append(names, m.Title)
		}
		if !slices.Equal(names, tt.want) || got.Total != tt.total {
			t.Errorf("%s\n got %v of %d\nwant %v of %d", tt.query, names, got.Total, tt.want, tt.total)
		}
	}
	var first page[simulation]
	c.get("/v1/simulations").into(&first)
	if first.Limit != 20 || first.Offset != 0 {
		t.Errorf("limit %d, offset %d; want the defaults 20 and 0", first.Limit, first.Offset)
	}
}

func TestSimulationTitlesAndTags(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Titles")
	if title := c.newSimulation(map[string]any{"prompt": strings.Repeat("word ", 100)}).Title; title == "" || len(title) > 200 {
		t.Errorf("a long prompt gives the title %q", title)
	}
	made := c.newSimulation(map[string]any{"prompt": "p", "title": "Ünïcode ✓", "tags": []string{"späti", "a b", "?&="}})
	var got page[simulation]
	for _, tag := range made.Tags {
		c.get("/v1/simulations?tag=" + url.QueryEscape(tag)).want(http.StatusOK).into(&got)
		if got.Total != 1 || got.Items[0].Title != "Ünïcode ✓" {
			t.Errorf("tag %q finds %d simulations", tag, got.Total)
		}
	}
}

// scenario is a scenario as the API shows it.
type scenario struct {
	ID          string    `json:"id"`
	TenantID    string    `json:"tenant_id"`
	Name        string    `json:"name"`
	Description string    `json:"description"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

// newScenario makes a scenario.
func (c *client) newScenario(name string) scenario {
	c.t.Helper()
	var made scenario
	c.post("/v1/scenarios", map[string]any{"name": name}).want(http.StatusCreated).into(&made)
	return made
}

func TestScenarioLife(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Scenarios")
	var made, read, changed scenario
	c.post("/v1/scenarios", map[string]any{"name": "One", "description": "First"}).want(http.StatusCreated).into(&made)
	if made.Name != "One" || made.Description != "First" || made.TenantID != c.tenant || made.CreatedAt != made.UpdatedAt {
		t.Errorf("made %+v", made)
	}
	path := "/v1/scenarios/" + made.ID
	c.get(path).want(http.StatusOK).into(&read)
	if read != made {
		t.Errorf("read %+v; want %+v", read, made)
	}
	c.put(path, map[string]any{"name": "Two"}).want(http.StatusOK).into(&changed)
	if changed.Name != "Two" || changed.Description != "" || !changed.UpdatedAt.After(made.UpdatedAt) || changed.CreatedAt != made.CreatedAt {
		t.Errorf("changed %+v", changed)
	}
	inside := c.newSimulation(map[string]any{"prompt": "p", "scenario_id": made.ID})
	for i := range 3 {
		c.newScenario(fmt.Sprintf("more %d", i))
	}
	var list page[scenario]
	c.get("/v1/scenarios?limit=2&offset=1").want(http.StatusOK).into(&list)
	if list.Total != 4 || list.Limit != 2 || list.Offset != 1 || len(list.Items) != 2 || list.Items[0].Name != "more 1" || list.Items[1].Name != "more 0" {
		t.Errorf("list %+v", list)
	}
	c.delete(path).wantBody(http.StatusNoContent, "")
	c.get(path).want(http.StatusNotFound)
	var kept simulation
	c.get("/v1/simulations/" + inside.ID).want(http.StatusOK).into(&kept)
	if kept.ScenarioID != nil {
		t.Errorf("scenario_id is %v after the scenario was deleted; want null", *kept.ScenarioID)
	}
}
