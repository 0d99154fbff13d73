package server

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/twyn/twyn/engine"
)

// TestTenantsInParallel runs 64 tenants at once, each with a mark of its own in
// everything it sends. No answer and no log line may hold two marks: a string
// that still points into a reused buffer would show up as another's.
func TestTenantsInParallel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const tenants, rounds = 64, 3
	mark := func(i int) string { return fmt.Sprintf("mark%02dx", i) }
	secrets := make([]engine.Credential, tenants)
	for i := range secrets {
		secrets[i] = w.tenant("ten_" + mark(i))
	}
	var all sync.WaitGroup
	for i := range tenants {
		all.Go(func() {
			for round := range rounds {
				visit(t, w, secrets[i], mark(i), round)
			}
		})
	}
	all.Wait()
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(w.log.String()) {
		if distinctMarks(line) > 1 {
			t.Errorf("a log line holds the marks of two tenants: %s", line)
		}
	}
}

// visit is one tenant's round; every answer may hold its own mark only.
func visit(t *testing.T, w *world, secret engine.Credential, mark string, round int) {
	t.Helper()
	check := func(a answer, status int, want string) answer {
		if a.status != status || distinctMarks(a.body) > 1 || !strings.Contains(a.body, want) ||
			!strings.HasPrefix(a.header.Get("X-Request-Id"), mark) {
			t.Errorf("%s got %d %s with request id %q; want %d with %q and no other mark", mark, a.status, a.body, a.header.Get("X-Request-Id"), status, want)
		}
		return a
	}
	do := func(method, target, body string) answer {
		return w.do(method, target, secret, body, "X-Request-Id", fmt.Sprintf("%s-%d", mark, round), "User-Agent", mark)
	}
	text := strings.Repeat(mark, round+1)
	a := check(do("POST", "/v1/simulations", fmt.Sprintf(`{"prompt":%q,"tags":[%q],"metadata":{%q:%q}}`, text, mark, mark, text)), 201, text)
	id := a.field(t, "id")
	check(do("GET", "/v1/simulations/"+id, ""), 200, text)
	check(do("GET", "/v1/simulations?tag="+mark, ""), 200, text)
	check(do("POST", "/v1/scenarios", fmt.Sprintf(`{"name":%q}`, text)), 201, text)
	check(do("POST", "/v1/keys", fmt.Sprintf(`{"name":%q,"metadata":{"m":%q}}`, mark, text)), 201, "ten_"+mark)
	check(do("GET", "/v1/keys", ""), 200, "ten_"+mark)
	check(do("GET", "/v1/simulations/"+text, ""), 404, "Simulation with ID "+text+" not found")
	check(do("POST", "/v1/scenarios", fmt.Sprintf(`{"name":"x",%q:1}`, mark)), 422, mark)
	check(do("GET", "/nowhere/"+text, ""), 404, "Not Found")
}

// distinctMarks counts the tenants whose mark is in a text.
func distinctMarks(text string) int {
	seen := map[string]bool{}
	for rest := text; ; {
		_, after, ok := strings.Cut(rest, "mark")
		if !ok || len(after) < 3 {
			return len(seen)
		}
		if after[2] == 'x' {
			seen[after[:2]] = true
		}
		rest = after
	}
}
