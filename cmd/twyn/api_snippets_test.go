package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The clients of the seed document, run as they stand there against a live
// server. Only the host and the key are replaced; what prints the result is
// added below. Each runs twice: straight to the server, and through a proxy
// that holds request and answer to the OpenAPI document.

// seedHost is the host of the document's examples.
const seedHost = "https://api.twyn.it"

// routes returns the two ways to the server by name.
func (s *testServer) routes(t testing.TB) map[string]string {
	t.Helper()
	target, err := url.Parse(s.BaseURL)
	if err != nil {
		t.Fatal(err)
	}
	checked := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &checkedTransport{report: func(trouble string) { t.Error(trouble) }},
	})
	t.Cleanup(checked.Close)
	return map[string]string{"straight": s.BaseURL, "checked": checked.URL}
}

// execute runs a program with a key in its environment and returns what it
// printed. A program that is not installed fails the test.
func execute(t testing.TB, key string, environment []string, program string, arguments ...string) (stdout, stderr string, failed bool) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is needed to run the published examples: %v", program, err)
	}
	cmd := exec.CommandContext(t.Context(), path, arguments...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "TWYN_API_KEY=" + key, "NO_PROXY=*"}, environment...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", program, err)
	}
	return out.String(), errs.String(), err != nil
}

// TestSeedCurl runs every cURL example and looks at what each answers.
func TestSeedCurl(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	for name, base := range s.routes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.newTenant(t, "cURL")
			target := c.newKey(nil)
			ok := func(statuses ...string) []string { return statuses }
			// In the order of the document. The example of one simulation names
			// an id that does not exist; examples of one key are run with the id
			// as it stands, and then with one that exists.
			want := map[string][]string{
				"Overview": ok("200"), "Programmatically": ok("201"), "HTTP Header": ok("404"), "cURL": ok("200", "200"),
				"List All Keys": ok("200"), "Get Key Details": ok("404", "200"), "Update a Key": ok("404", "200"), "Delete a Key": ok("404", "204"),
				"Testing Authentication": ok("200"),
			}
			ran := 0
			for _, e := range seedExamples(t) {
				if e.language != "bash" || !strings.Contains(e.text, "curl ") {
					continue
				}
				var statuses []string
				for _, id := range []string{"key_abc123", target.KeyID} {
					if id != "key_abc123" && !strings.Contains(e.text, "key_abc123") {
						break
					}
					statuses = append(statuses, curl(t, c.key, strings.NewReplacer(
						seedHost, base, "twyn_live_your_key_here", c.key, "YOUR_EXISTING_KEY", c.key, `"twyn_live_..."`, `"`+c.key+`"`,
						"X-API-Key: twyn_live_...", "X-API-Key: "+c.key, "key_abc123", id,
					).Replace(e.text))...)
				}
				if fmt.Sprint(statuses) != fmt.Sprint(want[e.heading]) {
					t.Errorf("%s: answered %v; want %v", e.heading, statuses, want[e.heading])
				}
				ran++
			}
			if ran != len(want) {
				t.Errorf("%d cURL examples ran; want %d", ran, len(want))
			}
		})
	}
}

// curl runs a script and returns the status of each of its requests.
func curl(t testing.TB, key, script string) []string {
	t.Helper()
	home := t.TempDir()
	settings := "silent\nshow-error\nwrite-out = \"\\nstatus %{http_code}\\n\"\n"
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	out, errs, failed := execute(t, key, []string{"CURL_HOME=" + home}, "sh", "-euc", script)
	secrets.addAll([]byte(out))
	if failed {
		t.Fatalf("the script failed: %s", redact([]byte(errs)))
	}
	var statuses []string
	for _, m := range regexp.MustCompile(`(?m)^status (\d+)$`).FindAllStringSubmatch(out, -1) {
		statuses = append(statuses, m[1])
	}
	return statuses
}

// TestSeedPython runs with the stand-in for requests, and with requests itself
// where it is installed.
func TestSeedPython(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "Python")
	made := c.newSimulation(map[string]any{"prompt": "from Python"})
	standIn, err := filepath.Abs("testdata/python")
	if err != nil {
		t.Fatal(err)
	}
	environments := [][]string{{"PYTHONPATH=" + standIn, "PYTHONDONTWRITEBYTECODE=1"}}
	if _, _, failed := execute(t, "", nil, "python3", "-c", "import requests"); !failed {
		environments = append(environments, nil)
	}
	for name, base := range s.routes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := strings.ReplaceAll(seedExample(t, "Python", "python"), seedHost, base) +
				"\nimport json\nprint(json.dumps([response.status_code, simulations]))\n"
			for _, environment := range environments {
				out, errs, failed := execute(t, c.key, environment, "python3", "-c", program)
				if failed {
					t.Fatalf("python3: %s", redact([]byte(errs)))
				}
				wantOneSimulation(t, out, made)
				out, _, _ = execute(t, "twyn_live_wrong", environment, "python3", "-c", program)
				wantSameJSON(t, []byte(out), `[401,`+invalidKey+`]`)
			}
		})
	}
}

