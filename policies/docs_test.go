package policies

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"

	"github.com/twyn/twyn/engine"
)

var update = flag.Bool("update", false, "write the generated parts of docs/policies.md")

const docsPath = "../docs/policies.md"

// TestDocs holds the tables of docs/policies.md to what they are about.
func TestDocs(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	want := string(content)
	for name, table := range map[string]string{"input": inputTable(t), "forbidden": forbiddenTable()} {
		part := regexp.MustCompile(`(?s)(<!-- ` + name + `: [^\n]*-->\n).*?(<!-- end -->\n)`)
		if !part.MatchString(want) {
			t.Fatalf("no part for %s", name)
		}
		want = part.ReplaceAllStringFunc(want, func(old string) string {
			begin, _, _ := strings.Cut(old, "\n")
			return begin + "\n" + table + "<!-- end -->\n"
		})
	}
	if want == string(content) {
		return
	}
	if !*update {
		t.Fatal("docs/policies.md is out of date; run go test ./policies -run TestDocs -update")
	}
	if err := os.WriteFile(docsPath, []byte(want), 0o600); err != nil {
		t.Fatal(err)
	}
}

// inputTable writes the schema of the input as a table, fields in the order of
// the schema.
func inputTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| field | type | is |\n| --- | --- | --- |\n")
	writeProperties(t, &b, "", inputSchema)
	return b.String()
}

// property is the part of a schema that the table shows.
type property struct {
	Type        any             `json:"type"`
	Description string          `json:"description"`
	Properties  json.RawMessage `json:"properties"`
	Items       *property       `json:"items"`
}

func writeProperties(t *testing.T, b *strings.Builder, prefix string, object []byte) {
	t.Helper()
	var s property
	if err := json.Unmarshal(object, &s); err != nil {
		t.Fatal(err)
	}
	if s.Properties == nil {
		return
	}
	decoder := json.NewDecoder(strings.NewReader(string(s.Properties)))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var raw json.RawMessage
		if err := decoder.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		var p property
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("%s%v", prefix, name)
		_, _ = fmt.Fprintf(b, "| `%s` | %s | %s |\n", path, p.typeName(), p.Description)
		writeProperties(t, b, path+".", raw)
	}
}

func (p *property) typeName() string {
	switch kind := p.Type.(type) {
	case []any:
		return fmt.Sprintf("%v or %v", kind[0], kind[1])
	default:
		if p.Items != nil {
			return fmt.Sprintf("%v of %v", kind, p.Items.Type)
		}
		return fmt.Sprint(kind)
	}
}

func forbiddenTable() string {
	var b strings.Builder
	b.WriteString("| function | why |\n| --- | --- |\n")
	for _, f := range forbidden {
		if strings.HasPrefix(f.name, "internal.") {
			continue
		}
		name := f.name
		if strings.HasSuffix(name, ".") {
			name += "*"
		}
		_, _ = fmt.Fprintf(&b, "| `%s` | %s |\n", name, f.why)
	}
	return b.String()
}

// TestDocsFirstPolicy does what docs/policies.md tells a newcomer to do.
func TestDocsFirstPolicy(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	if err := fsCopy(files); err != nil {
		t.Fatal(err)
	}
	step := regexp.MustCompile("(?s)`my-policies/([a-z_/.]+)`:\n\n```[a-z]+\n(.*?)```")
	steps := step.FindAllStringSubmatch(string(content), -1)
	if len(steps) != 3 {
		t.Fatalf("got %d files, want 3", len(steps))
	}
	for _, s := range steps {
		name, text := s[1], []byte(s[2])
		files[name] = &fstest.MapFile{Data: text}
		if !strings.HasSuffix(name, ".rego") {
			continue
		}
		formatted, err := format.SourceWithOpts(name, text, format.Opts{RegoVersion: ast.RegoV1})
		if err != nil || string(formatted) != string(text) {
			t.Errorf("%s is not in the form of opa fmt: %v\n%s", name, err, formatted)
		}
	}
	set, err := Load(t.Context(), files, Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	report, err := set.RunTests(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed() > 0 {
		t.Errorf("got %+v", report.Results)
	}
	input := &engine.Input{Tenant: engine.InputTenant{ID: "ten_0123456789abcdefghijklmn"}, Request: engine.InputRequest{Method: "DELETE"}}
	input.Key.Environment = string(engine.Live)
	judgement, err := set.JudgeInput(t.Context(), input)
	if err != nil || judgement.Allow || judgement.Reasons[0].Code != "tenant_frozen" || len(judgement.Limits) != 2 {
		t.Errorf("got %+v, %v", judgement, err)
	}
}

// fsCopy copies the default policies.
func fsCopy(files fstest.MapFS) error {
	src, err := directory{fsys: Default()}.read()
	if err != nil {
		return err
	}
	for _, list := range [][]file{src.modules, src.tests, src.data} {
		for _, f := range list {
			files[f.path] = &fstest.MapFile{Data: f.content}
		}
	}
	return nil
}
