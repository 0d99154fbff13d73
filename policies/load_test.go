package policies_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/policies"
)

// minimal is a policy that allows everything.
const minimal = `package twyn

decision := {"allow": true, "reasons": [], "limits": []}
`

// files are the files of a policy directory by path.
type files map[string]string

func (f files) fs() fs.FS {
	fsys := fstest.MapFS{}
	for name, content := range f {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return fsys
}

func load(t testing.TB, f files) *policies.Set {
	t.Helper()
	set, err := policies.Load(t.Context(), f.fs(), patient)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// patient gives evaluations more time than a busy machine can take from them.
var patient = policies.Options{Timeout: time.Minute}

// refusal loads files that must be refused and returns the problems.
func refusal(t testing.TB, f files) []policies.Problem {
	t.Helper()
	_, err := policies.Load(t.Context(), f.fs(), policies.Options{})
	var compileError *policies.CompileError
	if !errors.As(err, &compileError) {
		t.Fatalf("got error %v, want a CompileError", err)
	}
	if len(compileError.Problems) == 0 {
		t.Fatal("a CompileError without problems")
	}
	return compileError.Problems
}

func TestLoadRefusesForbiddenFunctions(t *testing.T) {
	t.Parallel()
	// The place of each function in the third line is where the message has
	// to point to.
	for _, line := range []string{
		`a if »http.send({"method": "GET", "url": "http://localhost"}).status_code == 200`,
		`a if »opa.runtime().env.HOME`,
		`a if »net.lookup_ip_addr("localhost")`,
		`a if »rego.parse_module("a.rego", "package a")`,
		`a if »time.now_ns() > 0`,
		`a if »rand.intn("seed", 2) == 1`,
		`a if »uuid.rfc4122("seed") != ""`,
		`a if »crypto.x509.parse_and_verify_certificates("")[0]`,
		`a if »crypto.x509.parse_and_verify_certificates_with_options("", {})[0]`,
		`a if »io.jwt.decode_verify("", {})[0]`,
		`a if »io.jwt.encode_sign({}, {}, {}) != ""`,
		`a if »json.match_schema({}, {"$ref": "http://localhost/schema.json"})[0]`,
		`a if »json.verify_schema({})[0]`,
		`a if »providers.aws.sign_req({}, {}, 1)`,
		`a if »trace("note")`,
		`a if »print("note")`,
		`a if count([x | x := »time.now_ns()]) > 0`,
		`a if {some x in [1]; x > »time.now_ns()}`,
		`a if not »rand.intn("seed", 2) == 1`,
		`a if every x in [1] { x < »time.now_ns() }`,
		`a := »time.now_ns()`,
		`a contains »time.now_ns() if true`,
		`f(_) := »time.now_ns()`,
		`default a := false` + "\n\n" + `a if { true } else := »time.now_ns()`,
		`a if count([1]) == 0 with count as »http.send`,
		`a if count([1]) == 0 with count as »opa.runtime`,
		`a if count([1]) == 0 with count as »net.lookup_ip_addr`,
		`a if count([1]) == 0 with count as »rego.parse_module`,
		`a if count([1]) == 0 with count as »time.now_ns`,
		`a if count([1]) == 0 with count as »rand.intn`,
		`a if count([1]) == 0 with count as »print`,
		`a if true with »http.send as input.key`,
		`a if input.key.id == "x" with input.key.id as »time.now_ns()`,
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			source := "package twyn\n\n" + strings.Replace(line, "»", "", 1) + "\n\n" + strings.TrimPrefix(minimal, "package twyn\n\n")
			before, _, _ := strings.Cut("package twyn\n\n"+line, "»")
			row, col := strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n")
			for _, problem := range refusal(t, files{"policy.rego": source}) {
				if problem.File == "policy.rego" && problem.Row == row && problem.Col == col && strings.Contains(problem.Message, "policies do not have") {
					return
				}
				t.Log(problem)
			}
			t.Errorf("no problem at policy.rego:%d:%d", row, col)
		})
	}
}