// TestSeedJavaScript runs with Node.
func TestSeedJavaScript(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "JavaScript")
	made := c.newSimulation(map[string]any{"prompt": "from JavaScript"})
	for name, base := range s.routes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := strings.ReplaceAll(seedExample(t, "JavaScript/Node.js", "javascript"), seedHost, base) +
				"\nconsole.log(JSON.stringify([response.status, simulations]));\n"
			out, errs, failed := runNode(t, c.key, program, ".mjs")
			if failed {
				t.Fatalf("node: %s", redact([]byte(errs)))
			}
			wantOneSimulation(t, out, made)
		})
	}
}

// wantOneSimulation holds what a snippet printed to the list it should see.
func wantOneSimulation(t testing.TB, out string, made simulation) {
	t.Helper()
	var printed []json.RawMessage
	var list page[simulation]
	if err := json.Unmarshal([]byte(out), &printed); err != nil || len(printed) != 2 {
		t.Fatalf("%v: %s", err, redact([]byte(out)))
	}
	if err := json.Unmarshal(printed[1], &list); err != nil {
		t.Fatal(err)
	}
	if string(printed[0]) != "200" || list.Total != 1 || list.Items[0].ID != made.ID || list.Items[0].Prompt != made.Prompt {
		t.Errorf("printed %s", redact([]byte(out)))
	}
}

// TestSeedTypeScript runs with Node, which strips the types itself where it
// can.
func TestSeedTypeScript(t *testing.T) {
	t.Parallel()
	s := startServer(t, serverOptions{})
	c := s.newTenant(t, "TypeScript")
	made := c.newSimulation(map[string]any{"prompt": "from TypeScript"})
	for name, base := range s.routes(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := strings.ReplaceAll(seedExample(t, "TypeScript", "typescript"), seedHost, base)
			// As it stands it asks for a simulation that does not exist, and says so.
			_, errs, failed := runTypeScript(t, c.key, program)
			if !failed || !strings.Contains(errs, "API error: Not Found") {
				t.Errorf("with the id of the document: %s", redact([]byte(errs)))
			}
			_, errs, failed = runTypeScript(t, "twyn_live_wrong", program)
			if !failed || !strings.Contains(errs, "API error: Unauthorized") {
				t.Errorf("with a wrong key: %s", redact([]byte(errs)))
			}
			out, errs, failed := runTypeScript(t, c.key, strings.ReplaceAll(program, "sim_123", made.ID)+"\nconsole.log(JSON.stringify(simulation));\n")
			if failed {
				t.Fatalf("node: %s", redact([]byte(errs)))
			}
			wantSameJSON(t, []byte(out), string(c.get("/v1/simulations/"+made.ID).want(http.StatusOK).body))
		})
	}
}

// runNode runs a program from a file, whose name says what it is.
func runNode(t testing.TB, key, program, extension string, flags ...string) (stdout, stderr string, failed bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "example"+extension)
	if err := os.WriteFile(file, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	return execute(t, key, nil, "node", append(flags, file)...)
}

// runTypeScript lets Node strip the types (22.6 and later), or strips those
// that the example has.
func runTypeScript(t testing.TB, key, program string) (stdout, stderr string, failed bool) {
	t.Helper()
	const flag = "--experimental-strip-types"
	if _, _, failed := execute(t, "", nil, "node", flag, "-e", "0"); !failed {
		return runNode(t, key, program, ".mts", flag)
	}
	return runNode(t, key, stripTypes(program), ".mjs")
}

// stripTypes turns TypeScript of the kind in the example into JavaScript:
// interfaces and the word private go away, and so do annotations of the
// example's types, the question mark of an optional one, and the exclamation
// mark behind a value. Nothing else is changed.
func stripTypes(program string) string {
	for _, rule := range []struct{ pattern, with string }{
		{`(?ms)^interface \w+ \{.*?^\}\n`, ""},
		{`\bprivate `, ""},
		{`(\w)\??: (?:string|TwynConfig|RequestInit)\b`, "$1"},
		{`(\w)!(\s)`, "$1$2"},
	} {
		program = regexp.MustCompile(rule.pattern).ReplaceAllString(program, rule.with)
	}
	return program
}
