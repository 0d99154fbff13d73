package policies

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"

	"github.com/twyn/twyn/engine"
)

// Store keeps what a Desk works with. Things that do not exist are
// engine.ErrNotFound.
type Store interface {
	CreatePolicyRevision(ctx context.Context, revision engine.PolicyRevision) error
	PolicyRevision(ctx context.Context, id string) (engine.PolicyRevision, error)
	// PolicyRevisions lists revisions without their files, newest first.
	PolicyRevisions(ctx context.Context, page engine.Page) (revisions []engine.PolicyRevision, total int, err error)
	LivePolicy(ctx context.Context) (engine.LivePolicy, error)
	PolicyData(ctx context.Context, version int64) (engine.PolicyData, error)
	// ChangeLivePolicy makes something else live, with new data if data is
	// not nil, or returns engine.ErrConflict if the generation of to is not
	// the one that follows the present.
	ChangeLivePolicy(ctx context.Context, to engine.LivePolicy, data *engine.PolicyData) error
}

// DeskOptions are what a Desk is made with.
type DeskOptions struct {
	// Options are those of every set that goes live.
	Options Options
	// Pinned names the setting that says where the policies come from, if it
	// is not the store; Set is live at first then.
	Pinned string
	Set    *Set
	// BundleKey verifies bundles; nil: they need no signature.
	BundleKey *BundleKey
	Logger    *slog.Logger
}

// Desk is where policies are handed in, checked, kept, made live and taken
// back. What is live is the same for every Desk over one store: each follows
// the store, and takes nothing that does not compile. It is safe for concurrent
// use.
type Desk struct {
	store   Store
	options Options
	pinned  string
	key     *BundleKey
	logger  *slog.Logger
	live    *Engine

	mu      sync.Mutex
	applied int64  // the generation of what is live; -1 for none of the store's
	failure string // what was logged last
}

// attempts is how often a change of what is live is tried when another one
// comes before it.
const attempts = 5

// OpenDesk returns a Desk with the policies live that the store says. If they
// do not compile any more the previous ones are, and if those do not either
// everything but policies themselves is denied.
func OpenDesk(ctx context.Context, store Store, o DeskOptions) (*Desk, error) {
	d := &Desk{store: store, options: o.Options, pinned: o.Pinned, key: o.BundleKey, logger: o.Logger, applied: -1}
	if d.logger == nil {
		d.logger = slog.New(slog.DiscardHandler)
	}
	if o.Pinned != "" {
		d.live = NewEngine(o.Set)
		return d, nil
	}
	d.options.Root = ""
	live, err := store.LivePolicy(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the policies: %w", err)
	}
	set, err := d.load(ctx, live.Revision, live.DataVersion)
	if err == nil {
		d.applied = live.Generation
	} else if set, err = d.fallBack(ctx, live, err); err != nil {
		return nil, fmt.Errorf("opening the policies: %w", err)
	}
	d.live = NewEngine(set)
	return d, nil
}

// fallBack finds a set to begin with if what should be live cannot be.
func (d *Desk) fallBack(ctx context.Context, live engine.LivePolicy, cause error) (*Set, error) {
	if errors.Is(cause, engine.ErrUnavailable) || ctx.Err() != nil {
		return nil, cause
	}
	d.logger.ErrorContext(ctx, "the live policy cannot be loaded, falling back to the previous one",
		slog.String("revision", live.Revision), slog.String("previous", live.Previous), slog.Any("error", cause))
	if live.Previous != "" && live.Previous != live.Revision {
		set, err := d.load(ctx, live.Previous, live.DataVersion)
		if err == nil {
			return set, nil
		}
		d.logger.ErrorContext(ctx, "the previous policy cannot be loaded either", slog.String("revision", live.Previous), slog.Any("error", err))
	}
	d.logger.ErrorContext(ctx, "no stored policy can be loaded: every request is denied but those for policies; roll back or activate another revision")
	return Closed(ctx, d.options)
}

// closedPolicy denies everything.
const closedPolicy = `package twyn

decision := {
	"allow": false,
	"reasons": [{"code": "policy_error", "message": "Access denied: no policy could be loaded"}],
	"limits": [],
}
`

// Closed returns a set that denies everything, for a server whose policies
// cannot be had.
func Closed(ctx context.Context, options Options) (*Set, error) {
	options.Root = ""
	return newSet(ctx, &sources{modules: []file{{path: "closed.rego", name: "closed.rego", content: []byte(closedPolicy)}}}, options)
}

// Engine returns the policy that judges with what is live.
func (d *Desk) Engine() *Engine { return d.live }

// Follow takes over what the store says is live. What does not compile changes
// nothing and is logged.
func (d *Desk) Follow(ctx context.Context) {
	if d.pinned != "" {
		return
	}
	live, err := d.store.LivePolicy(ctx)
	if err != nil {
		d.fail(ctx, live, err)
		return
	}
	d.mu.Lock()
	known := live.Generation <= d.applied
	d.mu.Unlock()
	if known {
		return
	}
	set, err := d.load(ctx, live.Revision, live.DataVersion)
	if err != nil {
		d.fail(ctx, live, err)
		return
	}
	d.apply(ctx, set, live.Generation)
}

// fail logs once why the live set stays.
func (d *Desk) fail(ctx context.Context, live engine.LivePolicy, err error) {
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	repeated := d.failure == err.Error()
	d.failure = err.Error()
	d.mu.Unlock()
	if !repeated {
		d.logger.ErrorContext(ctx, "policies cannot be taken over, the former ones stay",
			slog.String("revision", live.Revision), slog.String("former_revision", d.live.Live().Revision()), slog.Any("error", err))
	}
}

