package policies

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies/plan"
)

// revisionLen is how many hex digits of the digest name a revision.
const revisionLen = 16

// Options change how Load works. The zero value is ready to use.
type Options struct {
	// Root is put before the paths of files where problems are named, so
	// that people find them; usually the directory that the files are in.
	Root string
	// Evaluator chooses what evaluates; "" stands for Compiled.
	Evaluator Evaluator
	// Timeout is how long one evaluation may take; 0 stands for
	// DefaultTimeout.
	Timeout time.Duration
	// MemoEntries is about how many decisions the Set remembers; 0 stands for
	// DefaultMemoEntries, a negative number for none.
	MemoEntries int
	// Stats counts what the Set does; nil: nobody looks.
	Stats *Stats
	// Logger gets a line for each difference that Both finds; nil: none.
	Logger *slog.Logger
}

// withDefaults returns the options with every zero value replaced.
func (o Options) withDefaults() Options {
	o.Evaluator = cmp.Or(o.Evaluator, Compiled)
	o.Timeout = cmp.Or(o.Timeout, DefaultTimeout)
	o.MemoEntries = cmp.Or(o.MemoEntries, DefaultMemoEntries)
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// compiledBytes is how many bytes the values that one compiled evaluation makes
// may take, by an estimate.
const compiledBytes = 64 << 20

// Set is one revision of the policies and their data. It never changes, but for
// what it remembers.
type Set struct {
	revision  string
	options   Options
	sources   *sources
	documents map[string]any

	query rego.PreparedEvalQuery
	masks *rego.PreparedEvalQuery // nil: records are kept as they are
	txn   storage.Transaction
	// program is the compiled policy; nil if there is none, because of
	// uncompiled or of the options.
	program    *plan.Program
	data       *plan.Data
	uncompiled error
	parts      parts // of the input that the policy can read

	memo    *memo // nil: nothing is remembered
	encoder encoder
	report  MemoReport
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
	return newSet(ctx, src, options)
}

// newSet compiles the sources.
func newSet(ctx context.Context, src *sources, options Options) (set *Set, err error) {
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
	masks, err := prepareMasks(ctx, src, caps, store, txn)
	if err != nil {
		return nil, err
	}
	set = &Set{
		revision: src.revision(), options: options.withDefaults(),
		sources: src, documents: documents, query: query, masks: masks, txn: txn,
	}
	reads := footprintOf(compiler, documents, ast.MustParseRef(entry))
	set.parts = partsOf(reads)
	set.encoder, set.report = newEncoder(reads)
	if set.report.Enabled && set.options.MemoEntries > 0 {
		set.memo = newMemo(set.options.MemoEntries)
	}
	if set.options.Evaluator != Interpreted {
		set.program, set.data, set.uncompiled = newProgram(ctx, modules, documents, caps)
	}
	return set, nil
}

// newProgram compiles the policies to closures, or says why that cannot be done.
func newProgram(ctx context.Context, modules map[string]*ast.Module, documents map[string]any, caps *ast.Capabilities) (*plan.Program, *plan.Data, error) {
	program, err := plan.Compile(ctx, modules, planEntry, plan.Options{Capabilities: caps, MaxSteps: maxSteps, MaxBytes: compiledBytes})
	if err != nil {
		return nil, nil, err
	}
	data, err := plan.NewData(documents)
	if err != nil {
		return nil, nil, err
	}
	return program, data, nil
}

// Revision names the set: the start of a digest of the files that decide.
func (s *Set) Revision() string { return s.revision }

// Memo says what the decisions depend on, and whether they are remembered.
func (s *Set) Memo() MemoReport {
	report := s.report
	report.Paths = slices.Clone(report.Paths)
	return report
}

// Uncompiled says why the policies are interpreted although they should run
// compiled: an error such as *plan.UnsupportedError. It is nil if they run as
// the options say.
func (s *Set) Uncompiled() error { return s.uncompiled }

// Counts returns what the Stats in its Options, which other Sets may share,
// have counted.
func (s *Set) Counts() Counts { return s.options.Stats.Counts() }

// Judge asks the policies for their decision. It returns an error that wraps
// ErrUndefined, ErrMalformed or ErrEvaluation if there is none; the Judgement
// then denies and names the revision.
//
// A decision that this Set has made for another question with the same key is
// returned without an evaluation; an error never is.
func (s *Set) Judge(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	if s.memo == nil {
		return s.bypass(ctx, question)
	}
	var room [keyBytes]byte
	n, ok := s.encoder.encode(room[:], question)
	if !ok {
		return s.judgeLong(ctx, question)
	}
	hash := s.memo.hash(room[:n])
	if e := s.memo.find(hash, room[:n]); e != nil {
		s.options.Stats.hit(hash)
		return e.judgement, nil
	}
	return s.miss(ctx, question, hash, room[:n])
}

// judgeLong is Judge for a question with a long key, or without one.
func (s *Set) judgeLong(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	var room [maxKeyBytes]byte
	n, ok := s.encoder.encode(room[:], question)
	if !ok {
		return s.bypass(ctx, question)
	}
	hash := s.memo.hash(room[:n])
	if e := s.memo.find(hash, room[:n]); e != nil {
		s.options.Stats.hit(hash)
		return e.judgement, nil
	}
	return s.miss(ctx, question, hash, room[:n])
}

// miss makes a decision and remembers it.
func (s *Set) miss(ctx context.Context, question engine.Question, hash uint64, key []byte) (engine.Judgement, error) {
	s.options.Stats.misses.Add(1)
	input := question.Input()
	judgement, err := s.JudgeInput(ctx, &input)
	if err == nil {
		s.memo.add(hash, key, judgement)
	}
	return judgement, err
}

// bypass makes a decision that is not remembered.
func (s *Set) bypass(ctx context.Context, question engine.Question) (engine.Judgement, error) {
	s.options.Stats.bypasses.Add(1)
	input := question.Input()
	return s.JudgeInput(ctx, &input)
}

// JudgeInput is Judge for an input that somebody wrote down. It always
// evaluates and remembers nothing.
func (s *Set) JudgeInput(ctx context.Context, input *engine.Input) (judgement engine.Judgement, err error) {
	defer func() {
		if r := recover(); r != nil {
			judgement, err = engine.Judgement{}, fmt.Errorf("%w: panic: %v", ErrEvaluation, r)
		}
		judgement.Revision = s.revision
	}()
	value, err := s.evaluate(ctx, input)
	switch {
	case err != nil:
		return engine.Judgement{}, err
	case value == nil:
		return engine.Judgement{}, ErrUndefined
	default:
		return decodeDecision(value)
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
