package main_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twyn/twyn/server/openapi"
)

// invalidKey is the one body of every 401.
const invalidKey = `{"detail":"Invalid or missing API key"}`

// operation is one operation of the OpenAPI document.
type operation struct {
	method, path string // with ids that do not exist in place of parameters
	open         bool
	body         bool
}

// operations lists the document's operations on the API's own listener.
func operations(t testing.TB) []operation {
	t.Helper()
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(openapi.Document(), &document); err != nil {
		t.Fatal(err)
	}
	parameter := regexp.MustCompile(`\{[^}]*\}`)
	var all []operation
	for path, item := range document.Paths {
		if path == "/metrics" {
			continue
		}
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			raw, ok := item[strings.ToLower(method)]
			if !ok {
				continue
			}
			var o struct {
				Security    *[]any
				RequestBody *struct{}
			}
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
			all = append(all, operation{
				method: method, path: parameter.ReplaceAllString(path, "no-such-id"),
				open: o.Security != nil && len(*o.Security) == 0, body: o.RequestBody != nil,
			})
		}
	}
	if len(all) < 25 {
		t.Fatalf("only %d operations in the document", len(all))
	}
	return all
}

// TestOrderOfChecks: authentication answers before the policy, the policy
// before the limits, the limits before everything that a route does. Bodies,
// paths and queries that are wrong change nothing about it.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Order")
	none := owner.with(owner.newKey(map[string]any{"scopes": []string{"traces:read"}}).APIKey)
	spent := owner.with(owner.newKey(map[string]any{"rate_limit": 1}).APIKey)
	spent.get("/v1/scenarios").want(http.StatusOK)
	for _, o := range operations(t) {
		if o.open {
			continue
		}
		wrong := call{method: o.method, path: o.path + "?no_such_parameter=1", bad: true}
		if o.body {
			wrong.body = "{{"
		}
		owner.with("").do(wrong).wantBody(http.StatusUnauthorized, invalidKey)
		a := none.do(wrong).want(http.StatusForbidden)
		if strings.HasPrefix(o.path, "/v1/tenants") || strings.HasPrefix(o.path, "/v1/policies") {
			a.wantDetail(http.StatusForbidden, "Access denied: operators only")
			continue
		}
		resource := strings.Split(o.path, "/")[2]
		action := "write"
		if o.method == http.MethodGet {
			action = "read"
		}
		a.wantDetail(http.StatusForbidden, "Access denied: scope "+resource+":"+action+" is required")
		spent.do(wrong).want(http.StatusTooManyRequests)
	}
}

// TestOpenRoutes lists everything that answers without a key; whatever else
// there is, or is not, asks for one.
func TestOpenRoutes(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	anonymous := s.as(t, "")
	var open []string
	for _, o := range operations(t) {
		if o.open {
			open = append(open, o.method+" "+o.path)
			anonymous.do(call{method: o.method, path: o.path}).want(http.StatusOK)
			anonymous.do(call{method: http.MethodHead, path: o.path}).want(http.StatusOK)
			anonymous.do(call{method: http.MethodPost, path: o.path}).wantBody(http.StatusUnauthorized, invalidKey)
		}
	}
	slices.Sort(open)
	if want := []string{"GET /docs", "GET /healthz", "GET /openapi.json", "GET /readyz"}; !slices.Equal(open, want) {
		t.Errorf("open routes: %v; want %v", open, want)
	}
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v1/keys/", "/v1/nothing", "/v2/keys", "/metrics", "/debug/pprof/", "/favicon.ico", "/healthz/", "/docs/", "/dashboard", "/.env",
		"/V1/keys", "/v1/Keys", "/healthz/x", "/openapi.yaml",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
			anonymous.do(call{method: method, path: path, bad: true}).wantBody(http.StatusUnauthorized, invalidKey)
		}
		s.as(t, s.key()).do(call{method: "GET", path: path, bad: true}).want(http.StatusNotFound)
	}
	if body := anonymous.get("/openapi.json").body; string(body) != string(openapi.Document()) {
		t.Error("/openapi.json is not the document of the tests")
	}
	page := anonymous.get("/docs")
	if string(page.body) != string(openapi.Page()) || page.header.Get("Content-Security-Policy") != openapi.PageCSP() {
		t.Errorf("/docs is not the page, or has another policy: %q", page.header.Get("Content-Security-Policy"))
	}
}

