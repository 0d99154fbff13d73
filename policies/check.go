package policies

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/twyn/twyn/engine"
)

// testsTimeout is how long all tests of a revision may take together.
const testsTimeout = 5 * time.Second

// maxReported is how many problems, and how many warnings, one report holds.
const maxReported = 200

// dataFile is what problems call data that was handed in beside the files.
const dataFile = "data.json"

// Check says everything there is to say about files before they go live: it
// compiles them strictly, runs their tests within a budget, measures coverage,
// lints, and reports whether decisions will be remembered. Files are texts by
// path; data, if not nil, is an object that belongs to them. The Set is nil if
// the report holds problems of the files or of their compilation. An error
// means that no report could be made.
func Check(ctx context.Context, files map[string]string, data json.RawMessage, options Options) (*engine.PolicyReport, *Set, error) {
	src, problems := newSources(files, data, options.Root)
	if len(problems) > 0 {
		report := newReport("")
		report.Problems = reported(engine.ProblemFiles, problems)
		return report, nil, nil
	}
	return check(ctx, src, options)
}

// CheckDir is Check for a directory. Files that are no part of a set, by their
// names, are passed over.
func CheckDir(ctx context.Context, fsys fs.FS, options Options) (*engine.PolicyReport, *Set, error) {
	src, err := directory{fsys: fsys, root: options.Root}.read()
	var compileError *CompileError
	if errors.As(err, &compileError) {
		report := newReport("")
		report.Problems = reported(engine.ProblemFiles, compileError.Problems)
		return report, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	return check(ctx, src, options)
}

// ReadDir returns the texts of the files that make a set, by path, as Check
// takes them.
func ReadDir(fsys fs.FS) (map[string]string, error) {
	src, err := directory{fsys: fsys}.read()
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, f := range slices.Concat(src.modules, src.tests, src.data) {
		files[f.path] = string(f.content)
	}
	return files, nil
}

func newReport(digest string) *engine.PolicyReport {
	return &engine.PolicyReport{
		Digest: digest, Problems: []engine.PolicyProblem{}, Warnings: []engine.PolicyProblem{}, Uncovered: []engine.PolicyProblem{},
		Memo: engine.PolicyMemo{Paths: []string{}},
	}
}

// check makes the report on sources.
func check(ctx context.Context, src *sources, options Options) (*engine.PolicyReport, *Set, error) {
	report := newReport(src.digest())
	set, err := newSet(ctx, src, options)
	if err != nil {
		return report, nil, refuse(report, src, err)
	}
	findings, err := set.lint(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range findings {
		if f.severe {
			report.Problems = append(report.Problems, f.problem)
		} else {
			report.Warnings = append(report.Warnings, f.problem)
		}
	}
	if err := runChecked(ctx, set, report); err != nil {
		return nil, nil, err
	}
	memo := set.Memo()
	report.Memo = engine.PolicyMemo{
		Enabled: memo.Enabled, Reason: memo.Reason, File: memo.File, Row: memo.Row, Col: memo.Col, Paths: append([]string{}, memo.Paths...),
	}
	report.Problems = report.Problems[:min(len(report.Problems), maxReported)]
	report.Warnings = report.Warnings[:min(len(report.Warnings), maxReported)]
	return report, set, nil
}

// refuse adds to the report why the sources are no policy, and what is wrong
// with the tests besides, so that everything wrong is said at once.
func refuse(report *engine.PolicyReport, src *sources, err error) error {
	var compileError *CompileError
	if !errors.As(err, &compileError) {
		return err
	}
	problems := slices.Clone(compileError.Problems)
	caps, refused := capabilities(), refusals()
	modules, more := parse(src.tests, caps)
	problems = append(problems, more...)
	for _, module := range modules {
		problems = append(problems, checkForbidden(module, refused)...)
	}
	report.Problems = reported(engine.ProblemCompile, newCompileError(problems...).Problems)
	return nil
}

// runChecked runs the tests of the set, within the budget, and reports on them.
func runChecked(ctx context.Context, set *Set, report *engine.PolicyReport) error {
	limited, cancel := context.WithTimeoutCause(ctx, testsTimeout, ErrBudget)
	defer cancel()
	tests, err := set.RunTests(limited)
	var compileError *CompileError
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return fmt.Errorf("checking policies: %w", ctx.Err())
	case errors.As(err, &compileError):
		report.Problems = append(report.Problems, reported(engine.ProblemCompile, compileError.Problems)...)
		return nil
	case limited.Err() != nil:
		report.Problems = append(report.Problems, engine.PolicyProblem{
			Kind: engine.ProblemTest, Message: fmt.Sprintf("the tests took more than %s: %v", testsTimeout, ErrBudget),
		})
		return nil
	default:
		return err
	}
	for _, result := range tests.Results {
		switch {
		case result.Passed:
			report.Tests.Passed++
		case result.Skipped:
			report.Tests.Skipped++
		default:
			report.Tests.Failed++
			report.Problems = append(report.Problems, engine.PolicyProblem{
				Kind: engine.ProblemTest, File: result.File, Row: result.Row, Col: 1, Message: result.Name + ": " + result.Message,
			})
		}
	}
	report.Tests.Coverage = tests.Coverage
	report.Uncovered = reported(engine.ProblemTest, tests.Uncovered)
	return nil
}

// reported turns problems into the engine's.
func reported(kind engine.PolicyProblemKind, problems []Problem) []engine.PolicyProblem {
	list := make([]engine.PolicyProblem, 0, len(problems))
	for _, p := range problems {
		if len(list) == maxReported {
			break
		}
		list = append(list, engine.PolicyProblem{Kind: kind, File: p.File, Row: p.Row, Col: p.Col, Message: p.Message})
	}
	return list
}

// newSources sorts files that somebody handed in. It holds them to the bounds
// of a directory, and says of each file that is no part of a set why, because
// whoever names it expects it to count.
func newSources(files map[string]string, data json.RawMessage, root string) (*sources, []Problem) {
	src := &sources{}
	var problems []Problem
	fail := func(name, format string, a ...any) {
		problems = append(problems, Problem{File: name, Message: fmt.Sprintf(format, a...)})
	}
	if len(files) > maxFiles {
		fail("", "more than %d files", maxFiles)
		return nil, problems
	}
	total := len(data)
	for _, p := range slices.Sorted(maps.Keys(files)) {
		f := file{path: p, name: path.Join(root, p), content: []byte(files[p])}
		if why := misnamed(p); why != "" {
			fail(p, "%s", why)
			continue
		}
		if !utf8.Valid(f.content) {
			fail(f.name, "not UTF-8")
		}
		if len(f.content) > maxFileBytes {
			fail(f.name, "file of more than %d bytes", maxFileBytes)
		}
		total += len(f.content)
		src.add(f)
	}
	if total > maxTotalBytes {
		fail("", "files of more than %d bytes in all", maxTotalBytes)
	}
	if len(data) > 0 {
		src.add(file{path: dataFile, name: path.Join(root, dataFile), content: data})
	}
	return src, problems
}

// add puts a file where it belongs by its name.
func (s *sources) add(f file) {
	switch {
	case strings.HasSuffix(f.path, "_test.rego"):
		s.tests = append(s.tests, f)
	case strings.HasSuffix(f.path, ".rego"):
		s.modules = append(s.modules, f)
	default:
		s.data = append(s.data, f)
	}
}

// misnamed says why no file of a set can have a path; "" if it can.
func misnamed(p string) string {
	switch {
	case !fs.ValidPath(p) || len(p) > 500 || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "not a relative path with slashes"
	case strings.Count(p, "/") > maxDirDepth:
		return fmt.Sprintf("directories nested more than %d deep", maxDirDepth)
	case strings.HasPrefix(p, ".") || strings.Contains(p, "/."):
		return "names that begin with a dot are not read"
	case !isSource(path.Base(p)):
		return "neither a .rego file nor data.json, data.yaml or data.yml"
	default:
		return ""
	}
}

// digest names all files, tests included, by their content.
func (s *sources) digest() string {
	digest := sha256.New()
	for _, f := range slices.Concat(s.modules, s.tests, s.data) {
		var lengths [16]byte
		binary.BigEndian.PutUint64(lengths[:8], uint64(len(f.path)))
		binary.BigEndian.PutUint64(lengths[8:], uint64(len(f.content)))
		_, _ = digest.Write(lengths[:])
		_, _ = io.WriteString(digest, f.path)
		_, _ = digest.Write(f.content)
	}
	return hex.EncodeToString(digest.Sum(nil))
}

// compileAgain compiles the set's policies once more, for those who need more
// than decisions. It returns the modules as they were written, too. The
// transaction needs no end: nothing writes.
func (s *Set) compileAgain(ctx context.Context) (*recompiled, error) {
	store, txn, err := newStore(ctx, s.documents)
	if err != nil {
		return nil, err
	}
	caps := capabilities()
	modules, problems := parse(s.sources.modules, caps)
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	compiler, err := newCompiler(ctx, caps, store, txn)
	if err != nil {
		return nil, err
	}
	written := make(map[string]*ast.Module, len(modules))
	for name, module := range modules {
		written[name] = module.Copy()
	}
	if err := compile(compiler, modules); err != nil {
		return nil, err
	}
	return &recompiled{compiler: compiler, store: store, txn: txn, written: written}, nil
}

// recompiled is what compileAgain makes.
type recompiled struct {
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction
	written  map[string]*ast.Module // by name, before compilation
}
