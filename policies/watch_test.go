package policies

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

// watched is a policy directory at which the test looks as Watch does.
type watched struct {
	*watcher
	t   *testing.T
	now time.Time
	log *bytes.Buffer
}

// watch starts watching dir with the policies it has now.
func watch(t *testing.T, dir string) *watched {
	t.Helper()
	set, err := Load(t.Context(), os.DirFS(dir), Options{Root: dir, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	log := &bytes.Buffer{}
	return &watched{
		watcher: &watcher{engine: NewEngine(set), dir: dir, logger: slog.New(slog.NewTextHandler(log, nil))},
		// Far from the files' times, so that they count as settled.
		t: t, now: time.Now().Add(24 * time.Hour), log: log,
	}
}

// look looks at the directory as often as a change needs to go live.
func (w *watched) look() {
	w.t.Helper()
	for range 2 {
		w.now = w.now.Add(PollInterval)
		w.poll(w.t.Context(), w.now)
	}
}

// wants checks the live revision's limit and what was logged since.
func (w *watched) wants(limit int, logged ...string) {
	w.t.Helper()
	judgement, err := w.engine.Judge(w.t.Context(), QuestionOf(&engine.Input{}))
	if err != nil {
		w.t.Fatal(err)
	}
	if got := judgement.Limits[0].Limit.Limit; got != int64(limit) {
		w.t.Errorf("got the policy with limit %d, want %d", got, limit)
	}
	lines := strings.Split(strings.TrimSuffix(w.log.String(), "\n"), "\n")
	if w.log.Len() == 0 {
		lines = nil
	}
	if !slices.EqualFunc(lines, logged, strings.Contains) {
		w.t.Errorf("got the log\n%s\nwant a line with each of %q", w.log, logged)
	}
	w.log.Reset()
}

// write writes a policy with that limit.
func write(t *testing.T, path string, limit int) {
	t.Helper()
	writeText(t, path, fmt.Sprintf(`package twyn

decision := {"allow": true, "reasons": [], "limits": [{
	"name": "n", "limit": %d, "window_seconds": 1, "algorithm": "fixed_window", "scope": "key",
}]}
`, limit))
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// link makes path a symbolic link to target, in one step.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestWatchTakesWhatIsGood(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	write(t, file, 1)
	w := watch(t, dir)
	w.look()
	w.wants(1)

	write(t, file, 20)
	w.look()
	w.wants(20, "policies changed")

	writeText(t, file, "package twyn\n\ndecision := {\n")
	w.look()
	w.wants(20, file+":4:1: rego_parse_error")
	w.look()
	w.wants(20)

	writeText(t, filepath.Join(dir, "more.rego"), "package twyn\n\na := http.send({})\n")
	w.look()
	w.wants(20, filepath.Join(dir, "more.rego")+":3:6: ")

	write(t, file, 300)
	w.look()
	w.wants(20, filepath.Join(dir, "more.rego")+":3:6: ")

	if err := os.Remove(filepath.Join(dir, "more.rego")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(300, "policies changed", "policies are good again")

	writeText(t, filepath.Join(dir, "decision_test.rego"), "not Rego")
	w.look()
	w.wants(300)
}

func TestWatchReturnsToTheLiveRevision(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	write(t, file, 1)
	w := watch(t, dir)
	w.look()
	writeText(t, file, "broken")
	w.look()
	w.wants(1, file+":1:1: ")
	write(t, file, 1)
	w.look()
	w.wants(1, "policies are good again")
	writeText(t, file, "broken")
	w.look()
	w.wants(1, file+":1:1: ")
}

func TestWatchKeepsPoliciesOfMissingDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "policies")
	write(t, filepath.Join(dir, "decision.rego"), 1)
	w := watch(t, dir)
	w.look()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(1, "no such file")
	w.look()
	w.wants(1)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(1, "data.twyn.decision is not defined")
	write(t, filepath.Join(dir, "decision.rego"), 20)
	w.look()
	w.wants(20, "policies changed", "policies are good again")
}

// TestWatchFollowsConfigMaps lays the directory out as Kubernetes does, and
// changes it as Kubernetes does.
func TestWatchFollowsConfigMaps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	past := time.Now().Add(-time.Hour)
	for i, version := range []string{"..2025_1", "..2025_2"} {
		file := filepath.Join(dir, version, "decision.rego")
		write(t, file, i+1)
		// Same size and time: only where the link leads tells them apart.
		if err := os.Chtimes(file, past, past); err != nil {
			t.Fatal(err)
		}
	}
	link(t, "..2025_1", filepath.Join(dir, "..data"))
	link(t, filepath.Join("..data", "decision.rego"), filepath.Join(dir, "decision.rego"))
	w := watch(t, dir)
	w.look()
	w.wants(1)
	link(t, "..2025_2", filepath.Join(dir, "..data"))
	w.look()
	w.wants(2, "policies changed")
	if err := os.RemoveAll(filepath.Join(dir, "..2025_2")); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(2, "no such file")
	link(t, "..2025_1", filepath.Join(dir, "..data"))
	w.look()
	w.wants(1, "policies changed", "policies are good again")
}

// TestWatchFollowsTheDirectoryItself exchanges the directory as a whole. Links to
// directories inside it are followed too.
func TestWatchFollowsTheDirectoryItself(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for i, version := range []string{"a", "b"} {
		write(t, filepath.Join(root, version, ".files", "decision.rego"), i+1)
		link(t, ".files", filepath.Join(root, version, "linked"))
	}
	link(t, "a", filepath.Join(root, "live"))
	w := watch(t, filepath.Join(root, "live"))
	w.look()
	w.wants(1)
	link(t, "b", filepath.Join(root, "live"))
	w.look()
	w.wants(2, "policies changed")
}

// TestWatchReadsYoungFilesAgain changes a file without a trace in its size or
// time, as happens on file systems that keep seconds.
func TestWatchReadsYoungFilesAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	write(t, file, 1)
	w := watch(t, dir)
	at := w.now.Add(time.Second)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(1)
	write(t, file, 2)
	if err := os.Chtimes(file, at, at); err != nil {
		t.Fatal(err)
	}
	w.look()
	w.wants(2, "policies changed")
}

// TestWatchWaitsForWritersToEnd shows another state at every look: none of them
// goes live, good or bad, before it was seen twice.
func TestWatchWaitsForWritersToEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	write(t, file, 1)
	w := watch(t, dir)
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for n := range source {
		writeText(t, file, string(source[:n]))
		w.poll(t.Context(), w.now)
	}
	w.wants(1)
	write(t, file, 20)
	w.poll(t.Context(), w.now)
	w.wants(1)
	w.poll(t.Context(), w.now)
	w.wants(20, "policies changed")
}

func TestWatch(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	write(t, file, 1)
	w := watch(t, dir)
	first := w.engine.Live()
	ticks := make(chan time.Time)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.engine.Watch(t.Context(), dir, ticks, w.logger)
	}()
	write(t, file, 20)
	// That the third tick is taken tells that the second look is over.
	for range 3 {
		ticks <- w.now
	}
	if w.engine.Live() == first {
		t.Error("the change is not live after two ticks")
	}
	close(ticks)
	<-done
	w.wants(20, "policies changed")
}

func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "decision.rego"), 1)
	w := watch(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.engine.Watch(ctx, dir, make(chan time.Time), w.logger)
	}()
	cancel()
	<-done
}
