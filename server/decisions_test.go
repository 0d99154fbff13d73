package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/api"
)

var _ DecisionStore = (*memory)(nil)

func (m *memory) Decision(_ context.Context, tenantID, id string) (engine.DecisionRecord, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.DecisionRecord{}, err
	}
	defer leave()
	r, ok := m.decisions[id]
	if !ok || r.TenantID != tenantID {
		return engine.DecisionRecord{}, engine.ErrNotFound
	}
	return r, nil
}

func (m *memory) Decisions(_ context.Context, tenantID string, f engine.DecisionFilter) (list []engine.DecisionRecord, err error) {
	leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	ids := slices.Sorted(maps.Keys(m.decisions))
	for _, id := range slices.Backward(ids) {
		r := m.decisions[id]
		visible := slices.Contains(f.Environments, r.Environment) || r.Environment == "" && slices.Contains(f.Environments, engine.Live)
		if r.TenantID != tenantID || !visible || (f.KeyID != "" && f.KeyID != r.KeyID) || (f.Effect != "" && f.Effect != r.Effect) ||
			(f.Reason != "" && !slices.ContainsFunc(r.Reasons, func(w engine.Reason) bool { return w.Code == f.Reason })) ||
			r.At.Before(f.Since) || (!f.Until.IsZero() && !r.At.Before(f.Until)) || (f.Before != "" && r.ID >= f.Before) {
			continue
		}
		if r.Input = nil; len(list) < f.Limit {
			list = append(list, r)
		}
	}
	return list, nil
}

// logged puts a record into the decision log.
func (w *world) logged(tenantID, keyID string, environment engine.Environment, effect engine.Effect, after time.Duration) string {
	w.t.Helper()
	at := startOfTime.Add(after)
	r := engine.DecisionRecord{
		ID: engine.NewDecisionID(at), At: at, TenantID: tenantID, KeyID: keyID, Environment: environment, RequestID: "req",
		Method: "GET", Route: "/v1/keys", Path: "/v1/keys", ResourceType: "key", Effect: effect, Duration: 42 * time.Microsecond,
		Reasons: []engine.Reason{{Code: "code_" + string(effect), Message: "Why"}}, Revision: "r1", Input: []byte(`{"request":{"id":"req"}}`),
		Limits: []quota.Verdict{{Name: "key", Limit: 10, Window: time.Hour, Admitted: true, Remaining: 3, Reset: at.Add(time.Hour)}},
	}
	if keyID == "" {
		r.Revision, r.ResourceType, r.Limits = "", "", nil
	}
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.store.decisions[r.ID] = r
	return r.ID
}

// listed asks for decisions and returns their ids and the next cursor.
func (w *world) listed(secret engine.Credential, query string) (ids []string, next *string) {
	w.t.Helper()
	var list api.DecisionList
	a := w.do("GET", "/v1/decisions"+query, secret, "").want(w.t, 200, "…")
	if err := json.Unmarshal([]byte(a.body), &list); err != nil {
		w.t.Fatal(err)
	}
	for i := range list.Items {
		ids = append(ids, list.Items[i].ID)
	}
	return ids, list.Next
}

