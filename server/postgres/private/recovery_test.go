package private

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestOwnerKilled(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	h := startHelper(t, dir)
	execute(t, h.ready(t), "CREATE TABLE notes AS SELECT 'kept' AS text")
	was := pid(t, dir)
	h.kill(t) // would hang if the server held the helper's files
	c := start(t, dir)
	if got := pid(t, dir); got != was {
		t.Errorf("joined %d, want the server %d that survived", got, was)
	}
	if got := query[string](t, c.URL(), "SELECT text FROM notes"); got != "kept" {
		t.Errorf("got %q", got)
	}
	stop(t, c)
	if !gone(t, dir) {
		t.Error("the last to leave did not stop the server")
	}
}

func TestServerKilled(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	first := start(t, dir)
	execute(t, first.URL(), "CREATE TABLE notes AS SELECT 'kept' AS text")
	was := pid(t, dir)
	killServer(t, dir)
	second := start(t, dir) // while the first still counts as a user
	if got := pid(t, dir); got == was {
		t.Error("the killed server still counts as running")
	}
	if got := query[string](t, second.URL(), "SELECT text FROM notes"); got != "kept" {
		t.Errorf("got %q", got)
	}
	stop(t, second)
	if gone(t, dir) {
		t.Error("the server was stopped while a process used it")
	}
	stop(t, first)
	if !gone(t, dir) {
		t.Error("the server is still running")
	}
}

func TestOwnerAndServerKilled(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	h := startHelper(t, dir)
	execute(t, h.ready(t), "CREATE TABLE notes AS SELECT 'kept' AS text")
	killServer(t, dir)
	h.kill(t)
	// As after the restart of a container: the process id in the stale file
	// belongs to somebody else by now.
	s, err := newSite(Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.data(), "postmaster.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "\n")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%d\n%s", os.Getpid(), rest), 0o600); err != nil {
		t.Fatal(err)
	}
	c := start(t, dir)
	if got := query[string](t, c.URL(), "SELECT text FROM notes"); got != "kept" {
		t.Errorf("got %q", got)
	}
}

func TestStopAfterServerKilled(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	c := start(t, dir)
	killServer(t, dir)
	stop(t, c)
	if !gone(t, dir) {
		t.Error("something is still running")
	}
}

func TestUnfinishedInit(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	h := startHelper(t, dir)
	home := filepath.Join(dir, clusterName)
	// Kill the starter in the middle of initdb; initdb itself is still at it.
	err := poll(waiting(t), func() (bool, error) {
		found, err := filepath.Glob(filepath.Join(home, initPrefix+"*", "base"))
		return len(found) > 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.kill(t)
	c := start(t, dir)
	if got := query[string](t, c.URL(), "SELECT current_user"); got != Role {
		t.Errorf("got %q", got)
	}
	left, err := filepath.Glob(filepath.Join(home, initPrefix+"*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLostPassword(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	c := start(t, dir)
	old := c.URL()
	stop(t, c)
	if err := os.Remove(filepath.Join(dir, passwordName)); err != nil {
		t.Fatal(err)
	}
	c = start(t, dir)
	if c.URL() == old || query[int](t, c.URL(), "SELECT 1") != 1 {
		t.Error("the new password does not work")
	}
}

func TestBrokenData(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	stop(t, start(t, dir))
	if err := os.Remove(filepath.Join(dir, clusterName, dataName, "global", "pg_control")); err != nil {
		t.Fatal(err)
	}
	_, err := Start(waiting(t), Options{DataDir: dir, Fast: true})
	var server *ServerError
	if !errors.As(err, &server) || !strings.Contains(server.Log, "pg_control") {
		t.Errorf("got %v, want a ServerError that quotes the log", err)
	}
}
