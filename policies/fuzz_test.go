package policies

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/twyn/twyn/engine"
)

// FuzzDecodeDecision gives any JSON as a decision document.
func FuzzDecodeDecision(f *testing.F) {
	for _, seed := range []string{
		`{"allow": true, "reasons": [], "limits": []}`,
		`{"allow": false, "reasons": [{"code": "a", "message": "b"}], "limits": []}`,
		`{"allow": true, "reasons": [], "limits": [{"name": "n", "limit": 1e3, "window_seconds": 60, "algorithm": "token_bucket", "scope": "key", "burst": 5, "cost": 2}]}`,
		`{"allow": "true"}`, `{"allow": true}`, `[]`, `null`, `true`, `1e999`, `{"limits": {}}`,
		`{"allow": true, "reasons": [null], "limits": [[]]}`,
		`{"allow": true, "reasons": [], "limits": [{"name": "n", "limit": 99999999999999999999, "window_seconds": 1e-9, "algorithm": "", "scope": ""}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		value, err := ast.ValueFromReader(bytes.NewReader(document))
		if err != nil {
			return
		}
		judgement, err := decodeDecision(value)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || judgement.Allow || judgement.Reasons != nil || judgement.Limits != nil {
				t.Fatalf("got %+v, %v", judgement, err)
			}
			return
		}
		object, ok := value.(ast.Object)
		if !ok {
			t.Fatalf("%s passed", document)
		}
		if allow, ok := object.Get(ast.StringTerm("allow")).Value.(ast.Boolean); !ok || judgement.Allow != bool(allow) {
			t.Fatalf("%s became %+v", document, judgement)
		}
		checkLimits(t, judgement.Limits)
	})
}

func checkLimits(t *testing.T, limits []engine.PolicyLimit) {
	t.Helper()
	seen := map[[2]string]bool{}
	for _, limit := range limits {
		if err := limit.Validate(); err != nil {
			t.Fatal(err)
		}
		id := [2]string{limit.Name, string(limit.Scope)}
		if limit.Cost < 0 || !isLimitScope(limit.Scope) || seen[id] {
			t.Fatalf("%+v passed", limit)
		}
		seen[id] = true
	}
}

// FuzzLoad gives any bytes as a file of policies and one of data, beside ones
// that are good, and asks what comes of it for a decision.
func FuzzLoad(f *testing.F) {
	defaults, err := fs.Glob(Default(), "*.rego")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range defaults {
		source, err := fs.ReadFile(Default(), name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(source, []byte("plans: {gold: 1}\n"))
	}
	for _, seed := range []string{
		"", "package twyn", "package twyn\n\ndecision := {\"allow\": true, \"reasons\": [], \"limits\": []}\n",
		"package a.b[\"c\"]\n\nx contains y if some y in input.request.segments\n",
		"package twyn\n\n# METADATA\n# schemas:\n#   - input: {type: string}\na if input == \"\"\n",
		"package twyn\n\na := http.send({}) with input as 1\n",
		"package twyn\n\nallow if count([]) == 0 with count as print\n",
		"package twyn\n\nf(x) := f(x - 1) if x > 0\n",
		"package twyn\n\na := [[[[[[[[[[1]]]]]]]]]]\n",
		"package twyn\n\nimport data.twyn as t\n\na if every x in t { x }\n",
		"package twyn\n\na := $\"{1}\"\n", "package twyn\n\na := `raw\n",
	} {
		f.Add([]byte(seed), []byte(`{"a": [1, 1e3, null, {"b": "c"}]}`))
	}
	for _, seed := range []string{"", "[", "1", "a: &a [*a]\n", "? {a: 1}\n: 2\n", "twyn: {decision: 1}\n", "1: 2\n", "a: !!binary eA==\n"} {
		f.Add([]byte("package a\n"), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, source, data []byte) {
		files := fstest.MapFS{
			"base.rego": {Data: []byte("package twyn\n\ndecision := {\"allow\": true, \"reasons\": [], \"limits\": []}\n")},
			"more.rego": {Data: source},
			"data.yaml": {Data: data},
		}
		set, err := Load(t.Context(), files, Options{})
		if err != nil {
			var compileError *CompileError
			if !errors.As(err, &compileError) || len(compileError.Problems) == 0 {
				t.Fatalf("got %v", err)
			}
			return
		}
		if judgement, err := set.JudgeInput(t.Context(), &engine.Input{}); err != nil && judgement.Allow {
			t.Fatalf("%v beside %+v", err, judgement)
		}
	})
}
