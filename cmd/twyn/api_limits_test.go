package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLimitIsExact: of a thousand requests at once on a key of five, five
// pass; after a graceful restart, and after a kill, in the window, none.
func TestLimitIsExact(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Exact")
	made := owner.newKey(map[string]any{"rate_limit": 5})
	user := owner.with(made.APIKey)
	burst := func(requests int) (passed, refused int64) {
		var ok, throttled atomic.Int64
		var group sync.WaitGroup
		for range requests {
			group.Add(1)
			go func() {
				defer group.Done()
				a, err := user.try(call{method: "GET", path: "/v1/scenarios"})
				switch {
				case err != nil:
					t.Errorf("a request of the burst: %v", err)
				case a.status == http.StatusOK:
					ok.Add(1)
				case a.status == http.StatusTooManyRequests:
					throttled.Add(1)
				default:
					t.Errorf("a request of the burst was answered %d: %s", a.status, a.body)
				}
			}()
		}
		group.Wait()
		return ok.Load(), throttled.Load()
	}
	for _, tt := range []struct {
		name     string
		before   func()
		requests int
		pass     int64
	}{
		{"first burst", func() {}, 1000, 5},
		{"after a graceful restart", s.restart, 100, 0},
		{"after kill -9", func() { s.kill9(); s.start() }, 100, 0},
	} {
		tt.before()
		if passed, refused := burst(tt.requests); passed != tt.pass || refused != int64(tt.requests)-tt.pass {
			t.Errorf("%s: %d of %d passed, %d were refused; want %d to pass", tt.name, passed, tt.requests, refused, tt.pass)
		}
	}
	if info := owner.keyInfo(made.KeyID); info.UsageCount > 5 {
		t.Errorf("usage_count is %d after 5 requests passed", info.UsageCount)
	}
}

// TestLimitSurvivesKill: what was admitted right before a kill is not given
// again.
func TestLimitSurvivesKill(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Kill")
	user := owner.with(owner.newKey(map[string]any{"rate_limit": 20}).APIKey)
	passed := 0
	for range 3 {
		for range 4 {
			user.get("/v1/scenarios").want(http.StatusOK)
			passed++
		}
		s.kill9()
		s.start()
	}
	for range 20 {
		a := user.get("/v1/scenarios")
		if a.status == http.StatusTooManyRequests {
			break
		}
		a.want(http.StatusOK)
		passed++
	}
	if passed > 20 {
		t.Errorf("%d requests passed a limit of 20", passed)
	}
	user.get("/v1/scenarios").want(http.StatusTooManyRequests)
}

// TestLimitHeaders: they count down, agree with each other, and are on every
// answer past authentication.
func TestLimitHeaders(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Headers")
	user := owner.with(owner.newKey(map[string]any{"rate_limit": 4, "scopes": []string{"scenarios:*"}}).APIKey)
	reset := ""
	check := func(a *answer, status, remaining int) {
		t.Helper()
		a.want(status)
		now := time.Now().Unix()
		h := a.header
		if h.Get("X-RateLimit-Limit") != "4" || h.Get("X-RateLimit-Remaining") != strconv.Itoa(remaining) {
			t.Errorf("limit %s, remaining %s; want 4, %d", h.Get("X-RateLimit-Limit"), h.Get("X-RateLimit-Remaining"), remaining)
		}
		if reset == "" {
			reset = h.Get("X-RateLimit-Reset")
			at, err := strconv.ParseInt(reset, 10, 64)
			if err != nil || at < now+3500 || at > now+3602 {
				t.Errorf("X-RateLimit-Reset is %s; want an hour from %d", reset, now)
			}
		}
		if h.Get("X-RateLimit-Reset") != reset {
			t.Errorf("X-RateLimit-Reset moved from %s to %s", reset, h.Get("X-RateLimit-Reset"))
		}
		if !regexp.MustCompile(fmt.Sprintf(`^"key";r=%d;t=3[56]\d\d$`, remaining)).MatchString(h.Get("RateLimit")) || h.Get("RateLimit-Policy") != `"key";q=4;w=3600` {
			t.Errorf("RateLimit: %s, RateLimit-Policy: %s", h.Get("RateLimit"), h.Get("RateLimit-Policy"))
		}
	}
	check(user.get("/v1/scenarios"), http.StatusOK, 3)
	check(user.get("/v1/keys"), http.StatusForbidden, 3)
	check(user.get("/v1/scenarios/x"), http.StatusNotFound, 2)
	check(user.do(call{method: "POST", path: "/v1/scenarios", body: "{", bad: true}), http.StatusBadRequest, 1)
	check(user.do(call{method: "PATCH", path: "/v1/scenarios", bad: true}), http.StatusMethodNotAllowed, 0)
	a := user.get("/v1/scenarios")
	check(a, http.StatusTooManyRequests, 0)
	check(user.get("/v1/keys"), http.StatusForbidden, 0)

	var body struct {
		Error, Message string
		RetryAfter     int64 `json:"retry_after"`
	}
	a.into(&body)
	if a.header.Get("Retry-After") != strconv.FormatInt(body.RetryAfter, 10) || body.RetryAfter < 3500 || body.RetryAfter > 3600 {
		t.Errorf("Retry-After %s, retry_after %d", a.header.Get("Retry-After"), body.RetryAfter)
	}
	when := fmt.Sprintf("in %d minutes", (body.RetryAfter+59)/60)
	if body.RetryAfter == 3600 {
		when = "later"
	}
	a.wantBody(http.StatusTooManyRequests, fmt.Sprintf(
		`{"error":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded. Try again %s.","retry_after":%d}`, when, body.RetryAfter,
	))

	for _, name := range []string{"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit", "RateLimit-Policy"} {
		if v := user.with("").get("/v1/scenarios").header.Get(name); v != "" {
			t.Errorf("a 401 carries %s: %s", name, v)
		}
	}
}

