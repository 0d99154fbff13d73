package main_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

func TestIdempotency(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Idempotent")
	neighbour := s.newTenant(t, "Neighbour")
	post := func(c *client, path, key, body string) *answer {
		c.t.Helper()
		return c.do(call{method: "POST", path: path, body: body, header: map[string]string{"Idempotency-Key": key}})
	}
	const prompt, name = `{"prompt":"once"}`, `{"name":"once"}`
	for _, tt := range []struct{ path, body, other string }{
		{"/v1/simulations", prompt, `{"prompt":"twice"}`},
		{"/v1/scenarios", name, `{"name":"twice"}`},
		{"/v1/simulations/with-config", `{"prompt":"once","config":` + simpleConfig + `}`, `{"prompt":"twice","config":` + simpleConfig + `}`},
	} {
		first := post(c, tt.path, "k-1", tt.body).want(http.StatusCreated)
		if first.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: the first answer says that it was replayed", tt.path)
		}
		for range 2 {
			again := post(c, tt.path, "k-1", tt.body).wantBody(http.StatusCreated, string(first.body))
			if again.header.Get("Idempotency-Replayed") != "true" {
				t.Errorf("%s: a repeated answer does not say so", tt.path)
			}
			if again.header.Get("X-Decision-Id") == first.header.Get("X-Decision-Id") || again.header.Get("X-Request-Id") == first.header.Get("X-Request-Id") {
				t.Errorf("%s: a repeated answer carries the first one's ids", tt.path)
			}
		}
		post(c, tt.path, "k-1", tt.other).want(http.StatusUnprocessableEntity)
		if other := post(c, tt.path, "k-2", tt.body).want(http.StatusCreated); string(other.body) == string(first.body) {
			t.Errorf("%s: another key got the same answer", tt.path)
		}
		// Another tenant's key of the same name is another key.
		if other := post(neighbour, tt.path, "k-1", tt.body).want(http.StatusCreated); other.header.Get("Idempotency-Replayed") != "" {
			t.Errorf("%s: a tenant was given another tenant's answer", tt.path)
		}
	}
	s.restart()
	if a := post(c, "/v1/scenarios", "k-1", name).want(http.StatusCreated); a.header.Get("Idempotency-Replayed") != "true" {
		t.Error("an answer was forgotten by a restart")
	}
	// A test key's is not a live key's.
	test := c.with(c.newKey(map[string]any{"environment": "test"}).APIKey)
	if a := post(test, "/v1/scenarios", "k-1", name).want(http.StatusCreated); a.header.Get("Idempotency-Replayed") != "" {
		t.Error("a test key was given a live key's answer")
	}
	for _, key := range []string{strings.Repeat("k", 256), "with space", "tab\there"} {
		c.do(call{method: "POST", path: "/v1/scenarios", body: name, header: map[string]string{"Idempotency-Key": key}, bad: true}).
			want(http.StatusUnprocessableEntity)
	}
	c.do(call{method: "POST", path: "/v1/scenarios", body: name, header: map[string]string{"Idempotency-Key": strings.Repeat("k", 255)}}).want(http.StatusCreated)
	// A request that failed is not kept.
	c.do(call{method: "POST", path: "/v1/scenarios", body: `{}`, header: map[string]string{"Idempotency-Key": "k-3"}, bad: true}).want(http.StatusUnprocessableEntity)
	post(c, "/v1/scenarios", "k-3", name).want(http.StatusCreated)
}

// TestIdempotencyUnderConcurrency: fifty at once make one thing.
func TestIdempotencyUnderConcurrency(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Concurrent")
	var group sync.WaitGroup
	bodies := make(chan string, 50)
	for range 50 {
		group.Add(1)
		go func() {
			defer group.Done()
			a, err := c.try(call{method: "POST", path: "/v1/scenarios", body: `{"name":"one"}`, header: map[string]string{"Idempotency-Key": "same"}})
			if err != nil || a.status != http.StatusCreated {
				t.Errorf("%v, %+v", err, a)
				return
			}
			bodies <- string(a.body)
		}()
	}
	group.Wait()
	close(bodies)
	different := map[string]bool{}
	for body := range bodies {
		different[body] = true
	}
	var list page[scenario]
	c.get("/v1/scenarios").want(http.StatusOK).into(&list)
	if len(different) != 1 || list.Total != 1 {
		t.Errorf("%d different answers, %d scenarios; want one of each", len(different), list.Total)
	}
}
