package main_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestErrorsOfBodies: 400, 413 and 415, on every route that takes a body.
func TestErrorsOfBodies(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Bodies").with(s.newTenant(t, "Bodies too").key)
	id := c.newSimulation(map[string]any{"prompt": "p"}).ID
	key := c.newKey(nil).KeyID
	scenario := c.newScenario("s").ID
	operator := s.as(t, s.operatorKey())
	for _, o := range []struct {
		c            *client
		method, path string
	}{
		{c, "POST", "/v1/keys"},
		{c, "PATCH", "/v1/keys/" + key},
		{c, "POST", "/v1/keys/" + key + "/rotate"},
		{c, "POST", "/v1/simulations"},
		{c, "POST", "/v1/simulations/with-config"},
		{c, "PUT", "/v1/simulations/" + id + "/config"},
		{c, "POST", "/v1/simulations/" + id + "/architect"},
		{c, "POST", "/v1/scenarios"},
		{c, "PUT", "/v1/scenarios/" + scenario},
		{operator, "POST", "/v1/tenants"},
		{operator, "PATCH", "/v1/tenants/platform"},
	} {
		for body, status := range map[string]int{
			"{":                                  http.StatusBadRequest,
			`{"name":"a"} x`:                     http.StatusBadRequest,
			`{"name":"a","name":"b"}`:            http.StatusBadRequest,
			"{\"name\":\"\xff\"}":                http.StatusBadRequest,
			`{'name':'a'}`:                       http.StatusBadRequest,
			`{"name":"\ud800"}`:                  http.StatusBadRequest,
			strings.Repeat("[", 100_000):         http.StatusBadRequest,
			`[]`:                                 http.StatusUnprocessableEntity,
			`null`:                               http.StatusUnprocessableEntity,
			`"x"`:                                http.StatusUnprocessableEntity,
			`{"no_such_field":1}`:                http.StatusUnprocessableEntity,
			strings.Repeat(" ", 1<<20) + "{}":    http.StatusRequestEntityTooLarge,
			`{"prompt":"p","name":"n"}` + "\x00": http.StatusBadRequest,
		} {
			a := o.c.do(call{method: o.method, path: o.path, body: body, bad: true})
			if a.status != status {
				t.Errorf("%s %s with %.40q: answered %d %s; want %d", o.method, o.path, body, a.status, a.body, status)
			}
			if status != http.StatusUnprocessableEntity && !isDetail(a.body) {
				t.Errorf("%s %s with %.40q: %s", o.method, o.path, body, a.body)
			}
		}
		for _, header := range []map[string]string{
			{"Content-Type": "text/plain"},
			{"Content-Type": "application/xml"},
			{"Content-Type": ""},
			{"Content-Type": "application/x-www-form-urlencoded"},
			{"Content-Type": "application/json; charset=latin1"},
			{"Content-Encoding": "gzip"},
		} {
			a := o.c.do(call{method: o.method, path: o.path, body: `{"name":"n"}`, header: header, bad: true})
			if a.status != http.StatusUnsupportedMediaType || !isDetail(a.body) {
				t.Errorf("%s %s with %v: answered %d %s", o.method, o.path, header, a.status, a.body)
			}
		}
	}
	// A body that the server will not even read is refused by its length.
	a := s.raw(t, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nX-API-Key: "+c.key+"\r\nContent-Type: application/json\r\n"+
		"Content-Length: 5000000\r\nExpect: 100-continue\r\n\r\n")
	if a.status != http.StatusRequestEntityTooLarge || !isDetail(a.body) {
		t.Errorf("a body of 5 MB: answered %d %s", a.status, a.body)
	}
	// JSON in UTF-8 by any of its names is fine.
	for _, contentType := range []string{"application/json; charset=utf-8", "Application/JSON", `application/json;charset="UTF-8"`} {
		c.do(call{method: "POST", path: "/v1/scenarios", body: `{"name":"n"}`, header: map[string]string{"Content-Type": contentType}, bad: true}).
			want(http.StatusCreated)
	}
}

