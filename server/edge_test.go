package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// TestRefusals checks every other way in which a request with a good key ends
// badly.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	big := `{"name":"` + strings.Repeat("x", 1<<20) + `"}`
	const unsupported = `{"detail":"Content-Type must be application/json, without a Content-Encoding"}`
	for _, tt := range []struct {
		name, method, target, body string
		headers                    []string
		status                     int
		want                       string
	}{
		{"no JSON", "POST", "/v1/keys", `{`, nil, 400, `{"detail":"Malformed JSON at byte 1: a name in quotes is expected"}`},
		{"two values", "POST", "/v1/keys", `{}{}`, nil, 400, `{"detail":"Malformed JSON at byte 2: something follows the value"}`},
		{"a name twice", "POST", "/v1/keys", `{"name":"a","name":"b"}`, nil, 400, `{"detail":"Malformed JSON at byte 12: a name occurs twice in one object"}`},
		{"bomb", "POST", "/v1/keys", strings.Repeat("[", 1000), nil, 400, `{"detail":"Malformed JSON at byte 32: nested too deeply"}`},
		{"form", "POST", "/v1/keys", `name=x`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, unsupported},
		{"no type", "POST", "/v1/keys", `{}`, []string{"Content-Type", ""}, 415, unsupported},
		{"other charset", "POST", "/v1/keys", `{}`, []string{"Content-Type", "application/json; charset=utf-16"}, 415, unsupported},
		{"charset", "POST", "/v1/keys", `{"name":"x"}`, []string{"Content-Type", `Application/JSON;charset="UTF-8"`}, 201, "…"},
		{"compressed", "POST", "/v1/keys", `{}`, []string{"Content-Encoding", "gzip"}, 415, unsupported},
		{"large", "POST", "/v1/keys", big, nil, 413, `{"detail":"Request body is over 1048576 bytes"}`},
		{"large and unrouted", "POST", "/nowhere", big, nil, 413, "…"},
		{"dots", "GET", "/v1/%2e%2e/keys", "", nil, 400, `{"detail":"Bad request target: encoded dots are not allowed in a path"}`},
		{"underscore", "GET", "/v1/keys", "", []string{"X-API-Key", "", "X_API_Key", "x"}, 401, unauthorised},
		{"unknown", "PATCH", "/v1/keys/key_x", `not read`, nil, 404, `{"detail":"Key with ID key_x not found"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := w.do(tt.method, tt.target, secret, tt.body, tt.headers...).want(t, tt.status, tt.want)
			if got := a.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type is %q", got)
			}
			if got := a.header.Get("X-Content-Type-Options") + " " + a.header.Get("Cache-Control"); got != "nosniff no-store" {
				t.Errorf("safety headers are %q", got)
			}
		})
	}
}

// TestUnauthorised checks that no answer tells why a key was refused: same
// bytes, same headers, whatever the cause.
func TestUnauthorised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := w.tenant("ten_a")
	made := func(key engine.Key, end time.Time) string {
		secret := w.key(key)
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		for id, k := range w.store.keys {
			if k.Name == key.Name {
				k.Active, k.ExpiresAt = end != time.Time{}, end
				w.store.keys[id] = k
			}
		}
		return string(secret)
	}
	line := func(values ...string) string {
		var b strings.Builder
		for _, v := range values {
			b.WriteString("X-API-Key: " + v + "\r\n")
		}
		return b.String()
	}
	unknown, err := engine.NewCredential(strings.NewReader(strings.Repeat("\x00", 32)), engine.Live)
	if err != nil {
		t.Fatal(err)
	}
	var shape string
	for name, lines := range map[string]string{
		"absent":       "",
		"empty":        line(""),
		"repeated":     line(string(good), string(good)),
		"listed":       line(string(good) + ", " + string(good)),
		"long":         line(strings.Repeat("x", 600)),
		"malformed":    line("hello"),
		"upper case":   line(strings.ToUpper(string(good))),
		"unknown":      line(string(unknown)),
		"disabled":     line(made(engine.Key{TenantID: "ten_a", Name: "disabled"}, time.Time{})),
		"expired":      line(made(engine.Key{TenantID: "ten_a", Name: "expired"}, startOfTime)),
		"underscore":   "X_API_Key: " + string(good) + "\r\n",
		"bearer":       "Authorization: Bearer " + string(good) + "\r\n",
		"query":        "",
		"other header": "X-Forwarded-Api-Key: " + string(good) + "\r\n",
	} {
		target := "/v1/keys"
		if name == "query" {
			target += "?api_key=" + string(good)
		}
		raw := w.raw("GET " + target + " HTTP/1.1\r\nHost: twyn\r\nX-Request-Id: r\r\nConnection: close\r\n" + lines + "\r\n")
		head, body, _ := strings.Cut(raw, "\r\n\r\n")
		if !strings.HasPrefix(head, "HTTP/1.1 401 ") || body != unauthorised {
			t.Errorf("%s: got %s", name, raw)
		}
		var rest []string
		for _, h := range strings.Split(head, "\r\n") {
			if strings.HasPrefix(h, "X-Decision-Id: ") || strings.HasPrefix(h, "Date: ") {
				h, _, _ = strings.Cut(h, ":")
			}
			rest = append(rest, h)
		}
		if got := strings.Join(rest, "\n"); shape == "" {
			shape = got
		} else if got != shape {
			t.Errorf("%s: the headers differ:\n%s\nfrom\n%s", name, got, shape)
		}
	}
	if !strings.Contains(shape, "WWW-Authenticate: ApiKey") || strings.Contains(shape, "X-RateLimit") {
		t.Errorf("a 401 has the headers\n%s", shape)
	}
}

// TestHeaderBytes holds the headers of an answer to the bytes that the
// documentation shows.
func TestHeaderBytes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.tenant("ten_a")
	secret := w.key(engine.Key{TenantID: "ten_a", Scopes: engine.Scopes{"keys:read"}, RateLimit: 2})
	get := func(target string) string {
		return w.raw("GET " + target + " HTTP/1.1\r\nHost: twyn\r\nConnection: close\r\nx-api-key: " + string(secret) + "\r\nX-Request-ID: my.id-1_a\r\n\r\n")
	}
	reset := strconv.FormatInt(startOfTime.Add(time.Hour).Unix(), 10)
	w.clock.Set(startOfTime.Add(-time.Nanosecond)) // resets are rounded up
	contains(t, get("/v1/keys"), "HTTP/1.1 200 OK\r\n", "X-Request-Id: my.id-1_a\r\n", "X-Decision-Id: dec_", "X-RateLimit-Limit: 2\r\n",
		"X-RateLimit-Remaining: 1\r\n", "X-RateLimit-Reset: "+reset+"\r\n", "RateLimit: \"key\";r=1;t=3600\r\n", "RateLimit-Policy: \"key\";q=2;w=3600\r\n")
	w.clock.Set(startOfTime.Add(15 * time.Minute))
	contains(t, get("/v1/scenarios"), "HTTP/1.1 403 ", "X-RateLimit-Remaining: 1\r\n", "RateLimit: \"key\";r=1;t=2700\r\n")
	contains(t, get("/v1/keys/key_x"), "HTTP/1.1 404 ", "X-RateLimit-Remaining: 0\r\n", "X-Decision-Id: dec_")
	contains(t, get("/v1/keys"), "HTTP/1.1 429 ", "X-RateLimit-Remaining: 0\r\n", "Retry-After: 2700\r\n",
		"\r\n\r\n"+`{"error":"RATE_LIMIT_EXCEEDED","message":"Rate limit exceeded. Try again in 45 minutes.","retry_after":2700}`)
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

func TestRequestID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for given, kept := range map[string]bool{
		"abc": true, "A-1._z": true, strings.Repeat("x", 128): true, strings.Repeat("x", 129): false, "a b": false, "a\"b": false, "é": false, "": false,
	} {
		if got := w.do("GET", "/healthz", "", "", "X-Request-Id", given).want(t, 200, `{"status":"ok"}`).header.Get("X-Request-Id"); (got == given) != kept {
			t.Errorf("X-Request-Id %q was answered with %q", given, got)
		}
	}
}

// TestUnreadable checks what fasthttp refuses before any handler runs.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := string(w.tenant("ten_a"))
	head := "Host: twyn\r\nX-API-Key: " + secret + "\r\n"
	for name, tt := range map[string]struct {
		request string
		status  int
		body    string
	}{
		"too large":    {"POST /v1/keys HTTP/1.1\r\n" + head + "Content-Length: 5000000\r\n\r\n", 413, `{"detail":"Request body is over 4194304 bytes"}`},
		"asked first":  {"POST /v1/keys HTTP/1.1\r\n" + head + "Expect: 100-continue\r\nContent-Length: 5000000\r\n\r\n", 413, `{"detail":"Request body is over 4194304 bytes"}`},
		"all sent":     {"POST /v1/keys HTTP/1.1\r\n" + head + "Content-Length: 5000000\r\n\r\n" + strings.Repeat("x", 5_000_000), 413, `{"detail":"Request body is over 4194304 bytes"}`},
		"long head":    {"GET /" + strings.Repeat("x", 17<<10) + " HTTP/1.1\r\n" + head + "\r\n", 431, `{"detail":"Request head is over 16384 bytes"}`},
		"bad header":   {"GET / HTTP/1.1\r\nno colon " + secret + "\r\n" + head + "\r\n", 400, `{"detail":"Malformed HTTP request"}`},
		"bad name":     {"GET / HTTP/1.1\r\n" + head + "X-API-Key : " + secret + "\r\n\r\n", 400, `{"detail":"Malformed HTTP request"}`},
		"bad length":   {"POST / HTTP/1.1\r\n" + head + "Content-Length: x\r\n\r\n", 400, `{"detail":"Malformed HTTP request"}`},
		"absolute":     {"GET http://twyn/v1/keys HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: must begin with a slash"}`},
		"authority":    {"CONNECT twyn:80 HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: must begin with a slash"}`},
		"asterisk":     {"OPTIONS * HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: must begin with a slash"}`},
		"double slash": {"GET //v1/keys HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: empty path segments are not allowed"}`},
		"space":        {"GET /v1/keys x HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: control characters and unencoded spaces are not allowed"}`},
		"NUL":          {"GET /v1/\x00 HTTP/1.1\r\nConnection: close\r\n" + head + "\r\n", 400, `{"detail":"Bad request target: control characters and unencoded spaces are not allowed"}`},
	} {
		a := w.read(w.raw(tt.request)).want(t, tt.status, tt.body)
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Decision-Id") != "" {
			t.Errorf("%s: headers %v", name, a.header)
		}
	}
}

