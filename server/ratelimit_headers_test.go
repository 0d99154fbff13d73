package server

import (
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

func TestWaiting(t *testing.T) {
	t.Parallel()
	for wait, want := range map[int64]string{
		1: "in 1 second", 2: "in 2 seconds", 59: "in 59 seconds", 60: "in 1 minute", 61: "in 2 minutes", 2700: "in 45 minutes",
		3540: "in 59 minutes", 3541: "in 60 minutes", 3599: "in 60 minutes", 3600: "later", 86_400: "later",
	} {
		if got := waiting(wait); got != want {
			t.Errorf("waiting(%d) = %q; want %q", wait, got, want)
		}
	}
}

// TestRateLimitHeaders checks the headers of several limits, and that no name
// of a limit can break out of them.
func TestRateLimitHeaders(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0)
	d := engine.Decision{At: at, Effect: engine.Throttle, Limits: []quota.Verdict{
		{Name: "key", Limit: 1000, Window: time.Hour, Admitted: true, Remaining: 950, Reset: at.Add(45 * time.Minute)},
		{Name: "a\"b\\c\r\nd\u00e9", Limit: 5, Window: 1500 * time.Millisecond, Reset: at.Add(1200 * time.Millisecond), RetryAfter: 1200 * time.Millisecond},
	}}
	x := &exchange{fast: &fasthttp.RequestCtx{}}
	x.rateLimitHeaders(&d)
	if err := x.throttled(&d); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1700000002", "Retry-After": "2",
		"RateLimit":        `"key";r=950;t=2700, "a\"b\\c__d_";r=0;t=2`,
		"RateLimit-Policy": `"key";q=1000;w=3600, "a\"b\\c__d_";q=5;w=2`,
	} {
		if got := string(headerValue(x, name)); got != want {
			t.Errorf("%s is %q; want %q", name, got, want)
		}
	}
}

// headerValue finds a header by the exact bytes of its name.
func headerValue(x *exchange, name string) []byte {
	var found []byte
	x.fast.Response.Header.VisitAll(func(key, value []byte) {
		if string(key) == name {
			found = value
		}
	})
	return found
}