func isDetail(body []byte) bool {
	var d map[string]string
	return json.Unmarshal(body, &d) == nil && len(d) == 1 && d["detail"] != ""
}

// TestNotFound: the sentence names the type and the id, well formed or not.
func TestNotFound(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Not found")
	operator := s.as(t, s.operatorKey())
	const uuid = "00000000-0000-7000-8000-000000000000"
	for _, o := range []struct {
		c                 *client
		method, path, sub string
		noun              string
		ids               []string
	}{
		{c, "GET", "/v1/keys/", "", "Key", []string{"abc123", "key_" + strings.Repeat("a", 24)}},
		{c, "PATCH", "/v1/keys/", "", "Key", []string{"abc123"}},
		{c, "DELETE", "/v1/keys/", "", "Key", []string{"abc123"}},
		{c, "POST", "/v1/keys/", "/rotate", "Key", []string{"abc123"}},
		{c, "GET", "/v1/simulations/", "", "Simulation", []string{"abc123", "123", "sim_123", uuid, strings.ToUpper(uuid)}},
		{c, "DELETE", "/v1/simulations/", "", "Simulation", []string{"abc123", uuid}},
		{c, "GET", "/v1/simulations/", "/results", "Simulation", []string{"abc123", uuid}},
		{c, "GET", "/v1/simulations/", "/config", "Simulation", []string{"abc123", uuid}},
		{c, "PUT", "/v1/simulations/", "/config", "Simulation", []string{"abc123", uuid}},
		{c, "POST", "/v1/simulations/", "/architect", "Simulation", []string{"abc123", uuid}},
		{c, "GET", "/v1/scenarios/", "", "Scenario", []string{"abc123", uuid}},
		{c, "PUT", "/v1/scenarios/", "", "Scenario", []string{"abc123", uuid}},
		{c, "DELETE", "/v1/scenarios/", "", "Scenario", []string{"abc123", uuid}},
		{operator, "GET", "/v1/tenants/", "", "Tenant", []string{"abc123", "ten_" + strings.Repeat("a", 24)}},
		{operator, "PATCH", "/v1/tenants/", "", "Tenant", []string{"abc123"}},
	} {
		for _, id := range o.ids {
			a := o.c.do(call{method: o.method, path: o.path + id + o.sub, bad: true})
			a.wantDetail(http.StatusNotFound, o.noun+" with ID "+id+" not found")
		}
	}
	a := c.do(call{method: "GET", path: "/v1/nothing", bad: true}).want(http.StatusNotFound)
	for _, name := range []string{"X-Request-Id", "X-Decision-Id", "X-Ratelimit-Remaining"} {
		if a.header.Get(name) == "" {
			t.Errorf("an unknown path is answered without %s", name)
		}
	}
}

// TestMethodNotAllowed: Allow lists what the document lists.
func TestMethodNotAllowed(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Methods").with(s.operatorKey())
	for _, p := range documentedPaths() {
		path := strings.NewReplacer("{key_id}", "x", "{tenant_id}", "x", "{id}", "x").Replace(p.template)
		want := slices.Clone(p.methods)
		if slices.Contains(want, "GET") {
			want = append(want, "HEAD")
		}
		slices.Sort(want)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			if slices.Contains(p.methods, method) {
				continue
			}
			a := c.do(call{method: method, path: path, bad: true})
			allow := strings.Split(a.header.Get("Allow"), ", ")
			slices.Sort(allow)
			// Where an id names no resource, that may be said first.
			if a.status != http.StatusMethodNotAllowed || !slices.Equal(allow, want) {
				t.Errorf("%s %s: answered %d, Allow %v; want 405, %v", method, path, a.status, allow, want)
			}
		}
	}
}

// invalid is the body of a 422.
type invalid struct {
	Detail []struct {
		Loc  []any  `json:"loc"`
		Msg  string `json:"msg"`
		Type string `json:"type"`
	} `json:"detail"`
}