// TestSlowRequest checks that a request that does not arrive in time is told
// so.
func TestSlowRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.ReadTimeout = 20 * time.Millisecond })
	w.read(w.raw("POST /v1/keys HTTP/1.1\r\nHost: twyn\r\nContent-Length: 10\r\n\r\n{")).want(t, 408, `{"detail":"Request took too long to arrive"}`)
}

// deciderFunc decides with a function.
type deciderFunc func(*engine.Request) (engine.Decision, error)

func (f deciderFunc) Decide(_ context.Context, r *engine.Request) (engine.Decision, error) {
	return f(r)
}

// TestDecisionFailed checks that a request without a decision never passes.
func TestDecisionFailed(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		decision engine.Decision
		err      error
		status   int
		retry    string
	}{
		"store away":     {err: engine.ErrUnavailable, status: 503, retry: "1"},
		"ledger away":    {err: quota.ErrUnavailable, status: 503, retry: "1"},
		"out of time":    {err: context.DeadlineExceeded, status: 503, retry: "1"},
		"broken":         {err: errors.New("broken"), status: 500},
		"no message":     {decision: engine.Decision{ID: "dec_1", Effect: engine.Deny}, status: 403},
		"no effect":      {decision: engine.Decision{ID: "dec_1"}, status: 500},
		"unknown effect": {decision: engine.Decision{ID: "dec_1", Effect: "maybe"}, status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *Options) {
				o.Decider = deciderFunc(func(*engine.Request) (engine.Decision, error) { return tt.decision, tt.err })
			})
			want := `{"detail":"Internal Server Error"}`
			switch tt.status {
			case 503:
				want = `{"detail":"Service temporarily unavailable"}`
			case 403:
				want = `{"detail":"Access denied"}`
			}
			if a := w.do("GET", "/v1/keys", "", "").want(t, tt.status, want); a.header.Get("Retry-After") != tt.retry {
				t.Errorf("Retry-After is %q; want %q", a.header.Get("Retry-After"), tt.retry)
			}
		})
	}
}