// TestLimitChangeActsAtOnce, on the window that is running.
func TestLimitChangeActsAtOnce(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Change")
	made := owner.newKey(map[string]any{"rate_limit": 2})
	user := owner.with(made.APIKey)
	limit := func(n int) {
		t.Helper()
		owner.patch("/v1/keys/"+made.KeyID, map[string]any{"rate_limit": n}).want(http.StatusOK)
	}
	remaining := func(status int, want string) {
		t.Helper()
		if a := user.get("/v1/scenarios").want(status); a.header.Get("X-RateLimit-Remaining") != want {
			t.Errorf("remaining %s; want %s", a.header.Get("X-RateLimit-Remaining"), want)
		}
	}
	remaining(http.StatusOK, "1")
	remaining(http.StatusOK, "0")
	remaining(http.StatusTooManyRequests, "0")
	limit(4)
	remaining(http.StatusOK, "1")
	limit(1)
	remaining(http.StatusTooManyRequests, "0")
	limit(5)
	remaining(http.StatusOK, "1")
	if info := owner.keyInfo(made.KeyID); info.UsageCount != 4 {
		t.Errorf("usage_count %d; want 4: a refused request is not counted", info.UsageCount)
	}
}

// TestLimitCannotBeDodged: neither rotation, nor forwarded addresses, nor
// another spelling of anything opens a new window.
func TestLimitCannotBeDodged(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Dodge")
	made := owner.newKey(map[string]any{"rate_limit": 3})
	user := owner.with(made.APIKey)
	for range 3 {
		user.get("/v1/scenarios").want(http.StatusOK)
	}
	for i, header := range []map[string]string{
		{"X-Forwarded-For": "203.0.113.7"},
		{"X-Forwarded-For": "203.0.113.8, 10.0.0.1"},
		{"X-Real-IP": "203.0.113.9"},
		{"Forwarded": "for=203.0.113.10"},
		{"X_Forwarded_For": "203.0.113.11"},
		{"User-Agent": "other"},
		{"Cookie": "a=b"},
		{"X-Request-Id": "another"},
		{"X-Tenant-Id": "ten_other"},
		{"Idempotency-Key": "one"},
		{"X-HTTP-Method-Override": "POST"},
	} {
		user.do(call{method: "GET", path: fmt.Sprintf("/v1/scenarios?limit=%d", i+1), header: header}).want(http.StatusTooManyRequests)
	}
	var rotated keyInfo
	owner.post("/v1/keys/"+made.KeyID+"/rotate", nil).want(http.StatusOK).into(&rotated)
	owner.with(rotated.APIKey).get("/v1/scenarios").want(http.StatusTooManyRequests)
	owner.patch("/v1/keys/"+made.KeyID, map[string]any{"is_active": false}).want(http.StatusOK)
	owner.patch("/v1/keys/"+made.KeyID, map[string]any{"is_active": true}).want(http.StatusOK)
	owner.with(rotated.APIKey).get("/v1/scenarios").want(http.StatusTooManyRequests)
	// The limit is the key's: another key of the tenant has its own.
	owner.get("/v1/scenarios").want(http.StatusOK)
	if strings.Contains(s.logs(), "203.0.113.") {
		t.Error("a forwarded address was believed, or logged")
	}
}