// TestNoFunctionIsNondeterministic asks for every function that OPA itself marks.
func TestNoFunctionIsNondeterministic(t *testing.T) {
	t.Parallel()
	for _, builtin := range ast.Builtins {
		if !builtin.Nondeterministic || strings.HasPrefix(builtin.Name, "internal.") {
			continue
		}
		problems := refusal(t, files{"policy.rego": minimal + "\na if count([1]) == 0 with count as " + builtin.Name + "\n"})
		if !strings.Contains(problems[0].Message, builtin.Name) {
			t.Errorf("%s: got %v", builtin.Name, problems)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	deep := minimal + "\na := " + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "\n"
	for name, test := range map[string]struct {
		files files
		want  []string // start of each problem
	}{
		"nothing":              {files{}, []string{"data.twyn.decision is not defined"}},
		"no decision":          {files{"a.rego": "package twyn\n\nallow := true\n"}, []string{"data.twyn.decision is not defined"}},
		"decision in data":     {files{"twyn/data.json": `{"decision": {"allow": true, "reasons": [], "limits": []}}`}, []string{"data.twyn.decision is not defined"}},
		"decision in a test":   {files{"a_test.rego": minimal}, []string{"data.twyn.decision is not defined"}},
		"decision is a set":    {files{"a.rego": "package twyn\n\ndecision contains 1\n"}, []string{"a.rego:3:1: data.twyn.decision is not a rule with one value"}},
		"decision is called":   {files{"a.rego": "package twyn\n\ndecision(x) := x\n"}, []string{"a.rego:3:1: data.twyn.decision is not a rule with one value"}},
		"empty file":           {files{"decision.rego": minimal, "b.rego": ""}, []string{"b.rego:"}},
		"syntax":               {files{"a.rego": "package twyn\n\nallow {\n"}, []string{"a.rego:4:1: rego_parse_error: "}},
		"two files":            {files{"a.rego": "package twyn\n\n|", "b/c.rego": "package twyn\n\na := 1 2\n"}, []string{"a.rego:3:1: rego_parse_error", "b/c.rego:3:8: rego_parse_error"}},
		"old Rego":             {files{"a.rego": "package twyn\n\ndecision[x] { x := 1 }\n"}, []string{"a.rego:3:1: rego_parse_error"}},
		"unsafe variable":      {files{"a.rego": minimal + "\na if x == y\n"}, []string{"a.rego:5:6: rego_unsafe_var_error", "a.rego:5:6: rego_unsafe_var_error"}},
		"strict":               {files{"a.rego": minimal + "\na if { x := 1 }\n"}, []string{"a.rego:5:8: rego_compile_error: assigned var x unused"}},
		"shadowed input":       {files{"a.rego": minimal + "\na if { input := 1; input == 1 }\n"}, []string{"a.rego:5:8: rego_compile_error"}},
		"unknown input":        {files{"a.rego": minimal + "\na if input.request.pth == \"/\"\n"}, []string{"a.rego:5:6: rego_type_error: undefined ref: input.request.pth"}},
		"unknown top input":    {files{"a.rego": minimal + "\na if input.foo\n"}, []string{"a.rego:5:6: rego_type_error: undefined ref: input.foo"}},
		"unknown resource":     {files{"a.rego": minimal + "\na if input.resource.tenant == \"a\"\n"}, []string{"a.rego:5:6: rego_type_error: undefined ref: input.resource.tenant"}},
		"wrong type of input":  {files{"a.rego": minimal + "\na if input.request.size == \"1\"\n"}, []string{"a.rego:5:6: rego_type_error: match error"}},
		"kinds of rule":        {files{"a.rego": minimal, "b.rego": "package twyn\n\ndecision contains 1\n"}, []string{"a.rego:3:1: rego_type_error: conflicting rules"}},
		"two defaults":         {files{"a.rego": minimal + "\ndefault a := 1\n", "b.rego": "package twyn\n\ndefault a := 2\n"}, []string{"a.rego:1:1: rego_type_error: multiple default rules"}},
		"recursion":            {files{"a.rego": minimal + "\na if b\n\nb if a\n"}, []string{"a.rego:5:1: rego_recursion_error", "a.rego:7:1: rego_recursion_error"}},
		"unknown function":     {files{"a.rego": minimal + "\na if nothing(1)\n"}, []string{"a.rego:5:6: rego_type_error: undefined function nothing"}},
		"data under rules":     {files{"a.rego": minimal, "twyn/data.json": `{"decision": {"allow": true}}`}, []string{"a.rego:3:1: rego_compile_error: "}},
		"data not an object":   {files{"a.rego": minimal, "data.json": `[1]`}, []string{"data.json: not an object of data"}},
		"data not JSON":        {files{"a.rego": minimal, "plans/data.json": "{\n  \"a\": 1,\n  b\n}"}, []string{"plans/data.json:3:3: not an object of data"}},
		"data not YAML":        {files{"a.rego": minimal, "data.yaml": "a: [\n"}, []string{"data.yaml: not an object of data"}},
		"data twice":           {files{"a.rego": minimal, "data.json": `{"a": {"b": 1}}`, "a/data.yml": "b: 2\n"}, []string{"data.json: another file has a value for data.a.b"}},
		"nested too deep":      {files{"a.rego": deep}, []string{"a.rego:5:"}},
		"too large":            {files{"a.rego": minimal + "# " + strings.Repeat("x", 4<<20)}, []string{"a.rego: file of more than"}},
		"schema in annotation": {files{"a.rego": minimal + "\n# METADATA\n# schemas:\n#   - input: {\"$ref\": \"http://localhost:1/schema.json\"}\na if input.request.size == 1\n"}, []string{"a.rego:"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			problems := refusal(t, test.files)
			if len(problems) < len(test.want) {
				t.Fatalf("got %v, want %v", problems, test.want)
			}
			for i, want := range test.want {
				if got := problems[i].String(); !strings.HasPrefix(got, want) {
					t.Errorf("got problem %q, want it to start with %q", got, want)
				}
			}
		})
	}
}

func TestLoadRefusesTooMuch(t *testing.T) {
	t.Parallel()
	many := files{"decision.rego": minimal}
	for i := range 1000 {
		many[fmt.Sprintf("f%d.rego", i)] = "package f\n"
	}
	if got := refusal(t, many)[0].Message; !strings.Contains(got, "more than 1000 files") {
		t.Errorf("got %q", got)
	}
	large := files{"decision.rego": minimal}
	for i := range 5 {
		large[fmt.Sprintf("f%d.rego", i)] = "package f\n#" + strings.Repeat("x", 4<<20-20)
	}
	if got := refusal(t, large)[0].Message; !strings.Contains(got, "in all") {
		t.Errorf("got %q", got)
	}
	if got := refusal(t, files{strings.Repeat("d/", 20) + "a.rego": minimal})[0].Message; !strings.Contains(got, "nested") {
		t.Errorf("got %q", got)
	}
}

func TestProblemsNameTheRoot(t *testing.T) {
	t.Parallel()
	_, err := policies.Load(t.Context(), files{"sub/a.rego": "package twyn\n\na if {"}.fs(), policies.Options{Root: "/etc/twyn/policies"})
	if err == nil || !strings.Contains(err.Error(), "/etc/twyn/policies/sub/a.rego:3:") {
		t.Errorf("got %v", err)
	}
	if _, err := policies.Load(t.Context(), os.DirFS(filepath.Join(t.TempDir(), "none")), policies.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that the directory does not exist", err)
	}
}

func TestDataIsUnderItsDirectory(t *testing.T) {
	t.Parallel()
	set := load(t, files{
		"decision.rego": `package twyn

decision := {"allow": data.plans.gold.on, "reasons": [], "limits": [limit]}

limit := {"name": data.name, "limit": data.plans.gold.limit, "window_seconds": 60, "algorithm": "fixed_window", "scope": "tenant"}
`,
		"data.json":            `{"name": "gold", "plans": {"gold": {"on": true}}}`,
		"plans/data.yaml":      "gold: {limit: 5}\n",
		".hidden/data.json":    `not read`,
		"plans/other.json":     `not read`,
		"..2025/decision.rego": `not read`,
	})
	judgement, err := set.JudgeInput(t.Context(), baseInput())
	if err != nil || !judgement.Allow || judgement.Limits[0].Name != "gold" || judgement.Limits[0].Limit.Limit != 5 {
		t.Errorf("got %+v, %v", judgement, err)
	}
}

func TestRevision(t *testing.T) {
	t.Parallel()
	base := load(t, files{"decision.rego": minimal, "data.json": "{}"}).Revision()
	if len(base) != 16 || strings.Trim(base, "0123456789abcdef") != "" {
		t.Errorf("got revision %q, want 16 hex digits", base)
	}
	for name, test := range map[string]struct {
		files files
		same  bool
	}{
		"again":     {files{"decision.rego": minimal, "data.json": "{}"}, true},
		"test":      {files{"decision.rego": minimal, "data.json": "{}", "a_test.rego": "package a\n"}, true},
		"other":     {files{"decision.rego": minimal, "data.json": "{}", "README.md": "a"}, true},
		"comment":   {files{"decision.rego": minimal + "#\n", "data.json": "{}"}, false},
		"renamed":   {files{"decisions.rego": minimal, "data.json": "{}"}, false},
		"data":      {files{"decision.rego": minimal, "data.json": "{ }"}, false},
		"data path": {files{"decision.rego": minimal, "a/data.json": "{}"}, false},
	} {
		if got := load(t, test.files).Revision(); (got == base) != test.same {
			t.Errorf("%s: got revision %s beside %s, want same: %t", name, got, base, test.same)
		}
	}
}
