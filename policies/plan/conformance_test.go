package plan_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/test/cases"
	"github.com/open-policy-agent/opa/v1/test/cases/testdata"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/twyn/twyn/policies/plan"
)

// conformanceCase is one of OPA's own test cases.
type conformanceCase struct {
	cases.TestCase

	id      string
	version ast.RegoVersion
}

// conformanceCases returns all of OPA's test cases, in the order of their ids.
func conformanceCases(t *testing.T) []conformanceCase {
	t.Helper()
	var all []conformanceCase
	load := func(fsys fs.FS, dir string, version ast.RegoVersion) {
		err := fs.WalkDir(fsys, dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := fs.ReadFile(fsys, path)
			if err != nil {
				return err
			}
			var set cases.Set
			if err := util.Unmarshal(content, &set); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			for _, c := range set.Cases {
				all = append(all, conformanceCase{TestCase: c, id: dir + "/" + c.Note, version: version})
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	load(testdata.V1, "v1", ast.RegoV1)
	// Those in the former syntax are in the module, but not in the package.
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/open-policy-agent/opa").Output()
	if err != nil {
		t.Fatalf("finding OPA's module: %v", err)
	}
	load(os.DirFS(filepath.Join(strings.TrimSpace(string(module)), "v1/test/cases/testdata")), "v0", ast.RegoV0)
	slices.SortStableFunc(all, func(a, b conformanceCase) int { return strings.Compare(a.id, b.id) })
	return all
}

func (c conformanceCase) capabilities() *ast.Capabilities {
	if c.ExperimentalKeywords {
		return ast.CapabilitiesForThisVersion(ast.CapabilitiesExperimentalKeywords(true))
	}
	return ast.CapabilitiesForThisVersion()
}

// modules returns the modules of the case, and the one that wraps its query.
func (c conformanceCase) modules(caps *ast.Capabilities) (map[string]*ast.Module, error) {
	modules := map[string]*ast.Module{}
	for i, source := range c.Modules {
		name := fmt.Sprintf("test-%d.rego", i)
		m, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{RegoVersion: c.version, Capabilities: caps})
		if err != nil {
			return nil, err
		}
		modules[name] = m
	}
	entry, err := entryModule(c.Query)
	if err != nil {
		return nil, err
	}
	modules["entrypoint.rego"] = entry
	return modules, nil
}

// documents returns the data and the input of the case.
func (c conformanceCase) documents() (map[string]any, ast.Value) {
	documents := map[string]any{}
	if c.Data != nil {
		documents = *c.Data
	}
	switch {
	case c.InputTerm != nil:
		return documents, ast.MustParseTerm(*c.InputTerm).Value
	case c.Input != nil:
		return documents, ast.MustInterfaceToValue(*c.Input)
	default:
		return documents, nil
	}
}

// entryModule wraps the query of a case into the rule data.entrypoint.result: the set of
// the query's bindings.
func entryModule(query string) (*ast.Module, error) {
	body, err := ast.ParseBodyWithOpts(query, ast.ParserOptions{RegoVersion: ast.RegoV1})
	if err != nil {
		return nil, err
	}
	var bindings []string
	for _, v := range body.Vars(ast.VarVisitorParams{SkipRefCallHead: true, SkipClosures: true}).Diff(ast.ReservedVars).Sorted() {
		if !v.IsGenerated() && !v.IsWildcard() {
			bindings = append(bindings, fmt.Sprintf("%q: %s", v, v))
		}
	}
	return ast.ParseModuleWithOpts("entrypoint.rego", fmt.Sprintf("package entrypoint\n\nresult contains {%s} if {\n\t%s\n}\n", strings.Join(bindings, ", "), query), ast.ParserOptions{RegoVersion: ast.RegoV1})
}

// verdict is how a case came out.
type verdict string

const (
	equalResult verdict = "equal"
	equalError  verdict = "equal errors"
	refused     verdict = "unsupported at compile time"
	notRun      verdict = "not run"
	different   verdict = "different"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	listed := readListed(t)
	counts := map[verdict]int{}
	codes := 0
	reasons := map[string]int{}
	var failing []string
	all := conformanceCases(t)
	for _, c := range all {
		v, why, sameCode := judge(t, c)
		counts[v]++
		switch v {
		case refused:
			if i := strings.Index(why, ": not supported by compiled evaluation: "); i >= 0 {
				why = why[i+2:]
			}
			reasons[why]++
		case different, notRun:
			failing = append(failing, c.id)
			if _, ok := listed[c.id]; !ok {
				t.Errorf("%s: %s: %s", c.id, v, why)
			}
		case equalError:
			if !sameCode {
				codes++
			}
		case equalResult:
		}
	}
	for id := range listed {
		if !slices.Contains(failing, id) {
			t.Errorf("%s is listed in testdata/unsupported.txt and passes: take it out", id)
		}
	}
	t.Logf("%d cases: %v (%d of the errors have other codes)", len(all), counts, codes)
	for _, why := range slices.Sorted(maps.Keys(reasons)) {
		t.Logf("%4d %s", reasons[why], why)
	}
}

// readListed reads the cases that are known to differ, and why.
func readListed(t *testing.T) map[string]string {
	t.Helper()
	file, err := os.Open("testdata/unsupported.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	}()
	listed := map[string]string{}
	last := ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, why, ok := strings.Cut(line, "\t")
		if !ok || why == "" {
			t.Errorf("testdata/unsupported.txt: %q has no reason", line)
		}
		if id <= last {
			t.Errorf("testdata/unsupported.txt: %q is not in its place", id)
		}
		last = id
		listed[id] = why
	}
	return listed
}

// judge runs a case on both engines and compares what they say with each other
// and with what the case wants.
func judge(t *testing.T, c conformanceCase) (v verdict, why string, sameCode bool) {
	t.Helper()
	caps := c.capabilities()
	modules, err := c.modules(caps)
	if err != nil {
		return notRun, err.Error(), false
	}
	documents, input := c.documents()
	compiler := ast.NewCompiler().WithCapabilities(caps)
	compiler.Compile(modules)
	if compiler.Failed() {
		return notRun, compiler.Errors.Error(), false
	}
	program, err := plan.Compile(t.Context(), modules, "entrypoint/result", plan.Options{Capabilities: caps})
	var unsupported *plan.UnsupportedError
	if errors.As(err, &unsupported) {
		return refused, err.Error(), false
	} else if err != nil {
		return notRun, err.Error(), false
	}
	data, err := plan.NewData(documents)
	if err != nil {
		return notRun, err.Error(), false
	}
	want, wantErr := interpret(t.Context(), compiler, documents, input)
	got, gotErr := program.Eval(t.Context(), input, data)
	switch {
	case (wantErr == nil) != (gotErr == nil):
		return different, fmt.Sprintf("interpreter: %v, error %v; compiled: %v, error %v", want, wantErr, got, gotErr), false
	case wantErr != nil:
		return equalError, "", errorCode(wantErr) == errorCode(gotErr)
	case want.Compare(got) != 0:
		return different, fmt.Sprintf("interpreter: %v; compiled: %v", want, got), false
	case c.WantErrorCode != nil || c.WantError != nil:
		return different, fmt.Sprintf("wants an error, has %v", got), false
	}
	if wanted := bindings(c.WantResult, c.SortBindings); c.WantResult != nil && wanted.Compare(jsonSet(t, got, c.SortBindings)) != 0 {
		return different, fmt.Sprintf("wants %v, has %v", wanted, got), false
	}
	return equalResult, "", false
}

// interpret evaluates data.entrypoint.result with OPA, as policies do.
func interpret(ctx context.Context, compiler *ast.Compiler, documents map[string]any, input ast.Value) (ast.Value, error) {
	options := []func(*rego.Rego){
		rego.Query("data.entrypoint.result"),
		rego.Compiler(compiler),
		rego.Store(inmem.NewFromObjectWithOpts(documents, inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))),
		rego.StrictBuiltinErrors(true),
		rego.Time(time.Unix(0, 0)),
		rego.GenerateJSON(func(term *ast.Term, _ *rego.EvalContext) (any, error) { return term.Value, nil }),
	}
	if input != nil {
		options = append(options, rego.ParsedInput(input))
	}
	results, err := rego.New(options...).Eval(ctx)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, nil
	}
	return results[0].Expressions[0].Value.(ast.Value), nil
}

