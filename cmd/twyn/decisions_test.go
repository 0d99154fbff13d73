package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/server/api"
)

// decisions runs twyn decisions against the server as a key and returns what it
// printed and whether it succeeded.
func (s *testServer) decisions(t *testing.T, key string, arguments ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"decisions"}, arguments...)...)
	cmd.Env = append(slices.Clone(s.env), "TWYN_URL="+s.BaseURL, "TWYN_API_KEY="+key)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	s.log.add(errs.Bytes())
	if key != "" && strings.Contains(out.String()+errs.String(), key) {
		t.Error("the command line printed the API key")
	}
	return out.String(), errs.String(), err == nil
}

// TestDecisionsWhy goes from a 403 to the rule that refused.
func TestDecisionsWhy(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	acme, other := s.createTenant("Acme"), s.createTenant("Other")
	refused := s.as(t, other.APIKey).get("/v1/keys/" + acme.KeyID)
	if refused.status != 403 {
		t.Fatalf("got %d", refused.status)
	}
	id := refused.header.Get("X-Decision-Id")
	out, stderr, ok := s.decisions(t, other.APIKey, "why", id)
	if !ok {
		t.Fatalf("twyn decisions why: %s", stderr)
	}
	for _, want := range []string{
		id, "GET /v1/keys/" + acme.KeyID, other.KeyID + " of " + other.TenantID, "key " + acme.KeyID + " of " + acme.TenantID,
		"deny", "tenant_isolation: Access denied: key belongs to different tenant", "1000 of 1000 per 1h0m0s left", "tenant.rego:",
		acme.TenantID,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	var shown api.Decision
	out, _, _ = s.decisions(t, other.APIKey, "why", id, "--json")
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.ID != id || shown.Why == nil || len(shown.Why.Rules) == 0 {
		t.Errorf("got %s, %v", out, err)
	}
	if out, stderr, ok := s.decisions(t, acme.APIKey, "why", id); ok || out != "" || !strings.Contains(stderr, "different tenant (403)") {
		t.Errorf("another tenant was told %s%s", out, stderr)
	}
	if _, stderr, ok := s.decisions(t, acme.APIKey, "why", "dec_1"); ok || !strings.Contains(stderr, "not found (404)") {
		t.Errorf("got %s", stderr)
	}
}

func TestDecisionsList(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	tenant := s.firstTenant()
	c := s.as(t, tenant.APIKey)
	allowed := c.get("/v1/keys").header.Get("X-Decision-Id")
	refused := c.get("/v1/tenants").header.Get("X-Decision-Id")
	nobody := s.as(t, "").get("/v1/keys").header.Get("X-Decision-Id")
	// The last of them is there when it can be asked for.
	if _, stderr, ok := s.decisions(t, s.operatorKey(), "why", nobody); !ok {
		t.Fatal(stderr)
	}
	if _, stderr, ok := s.decisions(t, tenant.APIKey, "why", refused); !ok {
		t.Fatal(stderr)
	}
	for _, test := range []struct {
		key       string
		arguments []string
		with      string
		without   string
	}{
		{tenant.APIKey, []string{"--since", "1h"}, allowed, nobody},
		{tenant.APIKey, []string{"--effect", "deny", "--reason", "operator_only"}, refused, allowed},
		{tenant.APIKey, []string{"--key", tenant.KeyID, "--limit", "1000"}, refused, nobody},
		{tenant.APIKey, []string{"--before", refused}, allowed, refused},
		{s.operatorKey(), nil, nobody, refused},
		{s.operatorKey(), []string{"--tenant", tenant.TenantID, "--json"}, refused, nobody},
	} {
		out, stderr, ok := s.decisions(t, test.key, append([]string{"list"}, test.arguments...)...)
		if !ok || !strings.Contains(out, test.with) || strings.Contains(out, test.without) {
			t.Errorf("%v: want %s and not %s in\n%s%s", test.arguments, test.with, test.without, out, stderr)
		}
	}
	for _, arguments := range [][]string{{"list", "--since", "tomorrow"}, {"list", "x"}, {"why"}, {"list", "--limit", "0x"}} {
		if out, stderr, ok := s.decisions(t, tenant.APIKey, arguments...); ok || out != "" || stderr == "" {
			t.Errorf("%v: got %s%s", arguments, out, stderr)
		}
	}
	if _, stderr, ok := s.decisions(t, "", "list"); ok || !strings.Contains(stderr, "TWYN_API_KEY") {
		t.Errorf("without a key: %s", stderr)
	}
}

func TestDecisionsTail(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.as(t, s.key())
	first := c.get("/v1/keys").header.Get("X-Decision-Id")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "decisions", "tail", "--json")
	cmd.Env = append(slices.Clone(s.env), "TWYN_URL="+s.BaseURL, "TWYN_API_KEY="+s.key())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(out)
	seen := map[string]int{}
	until := func(id string) {
		t.Helper()
		for seen[id] == 0 {
			var d api.Decision
			if err := decoder.Decode(&d); err != nil {
				t.Fatal(err)
			}
			seen[d.ID]++
		}
	}
	until(first)
	for range 3 {
		until(c.get("/v1/keys").header.Get("X-Decision-Id"))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was shown %d times", id, n)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		var d api.Decision
		if decoder.Decode(&d) != nil {
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("an interrupt ended tail with %v", err)
	}
}

// TestDecisionsSurvive: a graceful stop loses nothing, and a server that was
// killed loses nothing that it had flushed.
func TestDecisionsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := startServer(t, serverOptions{env: map[string]string{"TWYN_DECISION_FLUSH": "10ms", "TWYN_DATA_DIR": dir}})
	c := s.as(t, s.key())
	var ids []string
	for range 20 {
		ids = append(ids, c.get("/v1/keys").header.Get("X-Decision-Id"))
	}
	s.restart()
	for _, id := range ids {
		if got := c.get("/v1/decisions/" + id); got.status != 200 {
			t.Errorf("%s after a graceful stop: %d", id, got.status)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "decisions", "process-*")); len(left) != 1 {
		t.Errorf("a graceful stop left %v", left)
	}
	last := c.get("/v1/keys").header.Get("X-Decision-Id")
	if _, stderr, ok := s.decisions(t, s.key(), "why", last); !ok {
		t.Fatal(stderr)
	}
	s.kill9()
	s.start()
	for deadline := time.Now().Add(startTimeout); ; {
		if c.get("/v1/decisions/"+last).status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is lost", last)
		}
	}
}

// TestDecisionsAreMasked: data.system.log.mask of the policy directory.
func TestDecisionsAreMasked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"policy.rego": "package twyn\n\ndecision := {\"allow\": true, \"reasons\": [], \"limits\": []}\n",
		"mask.rego":   "package system.log\n\nmask contains \"/input/request/ip\" if input.result.allow\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, serverOptions{env: map[string]string{"TWYN_POLICY_DIR": dir}})
	id := s.as(t, s.key()).get("/v1/keys").header.Get("X-Decision-Id")
	out, stderr, ok := s.decisions(t, s.key(), "why", id, "--json")
	if !ok || strings.Contains(out, `"127.0.0.1"`) || !strings.Contains(out, `"masked":["/input/request/ip"]`) {
		t.Errorf("got %s%s", out, stderr)
	}
}
