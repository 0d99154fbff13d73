package private

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLongPath(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(reachable(t), strings.Repeat("long", 20), strings.Repeat("er", 20))
	t.Cleanup(func() { reap(t, dir) })
	first := start(t, dir)
	socket := first.socket
	if strings.HasPrefix(socket, dir) || !socketPathFits(socket) {
		t.Errorf("the socket is in %s", socket)
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, %v; want mode 0700", info, err)
	}
	h := startHelper(t, dir)
	if h.ready(t) != first.URL() {
		t.Error("who joined has another URL")
	}
	stop(t, first)
	h.leave(t)
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's directory is left behind: %v", err)
	}

	first = start(t, dir)
	socket = first.socket
	killServer(t, dir)
	second := start(t, dir)
	if second.socket == socket {
		t.Error("the killed server's socket is still in use")
	}
	if _, err := os.Stat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the killed server's socket is left behind: %v", err)
	}
	stop(t, second)
	stop(t, first) // the last to leave is not the one that made the socket
	if _, err := os.Stat(second.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket's directory is left behind: %v", err)
	}
}

func TestStrangePath(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"with space", "a,comma", "percent%41", "[brackets]", `back\slash`, `a"quote`, "ümlaut"} {
		c := start(t, filepath.Join(reachable(t), name))
		t.Cleanup(func() { reap(t, c.site.dataDir) })
		if got := query[int](t, c.URL(), "SELECT 1"); got != 1 {
			t.Errorf("%s: got %d", name, got)
		}
		stop(t, c)
	}
}

// TestClosedDirectory starts in a directory that is closed to all but its
// owner: an ordinary user's cluster stays there, root's goes elsewhere.
func TestClosedDirectory(t *testing.T) {
	t.Parallel()
	above := reachable(t)
	if err := os.Mkdir(above, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(above, "closed")
	t.Cleanup(func() { reap(t, dir) })
	var log bytes.Buffer
	c, err := Start(waiting(t), Options{DataDir: dir, Fast: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	execute(t, c.URL(), "CREATE TABLE notes AS SELECT 'kept' AS text")
	stop(t, c)
	target, err := os.Readlink(filepath.Join(dir, clusterName))
	if os.Geteuid() == 0 {
		if err != nil || filepath.Dir(target) != elsewhere || !strings.Contains(log.String(), target) {
			t.Errorf("the link leads to %q, %v; want it in %s and in the log: %s", target, err, elsewhere, log.String())
		}
	} else if err == nil {
		t.Errorf("the cluster was moved to %s", target)
	}
	if got := query[string](t, start(t, dir).URL(), "SELECT text FROM notes"); got != "kept" {
		t.Errorf("got %q", got)
	}
}

// TestClosedLater closes the way to a cluster that exists: an ordinary user
// does not mind, root is told which user is kept out of what.
func TestClosedLater(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	stop(t, start(t, dir))
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // closed is the point
		t.Fatal(err)
	}
	c, err := Start(waiting(t), Options{DataDir: dir, Fast: true})
	if os.Geteuid() != 0 {
		if err != nil {
			t.Fatal(err)
		}
		stop(t, c)
		return
	}
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || unreachable.Path != filepath.Join(dir, clusterName) {
		t.Errorf("got %v, want an UnreachableError", err)
	}
}

func TestRelativeDirectory(t *testing.T) {
	dir := reachable(t)
	t.Chdir(filepath.Dir(dir))
	c := start(t, filepath.Base(dir))
	if got := query[int](t, c.URL(), "SELECT 1"); got != 1 {
		t.Errorf("got %d", got)
	}
}
