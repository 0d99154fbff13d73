package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twyn/twyn/policies"
)

// embeddedPolicies are the files of the policies that are part of the program.
func embeddedPolicies(t testing.TB) map[string]string {
	t.Helper()
	files, err := policies.ReadDir(policies.Default())
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// defaultsWith are the default policies, over HTTP, with one file more.
func defaultsWith(t testing.TB, name, text string) map[string]string {
	t.Helper()
	files := embeddedPolicies(t)
	files[name] = text
	return files
}

// policyRevision is a revision as the API shows it.
type policyRevision struct {
	Revision string
	Status   string
	Tests    struct{ Passed, Failed int }
	Memo     struct{ Enabled bool }
	Files    []string
}

// submit hands files in and returns the candidate's id.
func (c *client) submit(files map[string]string) string {
	c.t.Helper()
	var made policyRevision
	c.post("/v1/policies", map[string]any{"files": files, "message": "a test"}).want(http.StatusCreated).into(&made)
	if made.Status != "candidate" || made.Tests.Failed > 0 {
		c.t.Errorf("got %+v", made)
	}
	return made.Revision
}

// planned denies what the plan of the tenant does not cover.
const planned = `package twyn

# METADATA
# description: What a tenant may do is what its plan covers.
deny contains {"code": "plan", "message": "Access denied: not in your plan"} if {
	input.request.resource_type == "scenario"
	data.plans[input.tenant.id] == "free"
}
`

// TestPolicyLifeCycle takes policies from hand-in to rollback, on a real server.
func TestPolicyLifeCycle(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	operator, tenant := s.as(t, s.operatorKey()), s.newTenant(t, "Planned")
	tenant.get("/v1/scenarios").want(http.StatusOK)

	id := operator.submit(defaultsWith(t, "plan.rego", planned))
	tenant.get("/v1/scenarios").want(http.StatusOK)
	operator.post("/v1/policies/"+id+"/activate", nil).want(http.StatusOK)

	// A change of plan changes the next decision.
	operator.put("/v1/policies/data/plans", map[string]any{tenant.tenant: "free"}).want(http.StatusOK)
	refused := tenant.get("/v1/scenarios").wantDetail(http.StatusForbidden, "Access denied: not in your plan")
	operator.patch("/v1/policies/data/plans", map[string]any{tenant.tenant: nil}).want(http.StatusOK)
	tenant.get("/v1/scenarios").want(http.StatusOK)
	operator.put("/v1/policies/data/plans", map[string]any{tenant.tenant: "free"}).want(http.StatusOK)
	tenant.get("/v1/scenarios").want(http.StatusForbidden)

	// Why: of the data that decided, not of the data there is now.
	var why struct {
		Why struct {
			Rules []struct {
				File   string
				Row    int
				Values map[string]any
			}
		}
	}
	path := "/v1/decisions/" + refused.header.Get("X-Decision-Id")
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		if a := tenant.get(path); a.status == http.StatusOK {
			a.into(&why)
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no decision: %d", a.status)
		}
	}
	if rules := why.Why.Rules; len(rules) != 1 || rules[0].File != "plan.rego" || rules[0].Row != 5 || rules[0].Values["input.tenant.id"] != tenant.tenant {
		t.Errorf("got %+v", why.Why)
	}

	// A broken upload changes nothing, and says everything that is wrong.
	a := operator.post("/v1/policies", map[string]any{"files": map[string]string{"a.rego": "package twyn\n\na := http.send({})\n", "b.rego": "package"}})
	if body := string(a.want(http.StatusUnprocessableEntity).body); !strings.Contains(body, `"file":"a.rego","row":3,"col":6`) || !strings.Contains(body, `"file":"b.rego","row":1`) {
		t.Errorf("got %s", body)
	}
	operator.put("/v1/policies/data/twyn", map[string]any{"deny": []any{}}).want(http.StatusUnprocessableEntity)
	tenant.get("/v1/scenarios").want(http.StatusForbidden)

	// Survives a restart.
	s.restart()
	tenant.get("/v1/scenarios").wantDetail(http.StatusForbidden, "Access denied: not in your plan")

	// Rollback in one call.
	operator.post("/v1/policies/"+id+"/rollback", nil).want(http.StatusOK)
	tenant.get("/v1/scenarios").want(http.StatusOK)
	operator.post("/v1/policies/"+id+"/rollback", nil).want(http.StatusConflict)
	operator.post("/v1/policies/rollback", nil).want(http.StatusOK)
	tenant.get("/v1/scenarios").want(http.StatusForbidden)
}

