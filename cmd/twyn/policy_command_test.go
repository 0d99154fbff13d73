package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const policyFixtures = "../../testdata/policies/"

// runPolicy runs one command line and returns what it printed.
func runPolicy(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"policy"}, args...), func(string) string { return "" }, &out, &errs)
	return code, out.String(), errs.String()
}

func TestPolicyExitCodes(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		code int
		want []string // on standard output
	}{
		{[]string{"check", policyFixtures + "good"}, exitOK, []string{"tests: 2 passed, 0 failed, 0 skipped, coverage 100.0 %", "memo: decisions are remembered"}},
		{[]string{"check", policyFixtures + "good", "--min", "100", "--strict"}, exitOK, nil},
		{[]string{"check", policyFixtures + "broken"}, exitCompile, []string{"broken/decision.rego:3:23: policies do not have http.send"}},
		{[]string{"check", policyFixtures + "failing"}, exitTests, []string{"failing/decision_test.rego:5:1: data.twyn_test.test_friend"}},
		{[]string{"check", policyFixtures + "failing", "--min", "100"}, exitTests, nil},
		{[]string{"check", policyFixtures + "shadow"}, exitLint, []string{"shadow/decision.rego:5:1: deny is a set"}},
		{[]string{"test", policyFixtures + "shadow", "--min", "1"}, exitTests, []string{"coverage 0.0 %"}},
		{[]string{"test", policyFixtures + "good"}, exitOK, []string{"pass  data.twyn_test.test_friend"}},
		{[]string{"test", policyFixtures + "failing"}, exitTests, []string{"FAIL  data.twyn_test.test_friend"}},
		{[]string{"fmt", policyFixtures + "good"}, exitOK, nil},
		{[]string{"fmt", "nowhere"}, exitUsage, nil},
		{[]string{"check"}, exitUsage, nil},
		{[]string{"check", "nowhere"}, exitUsage, nil},
		{[]string{"eval", policyFixtures + "good", policyFixtures + "input.json"}, exitOK, []string{"deny\n  stranger: Access denied: stranger"}},
		{[]string{"explain", policyFixtures + "good", policyFixtures + "input.json"}, exitOK, []string{
			"good/decision.rego:9:1: data.twyn.deny held", `input.tenant.id = "ten_stranger"`,
		}},
		{[]string{"eval", policyFixtures + "broken", policyFixtures + "input.json"}, exitCompile, nil},
		{[]string{"eval", policyFixtures + "good", "nowhere.json"}, exitUsage, nil},
		{[]string{"diff", policyFixtures + "failing", policyFixtures + "good"}, exitOK, []string{"+++ b/data.json", "-\tnot twyn.decision.allow with input"}},
		{[]string{"bench", policyFixtures + "good", policyFixtures + "input.json", "--time", "1ms"}, exitOK, []string{"compiled", "interpreted"}},
		{[]string{"push", policyFixtures + "good"}, exitUsage, nil},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := runPolicy(t, tc.args...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d; %s%s", code, tc.code, stdout, stderr)
			}
			for _, want := range tc.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("want %q in\n%s", want, stdout)
				}
			}
		})
	}
}

func TestPolicyFmt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "a.rego")
	if err := os.WriteFile(file, []byte("package   twyn\na:=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, _ := runPolicy(t, "fmt", dir); code != exitLint || stdout != file+"\n" {
		t.Errorf("got %d %q", code, stdout)
	}
	if code, _, _ := runPolicy(t, "fmt", "--write", dir); code != exitOK {
		t.Errorf("got %d", code)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "package twyn\n\na := 1\n" {
		t.Errorf("got %q, %v", text, err)
	}
}

func TestPolicyForMachines(t *testing.T) {
	t.Parallel()
	_, stdout, _ := runPolicy(t, "test", policyFixtures+"failing", "--junit")
	var suite junitSuite
	if err := xml.Unmarshal([]byte(stdout), &suite); err != nil || suite.Failures != 1 || suite.Cases[0].Line != 5 {
		t.Errorf("got %+v, %v", suite, err)
	}
	_, stdout, _ = runPolicy(t, "check", policyFixtures+"broken", "--json")
	var report struct {
		Problems []struct {
			File     string
			Row, Col int
		}
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || len(report.Problems) == 0 || report.Problems[0].Row != 3 {
		t.Errorf("got %+v, %v from %s", report, err, stdout)
	}
}
