package policies_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/policies"
)

// decisionFile is a txtar file of testdata/decisions, whose README.md describes
// the format.
type decisionFile struct {
	name   string
	policy fs.FS
	cases  []decisionCase
}

// decisionCase is one request and the decision it must get.
type decisionCase struct {
	name  string
	input *engine.Input
	want  wantedDecision
}

// wantedDecision is a decision document, or a part of an error's message.
type wantedDecision struct {
	Allow   bool            `json:"allow"`
	Reasons []engine.Reason `json:"reasons"`
	Limits  []wantedLimit   `json:"limits"`
	Error   string          `json:"error"`
}

type wantedLimit struct {
	Name          string            `json:"name"`
	Limit         int64             `json:"limit"`
	WindowSeconds int64             `json:"window_seconds"`
	Algorithm     quota.Algorithm   `json:"algorithm"`
	Scope         engine.LimitScope `json:"scope"`
	Burst         int64             `json:"burst"`
	Cost          int64             `json:"cost"`
}

func TestDecisions(t *testing.T) {
	t.Parallel()
	for _, file := range readDecisionFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			t.Parallel()
			stats := new(policies.Stats)
			set, err := policies.Load(t.Context(), file.policy, policies.Options{Timeout: time.Minute, Evaluator: policies.Both, Stats: stats})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range file.cases {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					got, err := set.JudgeInput(t.Context(), c.input)
					c.want.check(t, c.input, got, err)
					// Once made and once remembered.
					for range 2 {
						got, err := set.Judge(t.Context(), policies.QuestionOf(c.input))
						c.want.check(t, c.input, got, err)
					}
				})
			}
			t.Cleanup(func() {
				if n := stats.Counts().Differences; n != 0 {
					t.Errorf("%d decisions of the compiled policy differ", n)
				}
			})
		})
	}
}

// check compares a judgement with the wanted one.
func (w wantedDecision) check(t *testing.T, input *engine.Input, got engine.Judgement, err error) {
	t.Helper()
	if w.Error != "" {
		if err == nil || !strings.Contains(err.Error(), w.Error) {
			t.Errorf("got error %v, want one that contains %q", err, w.Error)
		}
		if got.Allow {
			t.Error("an error allows")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if got.Allow != w.Allow {
		t.Errorf("got allow %t, want %t", got.Allow, w.Allow)
	}
	if !slices.Equal(got.Reasons, w.Reasons) {
		t.Errorf("got reasons\n%v\nwant\n%v", got.Reasons, w.Reasons)
	}
	if w.Limits == nil {
		w.Limits = []wantedLimit{{Name: "key", Limit: input.Key.RateLimit, WindowSeconds: 3600, Algorithm: quota.FixedWindow, Scope: engine.PerKey}}
	}
	limits := make([]engine.PolicyLimit, 0, len(w.Limits))
	for _, l := range w.Limits {
		limits = append(limits, engine.PolicyLimit{
			Limit: quota.Limit{Name: l.Name, Limit: l.Limit, Window: time.Duration(l.WindowSeconds) * time.Second, Algorithm: l.Algorithm, Burst: l.Burst},
			Scope: l.Scope, Cost: l.Cost,
		})
	}
	if !slices.Equal(got.Limits, limits) {
		t.Errorf("got limits\n%+v\nwant\n%+v", got.Limits, limits)
	}
}

// readDecisionFiles reads all decision cases of the project.
func readDecisionFiles(t testing.TB) []decisionFile {
	t.Helper()
	paths, err := filepath.Glob("../testdata/decisions/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no decision cases: %v", err)
	}
	files := make([]decisionFile, 0, len(paths))
	for _, path := range paths {
		files = append(files, readDecisionFile(t, path))
	}
	return files
}

func readDecisionFile(t testing.TB, path string) decisionFile {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	policy := defaultFiles(t)
	cases := map[string]*decisionCase{}
	for _, f := range archive.Files {
		if name, ok := strings.CutPrefix(f.Name, "policy/"); ok {
			policy[name] = &fstest.MapFile{Data: f.Data}
			continue
		}
		rest, ok := strings.CutPrefix(f.Name, "cases/")
		name, part, ok2 := strings.Cut(rest, "/")
		if !ok || !ok2 {
			t.Fatalf("%s: unknown file %q", path, f.Name)
		}
		if cases[name] == nil {
			cases[name] = &decisionCase{name: name}
		}
		switch part {
		case "input.json":
			cases[name].input = baseInput()
			decodeStrictly(t, f, cases[name].input)
		case "want.json":
			decodeStrictly(t, f, &cases[name].want)
		default:
			t.Fatalf("%s: unknown file %q", path, f.Name)
		}
	}
	file := decisionFile{name: strings.TrimSuffix(filepath.Base(path), ".txtar"), policy: policy}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		if cases[name].input == nil {
			t.Fatalf("%s: case %q without input", path, name)
		}
		file.cases = append(file.cases, *cases[name])
	}
	return file
}

// decodeStrictly reads JSON into v, over what it holds already.
func decodeStrictly(t testing.TB, f txtar.File, v any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(f.Data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
}

// defaultFiles returns the default policies, without their tests, as files to
// lay others over.
func defaultFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	files := fstest.MapFS{}
	paths, err := filepath.Glob("default/*.rego")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(path)] = &fstest.MapFile{Data: content}
	}
	return files
}

// baseInput is the request that a decision case changes.
func baseInput() *engine.Input {
	return &engine.Input{
		Key: engine.InputKey{
			ID: "key_acmeacmeacmeacmeacmeacme", Name: "Production Server", Environment: "live", RateLimit: 1000,
			Scopes: []string{"*"}, CreatedAt: "2025-11-24T01:00:00Z",
		},
		Tenant: engine.InputTenant{ID: "ten_acme", Name: "Acme"},
		Request: engine.InputRequest{
			ID: "req_1", Method: "GET", Path: "/v1/simulations/0190a000-0000-7000-8000-000000000000",
			Segments: []string{"v1", "simulations", "0190a000-0000-7000-8000-000000000000"}, Route: "/v1/simulations/:id",
			Headers: map[string]string{"user-agent": "curl/8"}, IP: "192.0.2.1", Time: 1763946000000000000, ResourceType: "simulation",
		},
		Resource: &engine.InputResource{
			Type: "simulation", ID: "0190a000-0000-7000-8000-000000000000", TenantID: "ten_acme", Environment: "live",
		},
	}
}