func TestListDecisions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	acme := w.tenant("ten_acme")
	a := w.logged("ten_acme", "key_a", engine.Live, engine.Allow, 0)
	b := w.logged("ten_acme", "key_b", engine.Live, engine.Deny, time.Second)
	c := w.logged("ten_acme", "key_a", engine.Test, engine.Throttle, 2*time.Second)
	for query, want := range map[string][]string{
		"":                            {c, b, a},
		"?tenant=ten_acme":            {c, b, a},
		"?limit=3":                    {c, b, a},
		"?key=key_a":                  {c, a},
		"?effect=deny":                {b},
		"?reason=code_allow":          {a},
		"?before=" + c:                {b, a},
		"?since=2025-11-24T01:00:01Z": {c, b},
		"?until=2025-11-24T01:00:01Z": {a},
		"?since=" + url.QueryEscape("2025-11-24T02:00:01+01:00") + "&key=key_a": {c},
	} {
		if got, next := w.listed(acme, query); !slices.Equal(got, want) || next != nil {
			t.Errorf("%q: got %v, %v; want %v", query, got, next, want)
		}
	}
	got, next := w.listed(acme, "?limit=2")
	if !slices.Equal(got, []string{c, b}) || next == nil || *next != b {
		t.Fatalf("got %v, %v", got, next)
	}
	if got, next = w.listed(acme, "?limit=2&before="+*next); !slices.Equal(got, []string{a}) || next != nil {
		t.Errorf("got %v, %v", got, next)
	}
	test := w.key(engine.Key{TenantID: "ten_acme", Environment: engine.Test, Scopes: engine.Scopes{"decisions:read"}})
	if got, _ := w.listed(test, ""); !slices.Equal(got, []string{c}) {
		t.Errorf("a test key sees %v; want %s", got, c)
	}
	w.do("GET", "/v1/decisions/"+a, test, "").want(t, 403, `{"detail":"Access denied: decision belongs to the live environment"}`)
	keys := w.key(engine.Key{TenantID: "ten_acme", Scopes: engine.Scopes{"keys:*"}})
	w.do("GET", "/v1/decisions", keys, "").want(t, 403, `{"detail":"Access denied: scope decisions:read is required"}`)
	for query, kind := range map[string]string{
		"?limit=0": "greater_than_equal", "?limit=1001": "less_than_equal", "?effect=maybe": "enum", "?before=dec_1": "value_error",
		"?since=yesterday": "datetime_from_date_parsing", "?offset=1": "extra_forbidden", "?key=a&key=b": "value_error",
	} {
		if a := w.do("GET", "/v1/decisions"+query, acme, "").want(t, 422, "…"); kind != "" && !strings.Contains(a.body, `"type"`) {
			t.Errorf("%s: %s", query, a.body)
		}
	}
}

func TestDecisionsOfOtherTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	acme, other, operator := w.tenant("ten_acme"), w.tenant("ten_other"), w.operator()
	auditor := w.key(engine.Key{TenantID: engine.PlatformTenantID, Scopes: engine.Scopes{"decisions:read"}})
	mine := w.logged("ten_acme", "key_a", engine.Live, engine.Allow, 0)
	nobodys := w.logged(engine.PlatformTenantID, "", "", engine.Unauthenticated, time.Second)
	const isolation = `{"detail":"Access denied: decision belongs to different tenant"}`
	for _, secret := range []engine.Credential{other, auditor} {
		w.do("GET", "/v1/decisions?tenant=ten_acme", secret, "").want(t, 403, isolation)
		w.do("GET", "/v1/decisions/"+mine, secret, "").want(t, 403, isolation)
	}
	for _, secret := range []engine.Credential{acme, other} {
		w.do("GET", "/v1/decisions?tenant=platform", secret, "").want(t, 403, isolation)
		w.do("GET", "/v1/decisions/"+nobodys, secret, "").want(t, 403, isolation)
	}
	if got, _ := w.listed(other, ""); len(got) != 0 {
		t.Errorf("another tenant sees %v", got)
	}
	if got, _ := w.listed(operator, "?tenant=ten_acme"); !slices.Equal(got, []string{mine}) {
		t.Errorf("an operator sees %v", got)
	}
	w.do("GET", "/v1/decisions/"+mine, operator, "").want(t, 200, "…")
	for _, secret := range []engine.Credential{operator, auditor} {
		if got, _ := w.listed(secret, ""); !slices.Equal(got, []string{nobodys}) {
			t.Errorf("the platform's log is %v", got)
		}
	}
	var shown api.Decision
	if err := json.Unmarshal([]byte(w.do("GET", "/v1/decisions/"+nobodys, operator, "").want(t, 200, "…").body), &shown); err != nil {
		t.Fatal(err)
	}
	if shown.TenantID != nil || shown.KeyID != nil || shown.Environment != nil || shown.Resource != nil || shown.Why.Unexplained == "" {
		t.Errorf("of nobody: %+v", shown)
	}
}