// TestPolicyGuard: a revision that denies everything cannot keep operators from
// rolling it back, and one that allows everything lets nobody else near.
func TestPolicyGuard(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	operator, tenant := s.as(t, s.operatorKey()), s.newTenant(t, "Outsider")
	const closed = "package twyn\n\ndecision := {\"allow\": false, \"reasons\": [], \"limits\": []}\n"
	for _, allow := range []bool{false, true} {
		text := closed
		if allow {
			text = strings.Replace(closed, "false", "true", 1)
		}
		id := operator.submit(map[string]string{"a.rego": text})
		operator.post("/v1/policies/"+id+"/activate", nil).want(http.StatusOK)
		if a := operator.get("/v1/tenants"); (a.status == http.StatusOK) != allow {
			t.Errorf("the live revision does not judge: %d", a.status)
		}
		operator.get("/v1/policies").want(http.StatusOK)
		tenant.get("/v1/policies").wantDetail(http.StatusForbidden, "Access denied: operators only")
		tenant.post("/v1/policies/rollback", nil).want(http.StatusForbidden)
		tenant.put("/v1/policies/data/plans", map[string]any{}).want(http.StatusForbidden)
	}
	limited := operator.with(operator.newKey(map[string]any{"scopes": []string{"policies:read"}}).APIKey)
	limited.get("/v1/policies").want(http.StatusOK)
	limited.post("/v1/policies/rollback", nil).wantDetail(http.StatusForbidden, "Access denied: scope policies:write is required")
	operator.post("/v1/policies/rollback", nil).want(http.StatusOK)
}

// TestPolicyReads covers what only looks.
func TestPolicyReads(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	operator := s.as(t, s.operatorKey())
	first, second := operator.submit(embeddedPolicies(t)), operator.submit(defaultsWith(t, "plan.rego", planned))
	var list page[policyRevision]
	operator.get("/v1/policies").want(http.StatusOK).into(&list)
	if list.Total != 2 || list.Items[0].Revision != second || len(list.Items[0].Files) > 0 {
		t.Errorf("got %+v", list)
	}
	var one policyRevision
	operator.get("/v1/policies/" + second).want(http.StatusOK).into(&one)
	if !slices.Contains(one.Files, "plan.rego") || !one.Memo.Enabled {
		t.Errorf("got %+v", one)
	}
	var file struct{ Text string }
	operator.get("/v1/policies/" + second + "/files/plan.rego").want(http.StatusOK).into(&file)
	if file.Text != planned {
		t.Errorf("got %q", file.Text)
	}
	operator.get("/v1/policies/" + second + "/files/none.rego").want(http.StatusNotFound)
	operator.get("/v1/policies/rev_none").want(http.StatusNotFound)
	var diff struct {
		Files []struct{ Path, Diff string }
	}
	operator.get("/v1/policies/" + first + "/diff/" + second).want(http.StatusOK).into(&diff)
	if len(diff.Files) != 1 || diff.Files[0].Path != "plan.rego" || !strings.Contains(diff.Files[0].Diff, "\n+package twyn\n") {
		t.Errorf("got %+v", diff)
	}
	operator.get("/v1/policies/" + first + "/diff/rev_none").want(http.StatusNotFound)
	operator.get("/v1/policies/data").want(http.StatusOK)
	operator.get("/v1/policies/data/none").want(http.StatusNotFound)

	input := map[string]any{"tenant": map[string]any{"id": "ten_a"}, "resource": map[string]any{"type": "key", "id": "key_1", "tenant_id": "ten_b", "environment": "live"}, "request": map[string]any{"method": "GET", "resource_type": "key"}, "key": map[string]any{"scopes": []string{"*"}, "environment": "live"}}
	var evaluated struct {
		Decision struct{ Allow bool }
		Rules    []struct{ Code, File string }
	}
	operator.post("/v1/policies/"+second+"/evaluate", map[string]any{"input": input, "explain": true}).want(http.StatusOK).into(&evaluated)
	if evaluated.Decision.Allow || len(evaluated.Rules) != 1 || evaluated.Rules[0].Code != "tenant_isolation" || evaluated.Rules[0].File != "tenant.rego" {
		t.Errorf("got %+v", evaluated)
	}
	operator.post("/v1/policies/"+second+"/evaluate", map[string]any{"input": map[string]any{"tenat": 1}}).want(http.StatusUnprocessableEntity)
}

