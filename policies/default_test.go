package policies_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/twyn/twyn/policies"
)

// wantCoverage is the share of the default policies' lines that their own tests
// have to reach, in percent.
const wantCoverage = 95

func loadDefault(t testing.TB) *policies.Set {
	t.Helper()
	set, err := policies.Load(t.Context(), policies.Default(), policies.Options{Root: "default", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestDefaultPoliciesOwnTests(t *testing.T) {
	t.Parallel()
	report, err := loadDefault(t).RunTests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) == 0 {
		t.Fatal("no tests")
	}
	for _, result := range report.Results {
		t.Run(result.Name, func(t *testing.T) {
			t.Parallel()
			if !result.Passed || result.Skipped {
				t.Errorf("%s:%d: %s", result.File, result.Row, result.Message)
			}
		})
	}
	t.Logf("%d tests, coverage %.1f %%", len(report.Results), report.Coverage)
	if report.Coverage < wantCoverage {
		t.Errorf("coverage is %.1f %%, want %d %%", report.Coverage, wantCoverage)
		for _, line := range report.Uncovered {
			t.Log(line)
		}
	}
}

func TestDefaultPoliciesHaveTestsBesideThem(t *testing.T) {
	t.Parallel()
	files, err := fs.Glob(policies.Default(), "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if base, ok := strings.CutSuffix(strings.TrimSuffix(name, ".rego"), "_test"); ok {
			if _, err := fs.Stat(policies.Default(), base+".rego"); err != nil {
				t.Errorf("%s tests nothing: %v", name, err)
			}
		} else if _, err := fs.Stat(policies.Default(), base+"_test.rego"); err != nil {
			t.Errorf("%s has no tests: %v", name, err)
		}
	}
}

// TestRegoIsFormatted holds all Rego of the project to `opa fmt`.
func TestRegoIsFormatted(t *testing.T) {
	t.Parallel()
	check := func(name string, source []byte) {
		formatted, err := format.SourceWithOpts(name, source, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Error(err)
		} else if string(formatted) != string(source) {
			t.Errorf("%s is not in the form of opa fmt, which is\n%s", name, formatted)
		}
	}
	files, err := fs.Glob(policies.Default(), "*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		source, err := fs.ReadFile(policies.Default(), name)
		if err != nil {
			t.Fatal(err)
		}
		check(name, source)
	}
	archives, err := filepath.Glob("../testdata/decisions/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if strings.HasSuffix(f.Name, ".rego") {
				check(path+"/"+f.Name, f.Data)
			}
		}
	}
}

func TestFailingTestsAreReported(t *testing.T) {
	t.Parallel()
	set := load(t, files{
		"decision.rego": minimal + "\nnever := input.request.size > 10\n",
		"a_test.rego": `package twyn_test

test_good if data.twyn.decision.allow

test_bad if {
	1 == 1
	not data.twyn.decision.allow
}

test_error if 1 / 0 == 1

todo_test_later if false
`,
	})
	report, err := set.RunTests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != 4 || report.Failed() != 2 {
		t.Fatalf("got %+v", report.Results)
	}
	good, bad, failing, later := report.Results[0], report.Results[1], report.Results[2], report.Results[3]
	if !good.Passed || good.Name != "data.twyn_test.test_good" || good.File != "a_test.rego" || good.Row != 3 {
		t.Errorf("got %+v", good)
	}
	if bad.Passed || bad.Row != 5 || bad.Message == "" {
		t.Errorf("got %+v", bad)
	}
	if failing.Passed || !strings.Contains(failing.Message, "divide by zero") {
		t.Errorf("got %+v", failing)
	}
	if later.Passed || !later.Skipped {
		t.Errorf("got %+v", later)
	}
	if report.Coverage >= 100 || len(report.Uncovered) == 0 || report.Uncovered[0].File != "decision.rego" || report.Uncovered[0].Row != 5 {
		t.Errorf("got coverage %v, uncovered %v", report.Coverage, report.Uncovered)
	}
}

func TestBrokenTestsDoNotBreakThePolicies(t *testing.T) {
	t.Parallel()
	set := load(t, files{"decision.rego": minimal, "a_test.rego": "package twyn_test\n\ntest_a if http.send({}).x\n"})
	if _, err := set.RunTests(t.Context()); err == nil || !strings.Contains(err.Error(), "a_test.rego:3:") {
		t.Errorf("got %v, want a compile error of the test", err)
	}
}
