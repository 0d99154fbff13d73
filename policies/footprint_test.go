package policies

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// loadText loads a policy of one file, and data.
func loadText(t testing.TB, source, data string) *Set {
	t.Helper()
	files := fstest.MapFS{"policy.rego": {Data: []byte("package twyn\n\n" + source)}, "data.json": {Data: []byte(data)}}
	set, err := Load(t.Context(), files, Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// decides is a decision with a condition.
const decides = `decision := {"allow": allow, "reasons": [], "limits": []}

default allow := false

`

func TestFootprint(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		source string
		want   string
	}{
		"nothing":       {`allow := true`, ""},
		"a field":       {`allow if input.key.id == "x"`, "input.key.id"},
		"negation":      {`allow if not input.resource.id`, "input.resource.id"},
		"an array":      {`allow if input.key.scopes[0] == "x"`, "input.key.scopes"},
		"iteration":     {`allow if some scope in input.key.scopes`, "input.key.scopes"},
		"a header":      {`allow if input.request.headers["x-a.b"] == "c"`, "input.request.headers.x-a.b"},
		"any header":    {`allow if input.request.headers[input.key.name] == "c"`, "input.key.name input.request.headers"},
		"deep metadata": {`allow if input.key.metadata.a.b == 1`, "input.key.metadata.a.b"},
		"object.get":    {`allow if object.get(input.key.metadata, "a", 1) == 1`, "input.key.metadata"},
		"a function":    {"allow if f(1)\n\nf(x) if input.request.size == x", "input.request.size"},
		"an argument":   {"allow if f(input.request.ip)\n\nf(x) if x == \"a\"", "input.request.ip"},
		"else":          {"allow := false if input.key.id == \"x\" else := input.tenant.id == \"a\" if input.key.name == \"y\" else := input.request.size == 1", "input.key.id input.key.name input.request.size input.tenant.id"},
		"a value":       {`allow := input.request.size > 1`, "input.request.size"},
		"a set":         {"allow if s[\"x\"]\n\ns contains input.tenant.name", "input.tenant.name"},
		"a head":        {"allow if o.a\n\no[input.tenant.name] := input.key.rate_limit", "input.key.rate_limit input.tenant.name"},
		"a deep head":   {"allow if o.a.b\n\no[input.tenant.name].b[input.key.name] := 1", "input.key.name input.tenant.name"},
		"comprehension": {`allow if count([x | x := input.request.query.a; input.request.ip != ""]) > 0`, "input.request.ip input.request.query.a"},
		"every":         {`allow if every s in input.request.segments { s != input.key.name }`, "input.key.name input.request.segments"},
		"an import":     {"import input.request as r\n\nallow if r.method == \"GET\"", "input.request.method"},
		"a template":    {`allow if $"{input.tenant.id}" == "a"`, "input.tenant.id"},
		"a default":     {"allow if f == 1\n\ndefault f := 2\n\nf := input.key.rate_limit", "input.key.rate_limit"},
		"not in reach":  {"allow if input.tenant.id == \"a\"\n\nother if input.key.id == \"x\"", "input.tenant.id"},
		"by a variable": {"allow if data.twyn[input.tenant.id]\n\nother if input.key.id == \"x\"", ""},
		"a parent":      {"allow if {\n\tinput.resource\n\tinput.resource.id == \"x\"\n}", "input.resource"},
		"a missing one": {`allow if input.key.expires_at < "2030"`, "input.key.expires_at"},
		"with":          {"allow if other with input.key.id as \"x\"\n\nother if input.key.id == \"x\"", "input.key"},
		"with data":     {`allow if data.plans.gold with data.plans as {"gold": input.tenant.name}`, "data.plans data.plans.gold input.tenant.name"},
		"data":          {`allow if data.plans[input.tenant.id].on`, "data.plans input.tenant.id"},
		"other data":    {`allow if some x in data.twyn.list`, "data.twyn.list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "by a variable" {
				// The compiler calls it recursion, which is as good.
				files := fstest.MapFS{"policy.rego": {Data: []byte("package twyn\n\n" + decides + test.source)}}
				var compileError *CompileError
				if _, err := Load(t.Context(), files, Options{}); !errors.As(err, &compileError) {
					t.Errorf("got %v", err)
				}
				return
			}
			body := decides + test.source
			if first, _, _ := strings.Cut(test.source, "\n"); strings.HasPrefix(first, "import ") {
				body = first + "\n\n" + decides + strings.TrimPrefix(test.source, first)
			}
			if strings.HasPrefix(test.source, "allow :=") {
				body = strings.Replace(body, "default allow := false\n\n", "", 1)
			}
			memo := loadText(t, body, `{"plans": {}}`).Memo()
			if got := strings.Join(memo.Paths, " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !memo.Enabled {
				t.Errorf("not remembered: %+v", memo)
			}
		})
	}
}

