package server

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twyn/twyn/engine"
)

// metric reads one line of the metrics.
func (w *world) metric(series string) string {
	w.t.Helper()
	recorder := httptest.NewRecorder()
	w.server.MetricsHandler().ServeHTTP(recorder, mustRequest(w.t, "/metrics"))
	for line := range strings.Lines(recorder.Body.String()) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == series {
			return value
		}
	}
	return ""
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	w.do("GET", "/v1/keys", secret, "").want(t, 200, "…")
	w.do("GET", "/v1/keys", "", "").want(t, 401, "…")
	w.do("PURGE", "/nowhere", secret, "").want(t, 404, "…")
	w.do("GET", "/v1/tenants", secret, "").want(t, 403, "…")
	w.do("GET", "/../x", secret, "").want(t, 400, "…")
	w.raw("nonsense\r\n\r\n")
	if err := w.stop(); err != nil { // the last answers are counted when they are sent
		t.Fatal(err)
	}
	for series, want := range map[string]string{
		`twyn_decisions_total{outcome="allow",reason="allowed"}`:                                  "2",
		`twyn_decisions_total{outcome="unauthenticated",reason="key_absent"}`:                     "1",
		`twyn_decisions_total{outcome="deny",reason="operator_only"}`:                             "1",
		`twyn_decision_duration_seconds_count`:                                                    "4",
		`twyn_http_request_duration_seconds_count{method="GET",route="/v1/keys",status="200"}`:    "1",
		`twyn_http_request_duration_seconds_count{method="GET",route="/v1/keys",status="401"}`:    "1",
		`twyn_http_request_duration_seconds_count{method="OTHER",route="unmatched",status="404"}`: "1",
		`twyn_http_request_duration_seconds_count{method="GET",route="unmatched",status="400"}`:   "1",
		`twyn_http_request_duration_seconds_count{method="OTHER",route="unmatched",status="400"}`: "1",
		`twyn_http_panics_total`:       "0",
		`twyn_http_requests_in_flight`: "0",
	} {
		if got := w.metric(series); got != want {
			t.Errorf("%s is %q; want %s", series, got, want)
		}
	}
}

// TestReasonLabels checks that policies cannot make labels without end.
func TestReasonLabels(t *testing.T) {
	t.Parallel()
	m := NewMetrics("")
	for i := range maxPolicyReasons {
		if code := fmt.Sprint("code_", i); m.reasonLabel(code) != code {
			t.Fatalf("code %d has the label %q", i, m.reasonLabel(code))
		}
	}
	for code, want := range map[string]string{
		"one_too_many": "other", "code_0": "code_0", engine.ReasonKeyExpired: engine.ReasonKeyExpired, strings.Repeat("x", 65): "other",
	} {
		if got := m.reasonLabel(code); got != want {
			t.Errorf("reasonLabel(%q) = %q; want %q", code, got, want)
		}
	}
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	w.do("GET", "/v1/keys?limit=5&token=hidden", secret, "", "X-Request-Id", "r1").want(t, 422, "…")
	w.do("GET", "/v1/keys/hidden", "", "", "X-Request-Id", "r2").want(t, 401, "…")
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	log := w.log.String()
	contains(t, log, `"msg":"request","request_id":"r1","decision_id":"dec_`, `"route":"/v1/keys","method":"GET","status":422,"duration":0,"tenant_id":"ten_a","key_id":"key_`,
		`"reason":"allowed"}`, `"request_id":"r2"`, `"route":"/v1/keys/:key_id","method":"GET","status":401,"duration":0,"tenant_id":"","key_id":"","reason":"key_absent"}`)
	if strings.Contains(log, "hidden") || strings.Contains(log, "limit=5") || strings.Count(log, "\n") != 2 {
		t.Errorf("the log is\n%s", log)
	}
}