// apply makes a set live unless a newer one is.
func (d *Desk) apply(ctx context.Context, set *Set, generation int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if generation <= d.applied {
		return
	}
	d.applied, d.failure = generation, ""
	former := d.live.Swap(set)
	d.logger.InfoContext(ctx, "policies changed", slog.String("revision", set.Revision()),
		slog.String("former_revision", former.Revision()), slog.Int64("generation", generation))
	set.LogCosts(ctx, d.logger)
}

// load compiles a revision, "" for the policies of the program, with a version
// of the data documents over its own data.
func (d *Desk) load(ctx context.Context, revision string, dataVersion int64) (*Set, error) {
	data, err := d.store.PolicyData(ctx, dataVersion)
	if err != nil {
		return nil, err
	}
	return d.loadWith(ctx, revision, data)
}

// loadWith is load with data that may not be in the store yet.
func (d *Desk) loadWith(ctx context.Context, revision string, data engine.PolicyData) (*Set, error) {
	src, err := d.sources(ctx, revision)
	if err != nil {
		return nil, err
	}
	if src, err = src.overlaid(data.Documents); err != nil {
		return nil, err
	}
	options := d.options
	options.Root = ""
	set, err := newSet(ctx, src, options)
	if err != nil {
		return nil, err
	}
	set.revision = nameOf(revision, set.revision, data.Version)
	return set, nil
}

// sources reads the files of a revision.
func (d *Desk) sources(ctx context.Context, revision string) (*sources, error) {
	if revision == "" {
		return directory{fsys: Default()}.read()
	}
	stored, err := d.store.PolicyRevision(ctx, revision)
	if err != nil {
		return nil, err
	}
	src, problems := newSources(stored.Files, stored.Data, "")
	if len(problems) > 0 {
		return nil, newCompileError(problems...)
	}
	return src, nil
}

// nameOf is what decisions call a set: the revision, or the digest of what is no
// revision, and the version of the data documents if there are any.
func nameOf(revision, digest string, dataVersion int64) string {
	name := revision
	if name == "" {
		name = digest
		if dataVersion > 0 {
			name = embeddedName
		}
	}
	if dataVersion > 0 {
		name += "+" + strconv.FormatInt(dataVersion, 10)
	}
	return name
}

// embeddedName stands for the policies of the program where data lies over them.
const embeddedName = "default"

// Submit checks files and keeps them as a candidate. Files that cannot go live
// are a *engine.PolicyRefusedError, and nothing is kept.
func (d *Desk) Submit(ctx context.Context, revision engine.PolicyRevision) (engine.PolicyRevision, error) {
	options := d.options
	options.Root = ""
	report, _, err := Check(ctx, revision.Files, revision.Data, options)
	if err != nil {
		return engine.PolicyRevision{}, fmt.Errorf("checking policies: %w", err)
	}
	if !report.Good() {
		return engine.PolicyRevision{}, &engine.PolicyRefusedError{Report: *report}
	}
	revision.ID, revision.Status, revision.Report = engine.NewRevisionID(), engine.PolicyCandidate, *report
	if err := d.store.CreatePolicyRevision(ctx, revision); err != nil {
		return engine.PolicyRevision{}, fmt.Errorf("keeping policies: %w", err)
	}
	return revision, nil
}

// Unpack returns the files of an OPA bundle, for Submit. One that is not good is
// a *engine.PolicyRefusedError.
func (d *Desk) Unpack(r io.Reader) (map[string]string, error) {
	files, err := ReadBundle(r, d.key)
	if err != nil {
		report := newReport("")
		report.Problems = append(report.Problems, engine.PolicyProblem{Kind: engine.ProblemFiles, Message: err.Error()})
		return nil, &engine.PolicyRefusedError{Report: *report}
	}
	return files, nil
}

// Revision returns a revision with its files.
func (d *Desk) Revision(ctx context.Context, id string) (engine.PolicyRevision, error) {
	return d.store.PolicyRevision(ctx, id)
}

// Revisions lists revisions without their files, newest first.
func (d *Desk) Revisions(ctx context.Context, page engine.Page) ([]engine.PolicyRevision, int, error) {
	return d.store.PolicyRevisions(ctx, page)
}

// Diff returns what changes from one revision to another, as a unified diff of
// each file that differs, by path.
func (d *Desk) Diff(ctx context.Context, from, to string) (map[string]string, error) {
	var files [2]map[string]string
	for i, id := range []string{from, to} {
		revision, err := d.store.PolicyRevision(ctx, id)
		if err != nil {
			return nil, err
		}
		files[i] = revision.Files
		if len(revision.Data) > 0 {
			if _, clash := files[i][dataFile]; !clash {
				files[i][dataFile] = string(revision.Data)
			}
		}
	}
	return Diff(files[0], files[1]), nil
}

// Live says what is live. If policies do not come from the store it is
// engine.ErrPolicyPinned.
func (d *Desk) Live(ctx context.Context) (engine.LivePolicy, error) {
	if err := d.unpinned(); err != nil {
		return engine.LivePolicy{}, err
	}
	return d.store.LivePolicy(ctx)
}

func (d *Desk) unpinned() error {
	if d.pinned != "" {
		return fmt.Errorf("%w: %s is set", engine.ErrPolicyPinned, d.pinned)
	}
	return nil
}

// refusal makes files that do not compile an error for whoever handed them in.
func refusal(err error) error {
	var compileError *CompileError
	if !errors.As(err, &compileError) {
		return err
	}
	report := newReport("")
	report.Problems = reported(engine.ProblemCompile, compileError.Problems)
	return &engine.PolicyRefusedError{Report: *report}
}
