package server

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
)

const unauthorised = `{"detail":"Invalid or missing API key"}`

// TestEveryRouteIsDecided walks the route table, with every method on every
// pattern, and paths that are in no table: without a key nothing but the open
// routes answers.
func TestEveryRouteIsDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	methods := append(slices.Clone(fiber.DefaultMethods), "PURGE", "get", otherMethod)
	methods = slices.DeleteFunc(methods, func(m string) bool { return m == "CONNECT" }) // net/http would not send it
	targets := map[string][]string{
		"/": nil, "/v1": nil, "/v1/": nil, "/v1/keys/": nil, "/V1/keys": nil, "/metrics": nil, "/v1/keys/a/b/c": nil, "/favicon.ico": nil,
		"/healthz/": nil, "/healthzz": nil, "/Docs": nil, "/v2/keys": nil, "/%76%32": nil,
	}
	for _, r := range w.server.routes() {
		target := strings.NewReplacer(":key_id", engine.NewKeyID(), ":tenant_id", engine.NewTenantID(), ":id", "01936f3c-0000-7000-8000-000000000000").Replace(r.pattern)
		if _, ok := targets[target]; !ok {
			targets[target] = nil
		}
		if r.access == open {
			targets[target] = []string{"GET", "HEAD"}
		}
	}
	if want := []string{"/docs", "/healthz", "/openapi.json", "/readyz"}; !slices.Equal(openTargets(targets), want) {
		t.Fatalf("open routes are %q; want %q", openTargets(targets), want)
	}
	for target, openMethods := range targets {
		for _, method := range methods {
			a := w.do(method, target, "", "")
			if slices.Contains(openMethods, method) {
				if a.status != http.StatusOK || a.header.Get("X-Decision-Id") != "" {
					t.Errorf("%s %s = %d with decision %q; want an open route", method, target, a.status, a.header.Get("X-Decision-Id"))
				}
				continue
			}
			want := unauthorised
			if method == "HEAD" {
				want = ""
			}
			if a.status != http.StatusUnauthorized || a.body != want || a.header.Get("X-Decision-Id") == "" {
				t.Errorf("%s %s without a key = %d %s; want a decided 401", method, target, a.status, a.body)
			}
		}
	}
}

func openTargets(targets map[string][]string) []string {
	var open []string
	for target, methods := range targets {
		if methods != nil {
			open = append(open, target)
		}
	}
	slices.Sort(open)
	return open
}

// refusing denies every request and notes what it was asked.
type refusing struct {
	asked atomic.Pointer[engine.Request]
}

func (r *refusing) Decide(_ context.Context, request *engine.Request) (engine.Decision, error) {
	r.asked.Store(request)
	return engine.Decision{ID: "dec_1", Effect: engine.Deny, Reasons: []engine.Reason{{Code: "no", Message: "Access denied: no"}}}, nil
}

// TestRoutesNameTheirResource checks what the engine is told of each route,
// and that no handler runs once it has refused.
func TestRoutesNameTheirResource(t *testing.T) {
	t.Parallel()
	decider := &refusing{}
	w := newWorld(t, func(o *Options) {
		o.Decider = decider
		o.Keys, o.Tenants, o.Scenarios, o.Simulations = nothing{}, nothing{}, nothing{}, nothing{}
	})
	for _, r := range w.server.routes() {
		if r.access == open {
			continue
		}
		for _, method := range []string{r.method, "TRACE"} {
			target := strings.NewReplacer(":key_id", "an%20id", ":tenant_id", "an%20id", ":id", "an%20id").Replace(r.pattern)
			w.do(method, target, "", "{}").want(t, 403, `{"detail":"Access denied: no"}`)
			asked := decider.asked.Swap(nil)
			if asked == nil {
				t.Fatalf("%s %s asked for no decision", method, r.pattern)
			}
			want := engine.Target{Type: r.resource}
			if r.param != "" {
				want.ID = "an id"
			}
			if asked.Target != want || asked.Route != r.pattern || asked.Method != method || asked.Path != strings.ReplaceAll(target, "%20", " ") {
				t.Errorf("%s %s asked about %+v on route %q, %s %q; want %+v", method, r.pattern, asked.Target, asked.Route, asked.Method, asked.Path, want)
			}
		}
	}
}

// nothing is a store that must not be reached: every call is a nil pointer.
type nothing struct {
	KeyStore
	TenantStore
	ScenarioStore
	SimulationStore
}

// TestUnroutedWithKey checks that what the table leaves out ends in 404 or 405
// for a caller with a key.
func TestUnroutedWithKey(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	for _, tt := range []struct{ method, target, allow string }{
		{"GET", "/v1", ""},
		{"GET", "/", ""},
		{"POST", "/v1/keys/", ""},
		{"GET", "/V1/keys", ""},
		{"GET", "/v1/keys/a/b", ""},
		{"PURGE", "/nowhere", ""},
		{"PUT", "/v1/keys", "POST, GET, HEAD"},
		{"PURGE", "/v1/keys", "POST, GET, HEAD"},
		{"get", "/v1/keys", "POST, GET, HEAD"},
		{"OPTIONS", "/v1/keys", "POST, GET, HEAD"},
		{"POST", "/v1/keys/key_unknown", "GET, HEAD, PATCH, DELETE"},
		{"GET", "/v1/keys/key_unknown/rotate", "POST"},
		{"GET", "/v1/simulations/with-config", "POST"},
		{"POST", "/v1/simulations/x/config", "GET, HEAD, PUT"},
		{"POST", "/healthz", "GET, HEAD"},
	} {
		status, body := 404, `{"detail":"Not Found"}`
		if tt.allow != "" {
			status, body = 405, `{"detail":"Method Not Allowed"}`
		}
		a := w.do(tt.method, tt.target, secret, "").want(t, status, body)
		if got := a.header.Get("Allow"); got != tt.allow {
			t.Errorf("%s %s: Allow %q; want %q", tt.method, tt.target, got, tt.allow)
		}
		if a.header.Get("X-Decision-Id") == "" || a.header.Get("X-RateLimit-Limit") == "" {
			t.Errorf("%s %s: the answer names no decision or limit", tt.method, tt.target)
		}
	}
}

// TestHead checks that HEAD answers as GET does, without the body.
func TestHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	for _, target := range []string{"/healthz", "/docs", "/openapi.json", "/v1/keys", "/v1/simulations", "/v1/simulations/x"} {
		get, head := w.do("GET", target, secret, ""), w.do("HEAD", target, secret, "")
		if target != "/v1/keys" && get.header.Get("Content-Length") != head.header.Get("Content-Length") {
			t.Errorf("HEAD %s has length %s; GET %s", target, head.header.Get("Content-Length"), get.header.Get("Content-Length"))
		}
		if get.status != head.status || head.body != "" || get.header.Get("Content-Type") != head.header.Get("Content-Type") {
			t.Errorf("HEAD %s = %d %q %s; GET = %d %s", target, head.status, head.body, head.header.Get("Content-Type"), get.status, get.header.Get("Content-Type"))
		}
	}
}
