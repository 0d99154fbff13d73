package policies

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/twyn/twyn/engine"
)

// revisionLen is how many hex digits of the digest name a revision.
const revisionLen = 16

// Options change how Load works. The zero value is ready to use.
type Options struct {
	// Root is put before the paths of files where problems are named, so
	// that people find them; usually the directory that the files are in.
	Root string
}

// Set is one revision of the policies and their data. It never changes.
type Set struct {
	revision  string
	sources   *sources
	documents map[string]any
	query     rego.PreparedEvalQuery
	txn       storage.Transaction
}

var _ engine.Policy = (*Set)(nil)

// Load reads the policies (.rego) and their data (data.json, data.yaml) and
// compiles them. Files whose names end in _test.rego are the tests, which
// RunTests runs; they decide nothing. Data files appear in Rego under "data" and
// the path of their directory. Files that do not make a policy are a
// *CompileError.
func Load(ctx context.Context, fsys fs.FS, options Options) (*Set, error) {
	src, err := directory{fsys: fsys, root: options.Root}.read()
	if err != nil {
		return nil, err
	}
	return newSet(ctx, src)
}

// newSet compiles the sources.
func newSet(ctx context.Context, src *sources) (set *Set, err error) {
	defer recoverProblem(&err)
	documents, problems := src.documents()
	store, txn, err := newStore(ctx, documents)
	if err != nil {
		return nil, err
	}
	caps := capabilities()
	modules, more := parse(src.modules, caps)
	problems = append(problems, more...)
	refused := refusals()
	for _, module := range modules {
		problems = append(problems, checkForbidden(module, refused)...)
	}
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	compiler, err := newCompiler(ctx, caps, store, txn)
	if err != nil {
		return nil, err
	}
	if err := compile(compiler, modules); err != nil {
		return nil, err
	}
	if err := checkEntry(compiler); err != nil {
		return nil, err
	}
	query, err := rego.New(
		rego.ParsedQuery(ast.MustParseBody(entry)),
		rego.Compiler(compiler),
		rego.Capabilities(caps),
		rego.Store(store),
		rego.Transaction(txn),
		// Without this a rule that fails is merely undefined, and
		// "allow if not bad" would allow whatever bad could not judge.
		rego.StrictBuiltinErrors(true),
		rego.GenerateJSON(func(term *ast.Term, _ *rego.EvalContext) (any, error) { return term, nil }),
	).PrepareForEval(ctx)
	if err != nil {
		return nil, fmt.Errorf("preparing policies: %w", err)
	}
	return &Set{revision: src.revision(), sources: src, documents: documents, query: query, txn: txn}, nil
}

// Revision names the set: the start of a digest of the files that decide.
func (s *Set) Revision() string { return s.revision }

// Judge asks the policies for their decision. It returns an error that wraps
// ErrUndefined, ErrMalformed or ErrEvaluation if there is none; the Judgement
// then denies and names the revision.
func (s *Set) Judge(ctx context.Context, question engine.Question) (judgement engine.Judgement, err error) {
	defer s.conclude(&judgement, &err)
	input := question.Input()
	return s.judge(ctx, &input)
}

// JudgeInput is Judge for an input that somebody wrote down.
func (s *Set) JudgeInput(ctx context.Context, input *engine.Input) (judgement engine.Judgement, err error) {
	defer s.conclude(&judgement, &err)
	return s.judge(ctx, input)
}

// conclude makes a panic an error and names the revision.
func (s *Set) conclude(judgement *engine.Judgement, err *error) {
	if r := recover(); r != nil {
		*judgement, *err = engine.Judgement{}, fmt.Errorf("%w: panic: %v", ErrEvaluation, r)
	}
	judgement.Revision = s.revision
}

func (s *Set) judge(ctx context.Context, input *engine.Input) (engine.Judgement, error) {
	term, err := s.evaluate(ctx, input)
	if err != nil {
		return engine.Judgement{}, err
	}
	return decodeDecision(term.Value)
}

// evaluate returns the decision document.
func (s *Set) evaluate(ctx context.Context, input *engine.Input) (*ast.Term, error) {
	value, err := inputValue(input)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	}
	results, err := s.query.Eval(ctx,
		rego.EvalParsedInput(value),
		rego.EvalTransaction(s.txn),
		rego.EvalTime(time.Unix(0, input.Request.Time)),
		rego.EvalMetrics(metrics.NoOp()),
		rego.EvalExternalCancel(contextCancel{ctx.Done()}),
	)
	switch {
	case topdown.IsCancel(err) && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrEvaluation, err)
	case len(results) == 0:
		return nil, ErrUndefined
	}
	term, ok := results[0].Expressions[0].Value.(*ast.Term)
	if !ok {
		return nil, fmt.Errorf("%w: no value", ErrMalformed)
	}
	return term, nil
}

// contextCancel lets an evaluation see that its context has ended. OPA would
// start a goroutine for that, in every evaluation.
type contextCancel struct{ done <-chan struct{} }

var _ topdown.Cancel = contextCancel{}

// Cancel does nothing; the context is what cancels.
func (contextCancel) Cancel() {}

// Cancelled reports whether the context has ended.
func (c contextCancel) Cancelled() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// revision names what decides: the policies and the data, without the tests.
func (s *sources) revision() string {
	digest := sha256.New()
	for _, files := range [][]file{s.modules, s.data} {
		for _, f := range files {
			// The lengths keep "a" and "bc" apart from "ab" and "c".
			var lengths [16]byte
			binary.BigEndian.PutUint64(lengths[:8], uint64(len(f.path)))
			binary.BigEndian.PutUint64(lengths[8:], uint64(len(f.content)))
			_, _ = digest.Write(lengths[:])
			_, _ = io.WriteString(digest, f.path)
			_, _ = digest.Write(f.content)
		}
	}
	return hex.EncodeToString(digest.Sum(nil))[:revisionLen]
}
