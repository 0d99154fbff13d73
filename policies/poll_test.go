package policies

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPollWaitsForWritersToEnd shows the watcher another state at every look:
// none of them goes live, good or bad, before it was seen twice.
func TestPollWaitsForWritersToEnd(t *testing.T) {
	t.Parallel()
	const policy = "package twyn\n\ndecision := {\"allow\": true, \"reasons\": [], \"limits\": []}\n"
	dir := t.TempDir()
	file := filepath.Join(dir, "decision.rego")
	change := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	change(policy)
	first, err := Load(t.Context(), os.DirFS(dir), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	w := &watcher{engine: NewEngine(first), dir: dir, logger: slog.New(slog.NewTextHandler(&log, nil))}
	now := time.Now().Add(time.Hour)
	for n := range len(policy) {
		change(policy[:n])
		w.poll(t.Context(), now)
	}
	if w.engine.Live() != first || log.Len() > 0 {
		t.Fatalf("a file went live while it was written: %s", &log)
	}
	change(policy + "# More.\n")
	w.poll(t.Context(), now)
	if w.engine.Live() != first {
		t.Error("a change went live at the first look")
	}
	w.poll(t.Context(), now)
	if w.engine.Live() == first || !strings.Contains(log.String(), "policies changed") {
		t.Errorf("the change did not go live at the second look: %s", &log)
	}
}