// TestPolicyCommandLine works on a server as an operator does from a terminal.
func TestPolicyCommandLine(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	ask := func(arguments ...string) string {
		return string(s.twyn(append([]string{"policy", "--url", s.BaseURL, "--api-key", s.operatorKey()}, arguments...)...))
	}
	const dir = "../../testdata/policies/good"
	first, _, _ := strings.Cut(ask("push", "../../policies/default", "--activate", "-m", "the defaults"), " ")
	second, _, _ := strings.Cut(ask("push", dir), " ")
	if got := ask("diff", first, second); !strings.Contains(got, "+++ b/data.json") {
		t.Errorf("got %s", got)
	}
	if got := ask("explain", second, "../../testdata/policies/input.json"); !strings.Contains(got, "decision.rego:9:1: data.twyn.deny held") {
		t.Errorf("got %s", got)
	}
	if got := ask("activate", second); got != "live: "+second+"\n" {
		t.Errorf("got %q", got)
	}
	if got := ask("rollback", second); got != "live: "+first+"\n" {
		t.Errorf("got %q", got)
	}
}

// newBundle packs files as `opa build` does.
func newBundle(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for name, text := range files {
		if err := archive.WriteHeader(&tar.Header{Name: "/" + name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// TestPolicyBundles hands a bundle in, and then takes policies from a server.
func TestPolicyBundles(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	operator := s.as(t, s.operatorKey())
	gzipped := map[string]string{"Content-Type": "application/gzip"}
	operator.do(call{method: http.MethodPost, path: "/v1/policies?message=packed", body: newBundle(t, embeddedPolicies(t)), header: gzipped}).want(http.StatusCreated)
	operator.do(call{method: http.MethodPost, path: "/v1/policies", body: []byte("no bundle"), header: gzipped}).want(http.StatusUnprocessableEntity)

	var served atomic.Pointer[[]byte]
	bad := []byte("not a bundle")
	served.Store(&bad)
	shelf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(*served.Load()) }))
	t.Cleanup(shelf.Close)
	follower := startServer(t, serverOptions{env: map[string]string{"TWYN_POLICY_BUNDLE_URL": shelf.URL, "TWYN_POLICY_BUNDLE_INTERVAL": "1s"}})
	operator = follower.as(t, follower.operatorKey())
	operator.get("/v1/tenants").wantDetail(http.StatusForbidden, "Access denied: no policy could be loaded")
	operator.get("/v1/policies").want(http.StatusOK)
	good := newBundle(t, embeddedPolicies(t))
	served.Store(&good)
	for deadline := time.Now().Add(startTimeout); operator.get("/v1/tenants").status != http.StatusOK; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the bundle does not go live")
		}
	}
	operator.post("/v1/policies/rollback", nil).want(http.StatusConflict)
}

// TestPolicyDirectoryWins: what a directory says is not changed over the API.
func TestPolicyDirectoryWins(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{env: map[string]string{"TWYN_POLICY_DIR": "../../policies/default"}})
	operator := s.as(t, s.operatorKey())
	id := operator.submit(embeddedPolicies(t))
	for _, path := range []string{"/v1/policies/" + id + "/activate", "/v1/policies/rollback"} {
		if body := string(operator.post(path, nil).want(http.StatusConflict).body); !strings.Contains(body, "TWYN_POLICY_DIR") {
			t.Errorf("got %s", body)
		}
	}
	operator.put("/v1/policies/data/a", "1").want(http.StatusConflict)
}