// TestStoreAway checks that the server says so when its store is gone, and
// comes back with it.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := w.tenant("ten_a")
	w.do("GET", "/readyz", "", "").want(t, 200, `{"status":"ok"}`)
	w.do("GET", "/v1/keys", secret, "").want(t, 200, "…")
	w.store.away.Store(true)
	for _, target := range []string{"/v1/keys", "/v1/simulations", "/v1/keys/key_x"} {
		w.do("GET", target, secret, "").want(t, 503, `{"detail":"Service temporarily unavailable"}`)
	}
	w.do("GET", "/v1/keys", "twyn_live_unknown", "").want(t, 401, unauthorised)
	w.do("GET", "/readyz", "", "").want(t, 503, `{"detail":"Not ready: store unavailable"}`)
	w.do("GET", "/healthz", "", "").want(t, 200, `{"status":"ok"}`)
	w.store.away.Store(false)
	w.do("GET", "/v1/keys", secret, "").want(t, 200, "…")
	w.do("GET", "/readyz", "", "").want(t, 200, "…")
}

// TestPanic checks that a panic, before or after the decision, costs its own
// request and nothing else.
func TestPanic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *Options) { o.Scenarios = nothing{} })
	secret := w.tenant("ten_a")
	a := w.do("GET", "/v1/scenarios", secret, "", "X-Request-Id", "broken").want(t, 500, `{"detail":"Internal Server Error"}`)
	if a.header.Get("X-Request-Id") != "broken" || a.header.Get("X-Decision-Id") == "" || a.header.Get("X-RateLimit-Limit") == "" {
		t.Errorf("headers %v", a.header)
	}
	w.do("GET", "/v1/keys", secret, "").want(t, 200, "…")
	if got := w.metric("twyn_http_panics_total"); got != "1" {
		t.Errorf("twyn_http_panics_total is %s; want 1", got)
	}
	if got := w.metric("twyn_http_requests_in_flight"); got != "0" {
		t.Errorf("twyn_http_requests_in_flight is %s; want 0", got)
	}
	contains(t, w.log.String(), `"msg":"panic"`, `"request_id":"broken"`)
}

func TestOpenDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.do("GET", "/openapi.json", "", "").want(t, 200, `{"openapi":"3.1.0"}`)
	a := w.do("GET", "/docs", "", "").want(t, 200, "<!DOCTYPE html>")
	if a.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("headers %v", a.header)
	}
}

// TestDrain checks a graceful stop: the running request is answered, readiness
// is withdrawn, nothing new is accepted.
func TestDrain(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(o *Options) {
		inner := o.Decider
		o.Decider = deciderFunc(func(r *engine.Request) (engine.Decision, error) {
			if r.ID == "slow" {
				close(entered)
				<-leave
			}
			return inner.Decide(context.Background(), r)
		})
	})
	secret := w.tenant("ten_a")
	answered := make(chan answer, 1)
	go func() { answered <- w.do("GET", "/v1/keys", secret, "", "X-Request-Id", "slow") }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()
	for !w.server.draining.Load() { // Serve sets it when it learns of the stop
		select {
		case err := <-stopped:
			t.Fatalf("Serve returned %v while a request was running", err)
		default:
		}
	}
	response, err := w.server.Test(mustRequest(t, "/readyz"))
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, response.Body)
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("readyz is %d while draining", response.StatusCode)
	}
	close(leave)
	(<-answered).want(t, 200, "…")
	if err := <-stopped; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if conn, err := w.listen.Dial(); err == nil {
		closing(t, conn)
		t.Error("the listener still accepts after the stop")
	}
}

