package server

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twyn/twyn/server/api"
)

// TestValidation checks what each wrong request is told: where, and what kind
// of mistake.
func TestValidation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	key := w.create("/v1/keys", secret, `{"name":"x"}`)
	simulation := "/v1/simulations/" + w.create("/v1/simulations", secret, `{"prompt":"x"}`)
	operator := w.operator()
	long := func(n int) string { return strings.Repeat("é", n) }
	group := func(members string) string {
		return `{"step_unit":"day","number_of_steps":1,"agent_groups":[{"id":"a","name":"A","number_of_agents":1,` + members + `}]}`
	}
	for _, tt := range []struct {
		method, target, body string
		want                 []string // "loc type"
	}{
		{"POST", "/v1/keys", ``, []string{"body missing"}},
		{"POST", "/v1/keys", `[]`, []string{"body model_attributes_type"}},
		{"POST", "/v1/keys", `null`, []string{"body model_attributes_type"}},
		{"POST", "/v1/keys", `{}`, []string{"body.name missing"}},
		{"POST", "/v1/keys?dry=1&dry=2&x", `{"name":"","rate_limit":0,"extra":1,"expires_in_days":3651,"environment":"prod","scopes":"x","metadata":[]}`, []string{
			"query.dry extra_forbidden", "query.x extra_forbidden", "body.name string_too_short", "body.rate_limit greater_than_equal",
			"body.expires_in_days less_than_equal", "body.environment enum", "body.scopes list_type", "body.metadata dict_type", "body.extra extra_forbidden",
		}},
		{"POST", "/v1/keys", `{"name":5}`, []string{"body.name string_type"}},
		{"POST", "/v1/keys", `{"name":null}`, []string{"body.name string_type"}},
		{"POST", "/v1/keys", `{"name":"` + long(101) + `"}`, []string{"body.name string_too_long"}},
		{"POST", "/v1/keys", `{"name":"a\u0000b"}`, []string{"body.name value_error"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":1.0}`, []string{"body.rate_limit int_type"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":1e3}`, []string{"body.rate_limit int_type"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":true}`, []string{"body.rate_limit int_type"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":"5"}`, []string{"body.rate_limit int_type"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":null}`, []string{"body.rate_limit int_type"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":1000001}`, []string{"body.rate_limit less_than_equal"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":99999999999999999999}`, []string{"body.rate_limit less_than_equal"}},
		{"POST", "/v1/keys", `{"name":"x","rate_limit":-99999999999999999999}`, []string{"body.rate_limit greater_than_equal"}},
		{"POST", "/v1/keys", `{"name":"x","scopes":["*","nothing:read","keys:fly",5,"*",""]}`, []string{"body.scopes.3 string_type", "body.scopes.4 value_error", "body.scopes.5 string_too_short"}},
		{"POST", "/v1/keys", `{"name":"x","scopes":["*","nothing:read","keys:fly"]}`, []string{"body.scopes.1 value_error", "body.scopes.2 value_error"}},
		{"POST", "/v1/keys", `{"name":"x","scopes":[]}`, []string{"body.scopes too_short"}},
		{"POST", "/v1/keys", `{"name":"x","metadata":{"a":"\u0000","b":{"c\u0000":1},"d":[1e999]}}`, []string{"body.metadata.a value_error", "body.metadata.b.c\x00 value_error", "body.metadata.d.0 finite_number"}},
		{"POST", "/v1/keys", `{"name":"x","metadata":{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}}`, []string{"body.metadata value_error"}},
		{"POST", "/v1/keys", `{"name":"x","metadata":{"a":"` + strings.Repeat("x", 16<<10) + `"}}`, []string{"body.metadata value_error"}},
		{"PATCH", "/v1/keys/" + key, `{"name":null,"is_active":"no","rate_limit":0,"expires_at":"tomorrow","scopes":null,"metadata":null,"key_id":"x"}`, []string{
			"body.name string_type", "body.is_active bool_type", "body.rate_limit greater_than_equal", "body.expires_at datetime_from_date_parsing",
			"body.scopes list_type", "body.metadata dict_type", "body.key_id extra_forbidden",
		}},
		{"PATCH", "/v1/keys/" + key, `{"expires_at":"2025-11-24T01:00:00Z"}`, []string{"body.expires_at datetime_future"}},
		{"PATCH", "/v1/keys/" + key, `{"expires_at":1}`, []string{"body.expires_at datetime_type"}},
		{"PATCH", "/v1/keys/" + key, `{"expires_at":"2026-11-24 01:00:00"}`, []string{"body.expires_at datetime_from_date_parsing"}},
		{"POST", "/v1/keys/" + key + "/rotate", `{"grace_period_seconds":-1}`, []string{"body.grace_period_seconds greater_than_equal"}},
		{"GET", "/v1/keys?limit=0&offset=-1", ``, []string{"query.limit greater_than_equal", "query.offset greater_than_equal"}},
		{"GET", "/v1/keys?limit=1001", ``, []string{"query.limit less_than_equal"}},
		{"GET", "/v1/keys?limit=5&limit=6", ``, []string{"query.limit value_error"}},
		{"GET", "/v1/keys?limit=1.0&offset=", ``, []string{"query.limit int_parsing", "query.offset int_parsing"}},
		{"GET", "/v1/keys?limit=-", ``, []string{"query.limit int_parsing"}},
		{"GET", "/v1/keys?offset=1000000001", ``, []string{"query.offset less_than_equal"}},
		{"GET", "/v1/keys?offset=99999999999999999999", ``, []string{"query.offset less_than_equal"}},
		{"GET", "/v1/keys/" + key + "?a=b", ``, []string{"query.a extra_forbidden"}},
		{"DELETE", "/v1/keys/" + key + "?force=1", ``, []string{"query.force extra_forbidden"}},
		{"GET", "/v1/scenarios?limit=101", ``, []string{"query.limit less_than_equal"}},
		{"POST", "/v1/scenarios", `{"name":"x","description":5}`, []string{"body.description string_type"}},
		{"PUT", simulation + "/config", `{}`, []string{"body.step_unit missing", "body.number_of_steps missing", "body.agent_groups missing"}},
		{"GET", "/v1/simulations?status=DONE&scenario_id=x&created_after=2025&tag=&limit=x", ``, []string{
			"query.status enum", "query.tag string_too_short", "query.scenario_id uuid_parsing", "query.created_after datetime_from_date_parsing", "query.limit int_parsing",
		}},
		{"POST", "/v1/simulations", `{"prompt":"","title":"","tags":["a","a"],"scenario_id":5,"metadata":1,"what_if":[],"config":{}}`, []string{
			"body.prompt string_too_short", "body.title string_too_short", "body.tags.1 value_error", "body.scenario_id string_type", "body.metadata dict_type",
			"body.what_if dict_type", "body.config extra_forbidden",
		}},
		{"POST", "/v1/simulations", `{"prompt":"x","scenario_id":"01936f3c-0000-7000-8000-000000000000"}`, []string{"body.scenario_id value_error"}},
		{"POST", "/v1/simulations", `{"prompt":5,"scenario_id":"abc"}`, []string{"body.prompt string_type", "body.scenario_id value_error"}},
		{"POST", "/v1/simulations", `{"prompt":"x","trace":["\u0000"]}`, []string{"body.trace.0 value_error"}},
		{"POST", "/v1/simulations", `{"prompt":"x","tags":[` + strings.Repeat(`"a",`, 20) + `"b"]}`, []string{"body.tags too_long"}},
		{"POST", "/v1/simulations/with-config", `{"prompt":"x"}`, []string{"body.config missing"}},
		{"POST", "/v1/simulations/with-config", `{"prompt":"x","config":5,"trace":{}}`, []string{"body.config model_attributes_type", "body.trace extra_forbidden"}},
		{"POST", "/v1/simulations/with-config", `{"prompt":"x","config":{"step_unit":"eon","number_of_steps":0,"seed":1.5,"agent_groups":[{},5,{"id":"a","name":"A","number_of_agents":1},{"id":"a","name":"","number_of_agents":0,"x":1}]}}`, []string{
			"body.config.step_unit enum", "body.config.number_of_steps greater_than_equal", "body.config.seed int_type",
			"body.config.agent_groups.0.id missing", "body.config.agent_groups.0.name missing", "body.config.agent_groups.0.number_of_agents missing",
			"body.config.agent_groups.1 model_attributes_type", "body.config.agent_groups.3.id value_error",
			"body.config.agent_groups.3.name string_too_short", "body.config.agent_groups.3.number_of_agents greater_than_equal", "body.config.agent_groups.3.x extra_forbidden",
		}},
		{"PUT", simulation + "/config", group(`"variables":{"A":{"type":"normal","mean":"x","std":-1},"B":{"type":"uniform","min":2,"max":1,"std":1},"C":{"type":"initial_value","value":null},"D":{},"E":5,"":{}}`), []string{
			"body.agent_groups.0.variables.A.mean float_type", "body.agent_groups.0.variables.A.std greater_than_equal",
			"body.agent_groups.0.variables.B.max greater_than_equal", "body.agent_groups.0.variables.B.std extra_forbidden",
			"body.agent_groups.0.variables.C.value value_error", "body.agent_groups.0.variables.D.type missing",
			"body.agent_groups.0.variables.E model_attributes_type", "body.agent_groups.0.variables. string_too_short",
		}},
		{"PUT", simulation + "/config", group(`"variables":{"A":{"type":"normal","mean":1e999,"std":1e-999}}`), []string{
			"body.agent_groups.0.variables.A.mean finite_number", "body.agent_groups.0.variables.A.std finite_number",
		}},
		{"PUT", simulation + "/config", group(`"actions":{"A":{"type":"often"},"B":{"type":"continuous","description":"d","min":2,"max":1,"x":"\u0000"},"C":[]}`), []string{
			"body.agent_groups.0.actions.A.type enum", "body.agent_groups.0.actions.B.max greater_than_equal",
			"body.agent_groups.0.actions.B.x value_error", "body.agent_groups.0.actions.C model_attributes_type",
		}},
		{"POST", simulation + "/architect", `{"prompt":"","max_turns":0,"model":5}`, []string{"body.prompt string_too_short", "body.max_turns greater_than_equal", "body.model string_type"}},
		{"POST", "/v1/tenants", `{"name":"","is_active":true}`, []string{"body.name string_too_short", "body.is_active extra_forbidden"}},
		{"PATCH", "/v1/tenants/ten_a", `{}`, []string{"body.is_active missing"}},
	} {
		caller := secret
		if strings.HasPrefix(tt.target, "/v1/tenants") {
			caller = operator
		}
		a := w.do(tt.method, tt.target, caller, tt.body).want(t, 422, "…")
		var invalid api.Invalid
		if err := json.Unmarshal([]byte(a.body), &invalid); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range invalid.Detail {
			steps := make([]string, len(e.Loc))
			for i, step := range e.Loc {
				steps[i] = fmt.Sprint(step)
			}
			got = append(got, strings.Join(steps, ".")+" "+e.Type)
			if e.Msg == "" {
				t.Errorf("%s %s: %q has no sentence", tt.method, tt.target, got)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s %s %s\ngot  %q\nwant %q", tt.method, tt.target, tt.body, got, tt.want)
		}
	}
}

// TestValidationBytes holds the shape of a 422 to its bytes.
func TestValidationBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	w.do("POST", "/v1/keys", secret, `{"name":"","rate_limit":0}`).want(t, 422,
		`{"detail":[{"loc":["body","name"],"msg":"String should have at least 1 character","type":"string_too_short"},`+
			`{"loc":["body","rate_limit"],"msg":"Input should be greater than or equal to 1","type":"greater_than_equal"}]}`)
	w.do("POST", "/v1/simulations", secret, `{"prompt":"x","tags":["a",1]}`).want(t, 422,
		`{"detail":[{"loc":["body","tags",1],"msg":"Input should be a valid string","type":"string_type"}]}`)
}