func TestFootprintOfTheDefaultPolicies(t *testing.T) {
	t.Parallel()
	set, err := Load(t.Context(), Default(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"input.key.environment", "input.key.rate_limit", "input.key.scopes", "input.request.method",
		"input.request.query.tenant", "input.request.resource_type", "input.resource.environment", "input.resource.tenant_id", "input.resource.type", "input.tenant.id",
	}
	if memo := set.Memo(); !memo.Enabled || memo.Reason != "" || !slices.Equal(memo.Paths, want) {
		t.Errorf("got %+v", memo)
	}
	if set.Uncompiled() != nil {
		t.Error(set.Uncompiled())
	}
}

// TestMemoNamesWhatCostsIt: the file and the line that keep decisions from being
// remembered.
func TestMemoNamesWhatCostsIt(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]MemoReport{
		"allow if object.get(»input, \"key\", {}).id == \"x\"": {Reason: "not remembered: reads input as a whole, and with it input.request.id, which no two requests share"},
		"allow if f(»input)\n\nf(x) if x.key":                  {Reason: "not remembered: reads input as a whole, and with it input.request.id, which no two requests share"},
		"allow if {\n\tsome k\n\t»input[k].id\n}":              {Reason: "not remembered: reads input as a whole, and with it input.request.id, which no two requests share"},
		"allow if f with »input as {}\n\nf := true":            {Reason: "not remembered: reads input as a whole, and with it input.request.id, which no two requests share"},
		"allow if count(»input.request) == 0":                  {Reason: "not remembered: reads input.request as a whole, and with it input.request.id, which no two requests share"},
		"allow if »input.request.id == \"x\"":                  {Reason: "not remembered: reads input.request.id, which no two requests share"},
		"allow if »input.request.path == \"/\"":                {Enabled: true, Reason: "less often remembered: reads input.request.path, whose values rarely repeat"},
	} {
		t.Run(want.Reason, func(t *testing.T) {
			t.Parallel()
			before, _, _ := strings.Cut("package twyn\n\n"+decides+source, "»")
			set := loadText(t, decides+strings.Replace(source, "»", "", 1), "{}")
			got := set.Memo()
			want.File, want.Row, want.Col = "policy.rego", strings.Count(before, "\n")+1, len(before)-strings.LastIndex(before, "\n")
			got.Paths = nil
			if got.Enabled != want.Enabled || got.Reason != want.Reason || got.File != want.File || got.Row != want.Row || got.Col != want.Col {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if (set.memo != nil) != want.Enabled {
				t.Error("remembers all the same")
			}
		})
	}
}

// TestImpureFunctionsCostTheMemo looks at policies that Load refuses.
func TestImpureFunctionsCostTheMemo(t *testing.T) {
	t.Parallel()
	for _, call := range []string{
		`time.now_ns() > 1`, `rand.intn("a", 2) == 1`, `http.send({}).ok`, `opa.runtime().env`, `uuid.rfc4122("a") == "b"`,
		`net.lookup_ip_addr("a")`, `trace("a")`, `print("a")`, `crypto.x509.parse_and_verify_certificates("a")[0]`,
		`io.jwt.decode_verify("a", {})[0]`, `count([1]) == 1 with count as rand.intn`,
	} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			module := ast.MustParseModuleWithOpts("package twyn\n\n"+decides+"allow if f\n\nf if {\n\tinput.key.id\n\t"+call+"\n}\n", ast.ParserOptions{RegoVersion: ast.RegoV1})
			compiler := ast.NewCompiler().WithEnablePrintStatements(true).WithDefaultRegoVersion(ast.RegoV1)
			compiler.Compile(map[string]*ast.Module{"policy.rego": module})
			if compiler.Failed() && !strings.Contains(call, "with") {
				t.Fatal(compiler.Errors)
			}
			if compiler.Failed() {
				return
			}
			f := footprintOf(compiler, nil, ast.MustParseRef(entry))
			keys, report := newEncoder(f)
			if keys != nil || report.Enabled || !strings.HasPrefix(report.Reason, "not remembered: calls ") || report.Row != 11 {
				t.Errorf("got %+v", report)
			}
		})
	}
}

// TestInputFields holds the parts of the input that keys know to the schema.
func TestInputFields(t *testing.T) {
	t.Parallel()
	var schema struct {
		Properties map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(inputSchema, &schema); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"resource": true}
	for object, of := range schema.Properties {
		for name := range of.Properties {
			want[object+"."+name] = true
		}
	}
	got := map[string]bool{}
	for i, f := range inputFields {
		got[f.path] = true
		if i > 0 && f.code <= inputFields[i-1].code {
			t.Errorf("%s is out of order", f.path)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