// TestUnprocessableNamesEveryField: all that is wrong, at once.
func TestUnprocessableNamesEveryField(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Fields")
	key := c.newKey(nil).KeyID
	for _, tt := range []struct {
		method, path, body string
		want               []string
	}{
		{"POST", "/v1/keys", `{}`, []string{"body.name missing"}},
		{"POST", "/v1/keys", `{"name":"","rate_limit":0,"expires_in_days":3651,"environment":"prod","scopes":["keys:fly",3],"metadata":[],"extra":1}`, []string{
			"body.environment", "body.expires_in_days", "body.extra", "body.metadata", "body.name", "body.rate_limit", "body.scopes.1",
		}},
		{"POST", "/v1/keys", `{"name":"` + strings.Repeat("é", 101) + `","rate_limit":1000001,"expires_in_days":0}`, []string{"body.expires_in_days", "body.name", "body.rate_limit"}},
		{"POST", "/v1/keys", `{"name":5,"rate_limit":"5","expires_in_days":1.5}`, []string{"body.expires_in_days", "body.name", "body.rate_limit"}},
		{"POST", "/v1/keys", `{"name":"n","rate_limit":99999999999999999999}`, []string{"body.rate_limit"}},
		{"POST", "/v1/keys", `{"name":"n","rate_limit":-1,"scopes":[]}`, []string{"body.rate_limit", "body.scopes"}},
		{"PATCH", "/v1/keys/" + key, `{"name":null,"is_active":"yes","rate_limit":null,"expires_at":"tomorrow","key_id":"x"}`, []string{
			"body.expires_at", "body.is_active", "body.key_id", "body.name", "body.rate_limit",
		}},
		{"POST", "/v1/keys/" + key + "/rotate", `{"grace_period_seconds":2592001}`, []string{"body.grace_period_seconds"}},
		{"POST", "/v1/simulations", `{"title":"","tags":["a","a",""],"metadata":1,"config":{}}`, []string{
			"body.config", "body.metadata", "body.prompt", "body.tags.1", "body.tags.2", "body.title",
		}},
		{"POST", "/v1/simulations", `{"prompt":"p","scenario_id":"nope"}`, []string{"body.scenario_id"}},
		{"POST", "/v1/simulations/with-config", `{"prompt":"p","config":{"step_unit":"eon","number_of_steps":0,"agent_groups":[{"id":"","number_of_agents":0,"variables":{"v":{"type":"normal"}},"actions":{"a":{"type":"x"}}}]}}`, []string{
			"body.config.agent_groups.0.actions.a.type", "body.config.agent_groups.0.id", "body.config.agent_groups.0.name",
			"body.config.agent_groups.0.number_of_agents", "body.config.agent_groups.0.variables.v.mean", "body.config.agent_groups.0.variables.v.std",
			"body.config.number_of_steps", "body.config.step_unit",
		}},
		{"POST", "/v1/scenarios", `{"description":3}`, []string{"body.description", "body.name"}},
		{"GET", "/v1/simulations?status=DONE&limit=101&offset=-1&created_after=now&unknown=1&scenario_id=x", "", []string{
			"query.created_after", "query.limit", "query.offset", "query.scenario_id", "query.status", "query.unknown",
		}},
	} {
		o := call{method: tt.method, path: tt.path, bad: true}
		if tt.body != "" {
			o.body = tt.body
		}
		var got invalid
		c.do(o).want(http.StatusUnprocessableEntity).into(&got)
		var places []string
		for _, d := range got.Detail {
			place := make([]string, len(d.Loc))
			for i, step := range d.Loc {
				b, err := json.Marshal(step)
				if err != nil {
					t.Fatal(err)
				}
				place[i] = strings.Trim(string(b), `"`)
			}
			at := strings.Join(place, ".")
			if d.Msg == "" || d.Type == "" {
				t.Errorf("%s: no msg or type", at)
			}
			if slices.Contains(tt.want, at+" "+d.Type) {
				at += " " + d.Type
			}
			places = append(places, at)
		}
		slices.Sort(places)
		if !slices.Equal(slices.Compact(places), tt.want) {
			t.Errorf("%s %s %s\n got %v\nwant %v", tt.method, tt.path, tt.body, places, tt.want)
		}
	}
}