// bindings turns wanted bindings into a set.
func bindings(want *[]map[string]any, sorted bool) ast.Set {
	set := ast.NewSet()
	if want == nil {
		return set
	}
	for _, b := range *want {
		object := ast.NewObject()
		for k, v := range b {
			object.Insert(ast.StringTerm(k), ast.NewTerm(ast.MustInterfaceToValue(sortIf(sorted, v))))
		}
		set.Add(ast.NewTerm(object))
	}
	return set
}

// jsonSet turns the set of bindings into what is left of it in JSON.
func jsonSet(t *testing.T, v ast.Value, sorted bool) ast.Set {
	t.Helper()
	set := ast.NewSet()
	v.(ast.Set).Foreach(func(b *ast.Term) {
		object := ast.NewObject()
		b.Value.(ast.Object).Foreach(func(k, v *ast.Term) {
			x, err := ast.JSON(v.Value)
			if err != nil {
				t.Fatal(err)
			}
			object.Insert(k, ast.NewTerm(ast.MustInterfaceToValue(sortIf(sorted, x))))
		})
		set.Add(ast.NewTerm(object))
	})
	return set
}

func sortIf(sorted bool, v any) any {
	if list, ok := v.([]any); ok && sorted {
		list = slices.Clone(list)
		slices.SortFunc(list, util.Compare)
		return list
	}
	return v
}

func errorCode(err error) string {
	var e *topdown.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return err.Error()
}
