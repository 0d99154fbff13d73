package main_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// accessLine is the line of a request in the log.
type accessLine struct {
	Msg        string
	RequestID  string `json:"request_id"`
	DecisionID string `json:"decision_id"`
	Route      string
	Method     string
	Status     int
	Duration   int64
	TenantID   string `json:"tenant_id"`
	KeyID      string `json:"key_id"`
	Reason     string
}

// TestAccessLog: one line for each request, found by the ids in its answer,
// that says who asked for what and how it ended, and nothing else that a
// client has sent.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Log")
	key := c.newKey(map[string]any{"scopes": []string{"scenarios:*"}, "rate_limit": 3, "name": "confidential-name"})
	user := c.with(key.APIKey)
	const marker = "confidential"
	calls := []struct {
		call
		by             *client
		status         int
		route, reason  string
		tenant, keyID  string
		ownRequestName string
	}{
		{call{method: "GET", path: "/v1/scenarios?limit=3"}, user, 200, "/v1/scenarios", "allowed", c.tenant, key.KeyID, ""},
		{call{method: "GET", path: "/v1/scenarios/" + marker, header: map[string]string{"User-Agent": marker, "Cookie": marker}}, user, 404, "/v1/scenarios/:id", "allowed", c.tenant, key.KeyID, "my-own.id_1"},
		{call{method: "POST", path: "/v1/scenarios", body: `{"name":5,"` + marker + `":1}`, bad: true}, user, 422, "/v1/scenarios", "allowed", c.tenant, key.KeyID, ""},
		{call{method: "GET", path: "/v1/keys"}, user, 403, "/v1/keys", "scope_missing", c.tenant, key.KeyID, ""},
		{call{method: "GET", path: "/v1/scenarios"}, user, 429, "/v1/scenarios", "rate_limited", c.tenant, key.KeyID, ""},
		{call{method: "GET", path: "/v1/keys"}, c.with(""), 401, "/v1/keys", "key_absent", "", "", ""},
		{call{method: "GET", path: "/v1/keys"}, c.with(marker), 401, "/v1/keys", "key_malformed", "", "", ""},
		{call{method: "GET", path: "/v1/keys"}, c.with("twyn_live_" + strings.Repeat("9", 64)), 401, "/v1/keys", "key_unknown", "", "", ""},
		{call{method: "GET", path: "/" + marker, bad: true}, c, 404, "unmatched", "allowed", c.tenant, "", ""},
	}
	answers := make([]*answer, len(calls))
	for i, o := range calls {
		if o.ownRequestName != "" {
			o.header["X-Request-Id"] = o.ownRequestName
		}
		answers[i] = o.by.do(o.call).want(o.status)
		if id := answers[i].header.Get("X-Request-Id"); o.ownRequestName != "" && id != o.ownRequestName {
			t.Errorf("X-Request-Id %q was answered with %q", o.ownRequestName, id)
		}
	}
	a := user.do(call{method: "GET", path: "/v1/keys", header: map[string]string{"X-Request-Id": "a b\"" + marker}, bad: true})
	if id := a.header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{24}$`).MatchString(id) {
		t.Errorf("an unfit X-Request-Id was answered with %q", id)
	}
	s.stop()
	lines := map[string][]accessLine{}
	for line := range strings.Lines(s.logs()) {
		var entry accessLine
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("not JSON: %s", line)
		}
		if entry.Msg == "request" {
			lines[entry.RequestID] = append(lines[entry.RequestID], entry)
		}
	}
	for i, o := range calls {
		found := lines[answers[i].header.Get("X-Request-Id")]
		if len(found) != 1 {
			t.Errorf("%s %s: %d lines; want 1", o.method, o.path, len(found))
			continue
		}
		got := found[0]
		if got.DecisionID != answers[i].header.Get("X-Decision-Id") || got.DecisionID == "" || got.Route != o.route || got.Method != o.method ||
			got.Status != o.status || got.Duration <= 0 || got.TenantID != o.tenant || (o.keyID != "" && got.KeyID != o.keyID) || got.Reason != o.reason {
			t.Errorf("%s %s: %+v", o.method, o.path, got)
		}
	}
	if strings.Contains(s.logs(), marker) {
		t.Error("the log repeats what a client sent")
	}
}

// TestWelcome: on an empty database the server makes the tenant demo and shows
// its key once, on standard output, with three commands that work.
func TestWelcome(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	const lastCommand = "/v1/simulations"
	for deadline := time.Now().Add(startTimeout); !strings.Contains(s.stdout.String(), lastCommand); {
		if time.Now().After(deadline) {
			t.Fatalf("no welcome on standard output: %s", redact([]byte(s.stdout.String())))
		}
		s.as(t, "").get("/healthz").want(http.StatusOK)
	}
	s.stop() // whatever it had to say has been said
	text := s.stdout.String()
	secrets.addAll([]byte(text))
	keys := apiKeyPattern.FindAllString(text, -1)
	if len(keys) == 0 {
		t.Fatal("no key on standard output")
	}
	for _, key := range keys {
		if key != keys[0] {
			t.Error("two different keys on standard output")
		}
	}
	old := strings.TrimPrefix(s.BaseURL, "http://")
	s.start()
	s.as(t, keys[0]).get("/v1/keys").want(http.StatusOK)
	_, commands, _ := strings.Cut(text, "try:")
	statuses := curl(t, keys[0], strings.ReplaceAll(commands, old, strings.TrimPrefix(s.BaseURL, "http://")))
	if got := strings.Join(statuses, " "); got != "200 201 201" {
		t.Errorf("the commands to try were answered %s; want 200 201 201", got)
	}
	s.stop()
	if again := strings.TrimPrefix(s.stdout.String(), text); apiKeyPattern.MatchString(again) {
		t.Error("a second start shows a key")
	}
}
