package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// seedFile is the user's own document, byte for byte. Its examples are run and
// its answers are wanted as they stand there.
const seedFile = "../../testdata/seed/authentication.md"

// example is a block of code of the document.
type example struct {
	heading  string
	language string
	text     string
}

// seedExamples returns the blocks of the document, in order.
func seedExamples(t testing.TB) []example {
	t.Helper()
	document, err := os.ReadFile(seedFile)
	if err != nil {
		t.Fatal(err)
	}
	var all []example
	var open *example
	heading := ""
	for line := range strings.Lines(string(document)) {
		switch {
		case strings.HasPrefix(line, "```") && open == nil:
			open = &example{heading: heading, language: strings.TrimSpace(line[3:])}
		case strings.HasPrefix(line, "```"):
			all = append(all, *open)
			open = nil
		case open != nil:
			open.text += line
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
	}
	return all
}

// seedExample returns the only block of a language below a heading.
func seedExample(t testing.TB, heading, language string) string {
	t.Helper()
	var found []string
	for _, e := range seedExamples(t) {
		if e.heading == heading && e.language == language {
			found = append(found, e.text)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d %s examples below %q; want 1", len(found), language, heading)
	}
	return found[0]
}

// compact writes an example of JSON as the server does, with some of its
// values replaced.
func compact(t testing.TB, text string, replace ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(strings.NewReplacer(replace...).Replace(text))); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return out.String()
}

// TestSeedExamplesAreKnown: a new example in the document needs a test here.
func TestSeedExamplesAreKnown(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for _, e := range seedExamples(t) {
		counts[e.language]++
	}
	want := map[string]int{"bash": 11, "json": 6, "python": 1, "javascript": 1, "typescript": 1, "": 2}
	for language := range want {
		if counts[language] != want[language] {
			t.Errorf("%d examples in %q; the tests know %d", counts[language], language, want[language])
		}
	}
	if len(counts) != len(want) {
		t.Errorf("languages %v; the tests know %v", counts, want)
	}
}

// TestSeedKeyFormat: twyn_{environment}_{64_character_hex_string}.
func TestSeedKeyFormat(t *testing.T) {
	t.Parallel()
	format := strings.TrimSpace(seedExample(t, "API Key Format", ""))
	pattern := "^" + strings.NewReplacer("{environment}", "(live|test)", "{64_character_hex_string}", "[0-9a-f]{64}").Replace(format) + "$"
	s := startServer(t, serverOptions{})
	if !regexp.MustCompile(pattern).MatchString(s.key()) {
		t.Errorf("a key does not have the form %s", format)
	}
}

// TestSeedCreatedKey: the answer of a creation, byte for byte.
func TestSeedCreatedKey(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	body := regexp.MustCompile(`(?s)-d '(.*)'`).FindStringSubmatch(seedExample(t, "Programmatically", "bash"))[1]
	a := s.as(t, s.key()).do(call{method: "POST", path: "/v1/keys", body: body}).want(http.StatusCreated)
	fields := a.fields()
	text := func(name string) string { return fmt.Sprint(fields[name]) }
	a.wantBody(http.StatusCreated, compact(t, seedExample(t, "Programmatically", "json"),
		"key_abc123", text("key_id"), "twyn_live_new_key_here", text("api_key"), "your-tenant-id", s.firstTenant().TenantID,
		"2026-02-22T01:00:00Z", text("expires_at"), "2025-11-24T01:00:00Z", text("created_at")))
	// The example's times are 90 days apart, and so are these.
	var key keyInfo
	a.into(&key)
	if got := key.ExpiresAt.Sub(key.CreatedAt); got != 90*24*time.Hour {
		t.Errorf("the key ends %s after it was made; want 90 days", got)
	}
	if age := time.Since(key.CreatedAt); age < 0 || age > time.Hour {
		t.Errorf("created_at is %s ago", age)
	}
}

// TestSeedKeyList: the two keys of the example, put into the database with
// their times and counts, are listed as the example lists them. Fields may be
// added to an answer, and three are; the list is newest first, which the
// example's is not.
func TestSeedKeyList(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Seed list")
	first := c.newKey(map[string]any{"name": "Production Server"})
	second := c.newKey(map[string]any{"name": "Development", "rate_limit": 500})
	s.execute(t, `DELETE FROM keys WHERE tenant_id = $1 AND id NOT IN ($2, $3)`, c.tenant, first.KeyID, second.KeyID)
	s.execute(t, `UPDATE keys SET created_at = '2025-11-01T00:00:00Z', usage_count = 1522 WHERE id = $1`, first.KeyID)
	s.execute(t, `UPDATE keys SET created_at = '2025-11-15T00:00:00Z', expires_at = '2026-02-15T00:00:00Z',
		last_used_at = '2025-11-23T18:00:00Z', usage_count = 234 WHERE id = $1`, second.KeyID)

	var got, want struct {
		Keys  []json.RawMessage `json:"keys"`
		Total int               `json:"total"`
	}
	c.with(first.APIKey).get("/v1/keys").want(http.StatusOK).into(&got)
	var production keyInfo
	if err := json.Unmarshal(got.Keys[len(got.Keys)-1], &production); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(compact(t, seedExample(t, "List All Keys", "json"),
		"key_abc123", first.KeyID, "key_def456", second.KeyID, "your-tenant-id", c.tenant,
		"2025-11-24T00:30:00Z", production.LastUsedAt.Format(time.RFC3339Nano))), &want); err != nil {
		t.Fatal(err)
	}
	slices.Reverse(want.Keys)
	for i, key := range got.Keys {
		if stripped := without(t, key, "environment", "scopes", "metadata"); stripped != string(want.Keys[i]) {
			t.Errorf("key %d\n got %s\nwant %s", i, stripped, want.Keys[i])
		}
	}
	if got.Total != want.Total || len(got.Keys) != len(want.Keys) {
		t.Errorf("%d keys of %d; want %d of %d", len(got.Keys), got.Total, len(want.Keys), want.Total)
	}
	// One key is shown as it is in the list.
	detail := c.with(first.APIKey).get("/v1/keys/" + second.KeyID).want(http.StatusOK)
	if string(detail.body) != string(got.Keys[0]) {
		t.Errorf("GET of one key: %s\nin the list: %s", detail.body, got.Keys[0])
	}
}

