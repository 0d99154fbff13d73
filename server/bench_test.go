package server

import (
	"context"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// constant is a decider that always says the same.
type constant struct{ decision engine.Decision }

func (c constant) Decide(context.Context, *engine.Request) (engine.Decision, error) {
	return c.decision, nil
}

// BenchmarkRequest is a whole request but for the connection: the edge, the
// boundary, a decision that costs nothing, a denial as the handler, headers,
// metrics.
func BenchmarkRequest(b *testing.B) {
	at := time.Unix(1_700_000_000, 0)
	m := newMemory()
	s, err := New(Options{
		Decider: constant{engine.Decision{
			ID: engine.NewDecisionID(at), At: at, Effect: engine.Deny, Reasons: []engine.Reason{{Code: "scope_missing", Message: "Access denied: scope keys:read is required"}},
			Principal: &engine.Principal{Key: &engine.Key{ID: "key_a"}, Tenant: &engine.Tenant{ID: "ten_a"}},
			Limits:    []quota.Verdict{{Name: "key", Limit: 1000, Window: time.Hour, Admitted: true, Remaining: 950, Reset: at.Add(time.Hour)}},
		}},
		Keys: m, Tenants: m, Scenarios: m, Simulations: m, Decisions: m, Resolver: m, Usage: engine.NewUsageMeter(m), Revoker: cacheRevoker{}, Pinger: m,
		Document: []byte("{}"), Page: []byte("x"),
	})
	if err != nil {
		b.Fatal(err)
	}
	var fast fasthttp.RequestCtx
	handler := s.Handler()
	b.ReportAllocs()
	for b.Loop() {
		fast.Request.Reset()
		fast.Response.Reset()
		fast.ResetUserValues()
		fast.Request.SetRequestURI("/v1/keys")
		fast.Request.Header.Set("X-API-Key", "twyn_live_0")
		handler(&fast)
	}
	if got := fast.Response.StatusCode(); got != fasthttp.StatusForbidden {
		b.Fatalf("the answer is %d", got)
	}
}
