package main_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKillDuringCreation: every key that was answered 201 exists and works
// after the server was killed among two hundred creations.
func TestKillDuringCreation(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Crash")
	var (
		group   sync.WaitGroup
		mu      sync.Mutex
		made    []keyInfo
		lost    int
		halfway = make(chan struct{})
	)
	for i := range 200 {
		group.Add(1)
		go func() {
			defer group.Done()
			a, err := owner.try(call{method: "POST", path: "/v1/keys", body: fmt.Sprintf(`{"name":"crash %d"}`, i)})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				lost++ // the server is gone; the client knows that it does not know
				return
			}
			var key keyInfo
			a.want(http.StatusCreated).into(&key)
			if made = append(made, key); len(made) == 40 {
				close(halfway)
			}
		}()
	}
	select {
	case <-halfway:
	case <-time.After(startTimeout):
		t.Fatal("forty keys are not made")
	}
	s.kill9()
	group.Wait()
	t.Logf("%d keys were answered 201, %d requests were lost", len(made), lost)
	s.start()
	for _, key := range made {
		owner.with(key.APIKey).get("/v1/scenarios").want(http.StatusOK)
	}
	var list keyList
	owner.get("/v1/keys").want(http.StatusOK).into(&list)
	if list.Total < len(made)+1 || list.Total > 201 {
		t.Errorf("%d keys exist; want %d to 201", list.Total, len(made)+1)
	}
	// A key is there with its secret or not at all.
	if orphans := s.queryInt(t, `SELECT count(*) FROM keys k WHERE NOT EXISTS (SELECT FROM secrets s WHERE s.key_id = k.id)`); orphans != 0 {
		t.Errorf("%d keys have no secret", orphans)
	}
}

// TestGracefulStopDrains: requests under way when the stop begins are answered.
func TestGracefulStopDrains(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	owner := s.newTenant(t, "Drain")
	made := owner.newKey(nil)
	user := owner.with(made.APIKey)
	var group sync.WaitGroup
	var mu sync.Mutex
	answered := 0
	started := make(chan struct{}, 64)
	for range 8 {
		group.Add(1)
		go func() {
			defer group.Done()
			for range 100 {
				a, err := user.try(call{method: "GET", path: "/v1/scenarios"})
				if err != nil {
					return // refused or closed between requests
				}
				if a.status != http.StatusOK {
					t.Errorf("answered %d during the stop: %s", a.status, a.body)
				}
				mu.Lock()
				answered++
				mu.Unlock()
				select {
				case started <- struct{}{}:
				default:
				}
			}
		}()
	}
	for range 32 {
		<-started
	}
	s.stop()
	group.Wait()
	s.start()
	if info := owner.keyInfo(made.KeyID); info.UsageCount < int64(answered) {
		t.Errorf("usage_count is %d after %d answers", info.UsageCount, answered)
	}
}

// TestStoreAway: without the store nothing is allowed that the store would
// have to confirm, the client is told to come back, and the server recovers.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	proxy := newProxy(t)
	s := startServer(t, serverOptions{through: proxy})
	owner := s.newTenant(t, "Away")
	fresh := owner.newKey(nil) // never used, so no cache knows it
	owner.get("/v1/scenarios").want(http.StatusOK)
	proxy.cut()
	for name, o := range map[string]struct {
		key string
		call
	}{
		"a key that no cache knows": {fresh.APIKey, call{method: "GET", path: "/v1/scenarios"}},
		"an unknown key":            {"twyn_live_" + strings.Repeat("5", 64), call{method: "GET", path: "/v1/scenarios"}},
		"a cached key":              {owner.key, call{method: "GET", path: "/v1/scenarios"}},
		"a write":                   {owner.key, call{method: "POST", path: "/v1/scenarios", body: `{"name":"n"}`}},
		"readiness":                 {"", call{method: "GET", path: "/readyz"}},
	} {
		a := owner.with(o.key).do(o.call)
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || !isDetail(a.body) {
			t.Errorf("%s: answered %d %s", name, a.status, a.body)
		}
	}
	owner.with("").get("/healthz").want(http.StatusOK)
	owner.with("").get("/v1/scenarios").want(http.StatusUnauthorized)
	owner.with("hello").get("/v1/scenarios").want(http.StatusUnauthorized)
	proxy.mend()
	deadline := time.Now().Add(startTimeout)
	for owner.with("").get("/readyz").status != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatal("the server does not recover")
		}
	}
	owner.get("/v1/scenarios").want(http.StatusOK)
	owner.with(fresh.APIKey).get("/v1/scenarios").want(http.StatusOK)
}