// without returns a JSON object without some of its members, bytes otherwise
// unchanged.
func without(t testing.TB, object []byte, names ...string) string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(object, &members); err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, name := range orderedNames(t, object) {
		if !slices.Contains(names, name) {
			parts = append(parts, fmt.Sprintf("%q:%s", name, members[name]))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestSeedErrors: the bodies of 401 and 403, byte for byte.
func TestSeedErrors(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Seed errors")
	unauthorized := compact(t, seedExample(t, "401 Unauthorized", "json"))
	c.with("").get("/v1/keys").wantBody(http.StatusUnauthorized, unauthorized)
	c.with("twyn_live_your_key_here").get("/v1/keys").wantBody(http.StatusUnauthorized, unauthorized)
	foreign := s.newTenant(t, "Another").newSimulation(map[string]any{"prompt": "p"})
	c.get("/v1/simulations/"+foreign.ID).wantBody(http.StatusForbidden, compact(t, seedExample(t, "403 Forbidden", "json")))
}

// TestSeedRateLimit: the headers, and both bodies of 429, byte for byte. A
// window of 2700 seconds gives the wait of the first, the hour of the default
// policy that of the second.
func TestSeedRateLimit(t *testing.T) {
	t.Parallel()
	var headers, short string
	for _, e := range seedExamples(t) {
		if e.heading == "Rate Limiting" && e.language == "" {
			headers = e.text
		}
		if e.heading == "Rate Limiting" && e.language == "json" {
			short = e.text
		}
	}
	for _, tt := range []struct {
		name, window, want string
	}{
		{"45 minutes", "2700", compact(t, short)},
		{"an hour", "3600", compact(t, seedExample(t, "429 Too Many Requests", "json"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, serverOptions{env: map[string]string{"TWYN_POLICY_DIR": policiesWithWindow(t, tt.window)}})
			c := s.newTenant(t, "Seed limits")
			a := c.get("/v1/keys").want(http.StatusOK)
			for line := range strings.Lines(headers) {
				name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
				if got := a.header.Get(name); !regexp.MustCompile(`^[0-9]+$`).MatchString(got) || (name == "X-RateLimit-Limit" && got != value) {
					t.Errorf("%s: %s; want it like %s", name, got, value)
				}
			}
			// The wait is the whole window only for what follows within its
			// first second; a slow machine may need more than one key.
			got := ""
			for range 20 {
				user := c.with(c.newKey(map[string]any{"rate_limit": 1}).APIKey)
				user.get("/v1/keys").want(http.StatusOK)
				if got = string(user.get("/v1/keys").want(http.StatusTooManyRequests).body); got == tt.want {
					return
				}
			}
			t.Errorf("got  %s\nwant %s", got, tt.want)
		})
	}
}

// policiesWithWindow copies the default policies and gives the key's limit
// another window.
func policiesWithWindow(t testing.TB, seconds string) string {
	t.Helper()
	files, err := filepath.Glob("../../policies/default/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	dir, replaced := t.TempDir(), false
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		const window = `"window_seconds": 3600`
		if strings.HasSuffix(file, "_test.rego") {
			continue
		}
		replaced = replaced || bytes.Contains(source, []byte(window))
		source = bytes.ReplaceAll(source, []byte(window), []byte(`"window_seconds": `+seconds))
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), source, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !replaced {
		t.Fatal("no default policy names a window of 3600 seconds")
	}
	return dir
}