func mustRequest(t *testing.T, target string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://twyn"+target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// TestDrainTimeout checks that a request that does not end loses its context
// and holds the stop up no longer than allowed.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	w := newWorld(t, func(o *Options) {
		o.DrainTimeout = time.Millisecond
		o.Pinger = pingerFunc(func(ctx context.Context) error {
			close(entered)
			<-ctx.Done()
			close(leave)
			return ctx.Err()
		})
	})
	go func() {
		if conn, err := w.listen.Dial(); err == nil {
			defer closing(t, conn)
			_, _ = conn.Write([]byte("GET /readyz HTTP/1.1\r\nHost: twyn\r\n\r\n"))
			<-leave
		}
	}()
	<-entered
	if err := w.stop(); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve = %v; want that the drain ran out of time", err)
	}
	<-leave
	w.stop = func() error { return nil }
}

type pingerFunc func(context.Context) error

func (f pingerFunc) Ping(ctx context.Context) error { return f(ctx) }

func TestOptions(t *testing.T) {
	t.Parallel()
	good := func() Options {
		m := newMemory()
		return Options{
			Decider: &refusing{}, Keys: m, Tenants: m, Scenarios: m, Simulations: m, Decisions: m, Resolver: m, Usage: engine.NewUsageMeter(m),
			Revoker: cacheRevoker{}, Pinger: m, Document: []byte("{}"), Page: []byte("x"),
		}
	}
	if _, err := New(good()); err != nil {
		t.Errorf("New: %v", err)
	}
	for want, spoil := range map[string]func(*Options){
		"Decider is required":  func(o *Options) { o.Decider = nil },
		"Keys is required":     func(o *Options) { o.Keys = nil },
		"Document is required": func(o *Options) { o.Document = nil },
		`header "x-api-key"`:   func(o *Options) { o.PolicyHeaders = []string{"accept", "x-api-key"} },
		`header "Accept"`:      func(o *Options) { o.PolicyHeaders = []string{"Accept"} },
		"timeout is negative":  func(o *Options) { o.DrainTimeout = -1 },
	} {
		o := good()
		spoil(&o)
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v; want %q", err, want)
		}
	}
}

// TestBoundary checks what the engine is told of a request.
func TestBoundary(t *testing.T) {
	t.Parallel()
	decider := &refusing{}
	w := newWorld(t, func(o *Options) { o.Decider = decider })
	w.do("POST", "/v1/%6beys?b=2&a=1&b=3", "secret", `{"a":1}`, "User-Agent", "me\xff", "Accept", "", "Cookie", "c").want(t, 403, "…")
	got := decider.asked.Load()
	if got.Method != "POST" || got.Path != "/v1/keys" || !slices.Equal(got.Segments, []string{"v1", "keys"}) || got.Size != 7 ||
		got.Credentials != 1 || got.Credential != "secret" || !got.At.Equal(startOfTime) {
		t.Errorf("request is %+v", got)
	}
	if len(got.Query) != 2 || got.Query["a"] != "1" || got.Query["b"] != "2" {
		t.Errorf("query is %v", got.Query)
	}
	if len(got.Headers) != 2 || got.Headers["user-agent"] != "me\uFFFD" || got.Headers["content-type"] != "application/json" {
		t.Errorf("headers are %v", got.Headers)
	}
}
