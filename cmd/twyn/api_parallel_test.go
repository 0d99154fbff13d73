package main_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// owners knows to which tenant each name in a response or a log line belongs.
type owners struct {
	mu sync.RWMutex
	of map[string]int
}

// ownedPattern finds everything that belongs to a tenant: ids, keys, and the
// marker that each tenant of the test puts into all that it writes.
var ownedPattern = regexp.MustCompile(`ten_[a-z0-9]{24}|key_[a-z0-9]{24}|twyn_(?:live|test)_[0-9a-f]{64}|mark-[0-9]+-[a-z]+|[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)

func (o *owners) add(tenant int, names ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		o.of[name] = tenant
	}
}

// claim gives what a tenant's answer shows for the first time to that tenant,
// and returns what belongs to another one.
func (o *owners) claim(tenant int, text []byte) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var foreign []string
	for _, name := range ownedPattern.FindAllString(string(text), -1) {
		owner, known := o.of[name]
		switch {
		case !known:
			o.of[name] = tenant
		case owner != tenant:
			foreign = append(foreign, fmt.Sprintf("%s of tenant %d", redact([]byte(name)), owner))
		}
	}
	return foreign
}

// TestTenantsInParallel: sixty-four tenants at once; no answer and no log line
// carries anything of another tenant. The server has the race detector if the
// test has it.
func TestTenantsInParallel(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	const tenants = 64
	known := &owners{of: make(map[string]int)}
	clients := make([]*client, tenants)
	for i := range clients {
		clients[i] = s.newTenant(t, fmt.Sprintf("mark-%d-tenant", i))
		known.add(i, clients[i].tenant, clients[i].key, fmt.Sprintf("mark-%d-tenant", i))
	}
	var group sync.WaitGroup
	for i, c := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			exercise(c, i, known)
		}()
	}
	group.Wait()
	s.stop()
	if foreign := mixed(s.logs(), known); len(foreign) > 0 {
		t.Errorf("%d log lines name two tenants; the first: %s", len(foreign), foreign[0])
	}
}

// exercise uses every kind of resource as one tenant, with its marker in all
// that it writes, and holds every answer to be its own.
func exercise(c *client, tenant int, known *owners) {
	mark := func(what string) string { return fmt.Sprintf("mark-%d-%s", tenant, what) }
	do := func(o call, status int) *answer {
		a, err := c.try(o)
		if err != nil {
			c.t.Errorf("tenant %d: %s %s: %v", tenant, o.method, o.path, err)
			return &answer{t: c.t}
		}
		if a.status != status {
			c.t.Errorf("tenant %d: %s %s: answered %d %s", tenant, o.method, o.path, a.status, redact(a.body))
		}
		text := append([]byte(fmt.Sprint(a.header)), a.body...)
		if foreign := known.claim(tenant, text); len(foreign) > 0 {
			c.t.Errorf("tenant %d: %s %s shows %v", tenant, o.method, o.path, foreign)
		}
		return a
	}
	id := func(a *answer, name string) string {
		if a.status == 0 {
			return "none"
		}
		return fmt.Sprint(a.fields()[name])
	}
	for round := range 3 {
		path := "/v1/scenarios/" + id(do(call{method: "POST", path: "/v1/scenarios", body: map[string]any{"name": mark("scenario"), "description": mark("description")}}, http.StatusCreated), "id")
		do(call{method: "PUT", path: path, body: map[string]any{"name": mark("renamed")}}, http.StatusOK)
		simulation := id(do(call{
			method: "POST", path: "/v1/simulations", header: map[string]string{"Idempotency-Key": fmt.Sprintf("same-for-all-%d", round), "X-Request-Id": mark("request")},
			body: map[string]any{"prompt": mark("prompt"), "tags": []string{mark("tag"), "shared"}, "metadata": map[string]any{"m": mark("metadata")}},
		}, http.StatusCreated), "id")
		key := do(call{method: "POST", path: "/v1/keys", body: map[string]any{"name": mark("key"), "metadata": map[string]any{"m": mark("keymeta")}}}, http.StatusCreated)
		do(call{method: "GET", path: "/v1/simulations/" + simulation}, http.StatusOK)
		do(call{method: "GET", path: "/v1/simulations?tag=shared"}, http.StatusOK)
		do(call{method: "GET", path: "/v1/scenarios"}, http.StatusOK)
		do(call{method: "GET", path: "/v1/keys"}, http.StatusOK)
		do(call{method: "GET", path: "/v1/keys/" + id(key, "key_id")}, http.StatusOK)
		do(call{method: "GET", path: "/v1/scenarios/" + mark("missing")}, http.StatusNotFound)
		do(call{method: "POST", path: "/v1/scenarios", body: map[string]any{mark("field"): 1}, bad: true}, http.StatusUnprocessableEntity)
		do(call{method: "DELETE", path: path}, http.StatusNoContent)
	}
}

// mixed returns the log lines that name two tenants.
func mixed(log string, known *owners) []string {
	known.mu.RLock()
	defer known.mu.RUnlock()
	var found []string
	for line := range strings.Lines(log) {
		seen := -1
		for _, name := range ownedPattern.FindAllString(line, -1) {
			owner, ok := known.of[name]
			if !ok {
				continue
			}
			if seen >= 0 && owner != seen {
				found = append(found, line)
				break
			}
			seen = owner
		}
	}
	return found
}