// TestDecisionsWithAnOlderPolicy: the server itself keeps tenants apart even
// where the policy was written before there was a decision log.
func TestDecisionsWithAnOlderPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Decider = permissive{} })
	w.logged("ten_acme", "key_a", engine.Live, engine.Allow, 0)
	w.do("GET", "/v1/decisions?tenant=ten_acme", "", "").want(t, 403, `{"detail":"Access denied: decision belongs to different tenant"}`)
}

// permissive allows a tenant everything.
type permissive struct{}

func (permissive) Decide(_ context.Context, r *engine.Request) (engine.Decision, error) {
	return engine.Decision{
		ID: engine.NewDecisionID(r.At), At: r.At, Effect: engine.Allow,
		Principal: &engine.Principal{Key: &engine.Key{ID: "key_x", Environment: engine.Live}, Tenant: &engine.Tenant{ID: "ten_x"}},
	}, nil
}

// explainer explains with what it holds.
type explainer struct {
	rules []engine.Explanation
	err   error
}

func (e *explainer) Explain(_ context.Context, revision string, input json.RawMessage) ([]engine.Explanation, error) {
	if revision != "r1" || string(input) != `{"request":{"id":"req"}}` {
		return nil, fmt.Errorf("asked about %s of %s", input, revision)
	}
	return e.rules, e.err
}

func TestGetDecision(t *testing.T) {
	t.Parallel()
	e := &explainer{rules: []engine.Explanation{{Rule: "data.twyn.deny", File: "a.rego", Row: 3, Col: 1, Code: "c", Message: "m"}}}
	w := newWorld(t, func(o *Options) { o.Explainer = e })
	acme := w.tenant("ten_acme")
	id := w.logged("ten_acme", "key_a", engine.Live, engine.Deny, 0)
	record := `{"id":"` + id + `","at":"2025-11-24T01:00:00Z","tenant_id":"ten_acme","key_id":"key_a","environment":"live",` +
		`"request_id":"req","method":"GET","route":"/v1/keys","path":"/v1/keys","resource":{"type":"key","id":"","tenant_id":null},` +
		`"effect":"deny","reasons":[{"code":"code_deny","message":"Why"}],` +
		`"limits":[{"name":"key","limit":10,"window_seconds":3600,"admitted":true,"remaining":3,"reset":"2025-11-24T02:00:00Z"}],` +
		`"revision":"r1","plugin_digest":"","duration_us":42,"why":{"input":{"request":{"id":"req"}},"masked":[],"omitted":"",`
	w.do("GET", "/v1/decisions/"+id, acme, "").want(t, 200, record+
		`"rules":[{"rule":"data.twyn.deny","file":"a.rego","row":3,"col":1,"values":{},"code":"c","message":"m"}],"unexplained":""}}`)
	e.rules = nil
	for err, want := range map[error]string{
		engine.ErrNotFound:   unexplainedForgotten,
		errors.New("broken"): unexplainedFailed,
	} {
		e.err = err
		w.do("GET", "/v1/decisions/"+id, acme, "").want(t, 200, record+`"rules":[],"unexplained":"`+want+`"}}`)
	}
	missing := engine.NewDecisionID(startOfTime)
	w.do("GET", "/v1/decisions/"+missing, acme, "").want(t, 404, `{"detail":"Decision with ID `+missing+` not found"}`)
	w.do("GET", "/v1/decisions/abc", acme, "").want(t, 404, `{"detail":"Decision with ID abc not found"}`)
	w.do("GET", "/v1/decisions/"+id+"?why=1", acme, "").want(t, 422, "…")
	w.do("DELETE", "/v1/decisions/"+id, acme, "").want(t, 405, "…")
	w.store.away.Store(true)
	w.do("GET", "/v1/decisions", acme, "").want(t, 503, "…")
}
