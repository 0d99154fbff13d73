package policies

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// PollInterval is how often the ticks of Watch should come: a change goes live
// with the second tick that sees it, which is well within a second.
const PollInterval = 250 * time.Millisecond

// young is the age below which a file may change again without a new time of
// modification, on file systems that keep it in seconds.
const young = 3 * time.Second

// Watch keeps the live Set equal to the directory until ctx ends or ticks is
// closed. It looks at the directory at each tick, which suits config maps and
// network file systems, where notifications do not arrive.
//
// Files that do not make a policy change nothing: the live Set stays, and the
// logger is told once what is wrong and where. So does a directory that is gone.
// A change is taken when two looks in a row agree, so that a file is not read
// while it is being written. A change of many files is atomic if it is made by
// exchanging a symbolic link.
func (e *Engine) Watch(ctx context.Context, dir string, ticks <-chan time.Time, logger *slog.Logger) {
	w := &watcher{engine: e, dir: dir, logger: logger}
	for {
		select {
		case <-ctx.Done():
			return
		case now, ok := <-ticks:
			if !ok {
				return
			}
			w.poll(ctx, now)
		}
	}
}

// watcher is what Watch remembers between two looks.
type watcher struct {
	engine *Engine
	dir    string
	logger *slog.Logger

	seen    string // the fingerprint of the last look
	read    string // the fingerprint of what was read last
	recheck bool   // read may have changed without a new fingerprint
	tried   string // the revision that was compiled last
	failure string // what was logged last; "" if all is well
}

// poll looks at the directory once.
func (w *watcher) poll(ctx context.Context, now time.Time) {
	before, newest, err := fingerprint(w.dir)
	if err != nil {
		w.seen, w.read, w.tried = "", "", ""
		w.fail(ctx, err)
		return
	}
	stable := before == w.seen
	w.seen = before
	if !stable || (before == w.read && !w.recheck) {
		return
	}
	src, err := w.readDir()
	after, _, afterErr := fingerprint(w.dir)
	if afterErr != nil || after != before {
		// The files changed while they were read; the next look will tell.
		return
	}
	if err != nil {
		w.read, w.tried = "", ""
		w.fail(ctx, err)
		return
	}
	w.read, w.recheck = before, now.Sub(newest) < young
	if revision := src.revision(); revision != w.tried {
		w.tried = revision
		w.try(ctx, src)
	}
}

// readDir reads the files in the directory that the path leads to now, even if
// it is a symbolic link that is exchanged meanwhile.
func (w *watcher) readDir() (*sources, error) {
	resolved, err := filepath.EvalSymlinks(w.dir)
	if err != nil {
		return nil, fmt.Errorf("finding policies: %w", err)
	}
	return directory{fsys: os.DirFS(resolved), root: w.dir}.read()
}

// try makes the sources the live Set if they are good.
func (w *watcher) try(ctx context.Context, src *sources) {
	set, err := newSet(ctx, src, w.engine.Live().options)
	if err != nil {
		w.fail(ctx, err)
		return
	}
	if set.Revision() != w.engine.Live().Revision() {
		former := w.engine.Swap(set)
		w.logger.InfoContext(ctx, "policies changed",
			slog.String("dir", w.dir), slog.String("revision", set.Revision()), slog.String("former_revision", former.Revision()))
		set.LogCosts(ctx, w.logger)
	}
	if w.failure != "" {
		w.failure = ""
		w.logger.InfoContext(ctx, "policies are good again", slog.String("dir", w.dir), slog.String("revision", set.Revision()))
	}
}

// fail logs why the live Set stays, unless it was said already.
func (w *watcher) fail(ctx context.Context, err error) {
	if message := err.Error(); message != w.failure {
		w.failure = message
		w.logger.ErrorContext(ctx, "policies refused, the former ones stay",
			slog.String("dir", w.dir), slog.String("revision", w.engine.Live().Revision()), slog.String("error", message))
	}
}

// fingerprint tells two states of a directory apart without reading its files:
// by where each path leads, its size and its time of modification. It also
// returns the newest of these times.
func fingerprint(dir string) (print string, newest time.Time, err error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("finding policies: %w", err)
	}
	paths, err := directory{fsys: os.DirFS(resolved), root: dir}.list()
	if err != nil {
		return "", time.Time{}, err
	}
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%q\n", resolved)
	for _, p := range paths {
		target, err := filepath.EvalSymlinks(filepath.Join(resolved, filepath.FromSlash(p)))
		if err != nil {
			return "", time.Time{}, fmt.Errorf("finding policies: %w", err)
		}
		info, err := os.Stat(target)
		if err != nil {
			return "", time.Time{}, fmt.Errorf("finding policies: %w", err)
		}
		if info.ModTime().After(newest) {
			newest = info.ModTime()
		}
		_, _ = fmt.Fprintf(&b, "%q %q %d %d\n", p, target, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), newest, nil
}