// TestMetrics: they are on a listener of their own, and count what the server
// did.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	s.as(t, "").get("/v1/keys").want(http.StatusUnauthorized)
	s.as(t, s.key()).get("/v1/keys").want(http.StatusOK)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.MetricsURL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var text strings.Builder
	if _, err := copyTo(&text, response); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`twyn_decisions_total{outcome="allow",reason="allowed"} 1`,
		`twyn_decisions_total{outcome="unauthenticated",reason="key_absent"} 1`,
		`twyn_decision_duration_seconds_count 2`,
		`twyn_http_request_duration_seconds_count{method="GET",route="/v1/keys",status="200"} 1`,
		`twyn_http_request_duration_seconds_count{method="GET",route="/v1/keys",status="401"} 1`,
	} {
		if !strings.Contains(text.String(), want+"\n") {
			t.Errorf("the metrics have no line %s", want)
		}
	}
	if strings.Contains(text.String(), s.firstTenant().TenantID) || strings.Contains(text.String(), s.firstTenant().KeyID) {
		t.Error("a label names a tenant or a key")
	}
}

// TestAuthenticationTellsNothing: whatever is wrong with a key, the answer has
// the same bytes and the same headers.
func TestAuthenticationTellsNothing(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Silent")
	disabled, expired, deleted := owner.newKey(nil), owner.newKey(map[string]any{"expires_in_days": 1}), owner.newKey(nil)
	owner.patch("/v1/keys/"+disabled.KeyID, map[string]any{"is_active": false}).want(http.StatusOK)
	owner.delete("/v1/keys/" + deleted.KeyID).want(http.StatusNoContent)
	// The key has not been used, so that no cache knows when it ended before.
	s.execute(t, `UPDATE keys SET created_at = created_at - interval '2 days', expires_at = created_at - interval '1 day' WHERE id = $1`, expired.KeyID)

	zeros := strings.Repeat("0", 64)
	for name, key := range map[string]string{
		"unknown live": "twyn_live_" + zeros, "unknown test": "twyn_test_" + zeros, "disabled": disabled.APIKey, "expired": expired.APIKey,
		"deleted": deleted.APIKey, "word": "hello", "short": "twyn_live_" + zeros[1:], "long": "twyn_live_" + zeros + "0",
		"upper case": "twyn_live_" + strings.Repeat("A", 64), "other environment": "twyn_prod_" + zeros, "512 bytes": strings.Repeat("x", 512),
		"513 bytes": strings.Repeat("x", 513), "8000 bytes": strings.Repeat("x", 8000), "inner space": "twyn_live_ " + zeros,
		"comma": owner.key + "," + owner.key, "digest": "sha256:" + zeros, "key id": disabled.KeyID,
	} {
		a := owner.with(key).do(call{method: "GET", path: "/v1/keys", bad: true})
		if string(a.body) != invalidKey || a.status != http.StatusUnauthorized || shape(a.header) != shape(owner.with("").get("/v1/keys").header) {
			t.Errorf("%s: answered %d %s with %s", name, a.status, a.body, shape(a.header))
		}
	}
	for name, request := range map[string]string{
		"empty":       "X-API-Key:\r\n",
		"repeated":    "X-API-Key: " + owner.key + "\r\nX-API-Key: " + owner.key + "\r\n",
		"second bad":  "X-API-Key: " + owner.key + "\r\nx-api-key: x\r\n",
		"underscores": "X_API_Key: " + owner.key + "\r\n",
		"bearer":      "Authorization: Bearer " + owner.key + "\r\n",
		"cookie":      "Cookie: X-API-Key=" + owner.key + "\r\n",
	} {
		a := s.raw(t, "GET /v1/keys HTTP/1.1\r\nHost: x\r\n"+request+"Connection: close\r\n\r\n")
		if a.status != http.StatusUnauthorized || string(a.body) != invalidKey {
			t.Errorf("%s: answered %d %s", name, a.status, redact(a.body))
		}
	}
	owner.get("/v1/keys?x_api_key=" + "a").want(http.StatusUnprocessableEntity)
	owner.with("").get("/v1/keys?X-API-Key=abc").want(http.StatusUnauthorized)
}

// shape lists the headers of an answer and the lengths of their values.
func shape(header http.Header) string {
	var lines []string
	for name, values := range header {
		if name == "Connection" {
			continue
		}
		line := name
		for _, v := range values {
			line += ":" + strings.Repeat("x", len(v))
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, " ")
}
