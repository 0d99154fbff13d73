package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp/fasthttputil"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/policies"
)

// startOfTime is when the clock of every world stands at first.
var startOfTime = time.Date(2025, 11, 24, 1, 0, 0, 0, time.UTC)

// world is a running server with the real engine, the default policies and the
// stores in memory, and a client that talks to it through a connection.
type world struct {
	t      *testing.T
	store  *memory
	keys   *engine.KeyCache
	clock  *clock.Manual
	server *Server
	client *http.Client
	listen *fasthttputil.InmemoryListener
	log    *syncBuffer
	stop   func() error

	mu      sync.Mutex
	secrets []string // every API key that this world has seen
}

// syncBuffer is a buffer for many writers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// cacheRevoker is the revoker of a single process.
type cacheRevoker struct{ keys *engine.KeyCache }

func (r cacheRevoker) RevokeKey(_ context.Context, _, keyID string) error {
	r.keys.Forget(keyID)
	return nil
}

func (r cacheRevoker) RevokeTenant(_ context.Context, tenantID string) error {
	r.keys.ForgetTenant(tenantID)
	return nil
}

// newWorld starts a server. Options may be changed before it starts. When the
// test ends, its log must not hold any secret that was seen.
func newWorld(t *testing.T, changes ...func(*Options)) *world {
	t.Helper()
	w := &world{t: t, store: newMemory(), clock: clock.NewManual(startOfTime), log: &syncBuffer{}, listen: fasthttputil.NewInmemoryListener()}
	set, err := policies.Load(t.Context(), policies.Default(), policies.Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if w.keys, err = engine.NewKeyCache(w.store, 10_000); err != nil {
		t.Fatal(err)
	}
	ledger, err := quota.NewMemory(quota.Options{})
	if err != nil {
		t.Fatal(err)
	}
	usage := engine.NewUsageMeter(w.store)
	logger := slog.New(slog.NewJSONHandler(w.log, nil))
	decider, err := engine.New(engine.Config{
		Keys: w.keys, Resources: w.store, Policy: set, Ledger: ledger,
		Recorders: []engine.Recorder{usage}, NewID: engine.NewDecisionID, Logger: logger,
	})
	if err != nil {
		t.Fatal(err)
	}
	options := Options{
		Decider: decider, Keys: w.store, Tenants: w.store, Scenarios: w.store, Simulations: w.store, Decisions: w.store, Resolver: w.store, Usage: usage,
		Revoker: cacheRevoker{w.keys}, Pinger: w.store, Document: []byte(`{"openapi":"3.1.0"}`), Page: []byte("<!DOCTYPE html>"),
		Logger: logger, Clock: w.clock, Metrics: NewMetrics("test"),
	}
	for _, change := range changes {
		change(&options)
	}
	if w.server, err = New(options); err != nil {
		t.Fatal(err)
	}
	w.start()
	return w
}

func (w *world) start() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(ctx, w.listen) }()
	w.client = &http.Client{
		Transport: &http.Transport{
			DialContext:         func(context.Context, string, string) (net.Conn, error) { return w.listen.Dial() },
			MaxIdleConnsPerHost: 64,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	w.stop = sync.OnceValue(func() error {
		w.client.CloseIdleConnections()
		cancel()
		return <-served
	})
	w.t.Cleanup(func() {
		if err := w.stop(); err != nil {
			w.t.Errorf("Serve: %v", err)
		}
		for _, secret := range w.secrets {
			if strings.Contains(w.log.String(), secret) {
				w.t.Errorf("the log holds an API key")
			}
		}
	})
}

// tenant makes a tenant straight in the store, and its first key.
func (w *world) tenant(id string) engine.Credential {
	w.t.Helper()
	w.store.mu.Lock()
	w.store.tenants[id] = engine.Tenant{ID: id, Name: id, Active: true, CreatedAt: w.clock.Now()}
	w.store.mu.Unlock()
	return w.key(engine.Key{ID: engine.NewKeyID(), TenantID: id, Scopes: engine.Scopes{"*"}})
}

// key makes a key straight in the store; what is left out gets a default.
func (w *world) key(k engine.Key) engine.Credential {
	w.t.Helper()
	if k.ID == "" {
		k.ID = engine.NewKeyID()
	}
	if k.Name == "" {
		k.Name = "Key"
	}
	if k.Environment == "" {
		k.Environment = engine.Live
	}
	if k.RateLimit == 0 {
		k.RateLimit = engine.MaxRateLimit
	}
	k.Active, k.CreatedAt = true, w.clock.Now()
	secret, err := engine.NewCredential(rand.Reader, k.Environment)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.CreateKey(w.t.Context(), k, secret.Digest()); err != nil {
		w.t.Fatal(err)
	}
	w.saw(string(secret))
	return secret
}

func (w *world) operator() engine.Credential {
	return w.key(engine.Key{TenantID: engine.PlatformTenantID, Scopes: engine.Scopes{"*", "tenants:*", "policies:*"}})
}

func (w *world) saw(secret string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.secrets = append(w.secrets, secret)
}

// answer is what the server said.
type answer struct {
	status int
	header http.Header
	body   string
}

var anyKey = regexp.MustCompile(`twyn_(?:live|test)_[0-9a-f]{64}`)

// do sends a request. Headers are names and values in turn; a body is sent as
// JSON unless they say otherwise.
func (w *world) do(method, target string, secret engine.Credential, body string, headers ...string) answer {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), method, "http://twyn"+target, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if secret != "" {
		request.Header["X-API-Key"] = []string{string(secret)}
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	response, err := w.client.Do(request)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	defer closing(w.t, response.Body)
	data, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, target, err)
	}
	for _, secret := range anyKey.FindAllString(string(data), -1) {
		w.saw(secret)
	}
	return answer{response.StatusCode, response.Header, string(data)}
}

// raw sends bytes as they are and reads the answer to them as it is.
func (w *world) raw(request string) string {
	w.t.Helper()
	conn, err := w.listen.Dial()
	if err != nil {
		w.t.Fatal(err)
	}
	defer closing(w.t, conn)
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	response, err := io.ReadAll(conn)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(response)
}

// read splits raw bytes of an answer.
func (w *world) read(raw string) answer {
	w.t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(raw)), nil)
	if err != nil {
		w.t.Fatalf("%v in %q", err, raw)
	}
	defer closing(w.t, response.Body)
	data, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(data)}
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("closing: %v", err)
	}
}

// want fails the test unless the answer has the status and exactly the body; a
// body of "…" is any.
func (a answer) want(t *testing.T, status int, body string) answer {
	t.Helper()
	if a.status != status || (body != "…" && a.body != body) {
		t.Fatalf("got  %d %s\nwant %d %s", a.status, a.body, status, body)
	}
	if id := a.header.Get("X-Request-Id"); !validRequestID([]byte(id)) {
		t.Errorf("answer %d has X-Request-Id %q", a.status, id)
	}
	return a
}

// field reads a member of the answer's body.
func (a answer) field(t *testing.T, name string) string {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal([]byte(a.body), &members); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return fmt.Sprint(members[name])
}

// create makes something and returns the id in the answer.
func (w *world) create(target string, secret engine.Credential, body string) string {
	w.t.Helper()
	a := w.do("POST", target, secret, body).want(w.t, 201, "…")
	if strings.HasSuffix(target, "/keys") {
		return a.field(w.t, "key_id")
	}
	return a.field(w.t, "id")
}
