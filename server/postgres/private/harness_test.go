package private

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/lib/pq" // the driver the tests speak through
)

// helperEnv makes the test binary a process that uses the cluster of the data
// directory it names.
const helperEnv = "TWYN_PRIVATE_HELPER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperEnv); dir != "" {
		os.Exit(help(dir, os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

// help starts the cluster, says so in a line with its URL, and leaves it when
// its input ends.
func help(dir string, in io.Reader, out io.Writer) int {
	signal.Ignore(os.Interrupt) // so that a test can send one to the whole group
	c, err := Start(context.Background(), Options{DataDir: dir, Fast: true})
	if err != nil {
		_, _ = fmt.Fprintln(out, err)
		return 1
	}
	_, _ = fmt.Fprintln(out, c.URL())
	_, _ = io.Copy(io.Discard, in)
	if err := c.Stop(context.Background()); err != nil {
		_, _ = fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

// helper is a process that uses a cluster.
type helper struct {
	cmd    *exec.Cmd
	input  io.Closer
	output *bufio.Reader
	extra  *os.File // the reading end of a pipe that the process inherited
}

// startHelper starts a process that uses the cluster of dir, without waiting
// until it does.
func startHelper(t *testing.T, dir string) *helper {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), helperEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	extra, inherited, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = []*os.File{inherited}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = inherited.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = extra.Close()
	})
	return &helper{cmd: cmd, input: in, output: bufio.NewReader(out), extra: extra}
}

// ready waits until the process uses the cluster and returns its URL.
func (h *helper) ready(t *testing.T) string {
	t.Helper()
	line, err := h.output.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "postgres://") {
		t.Fatalf("the helper said %q, %v", line, err)
	}
	return strings.TrimSpace(line)
}

// kill ends the process as kill -9 does, and waits until every file it held or
// inherited is closed.
func (h *helper) kill(t *testing.T) {
	t.Helper()
	if err := h.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, h.output); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, h.extra); err != nil {
		t.Fatal(err)
	}
	_ = h.cmd.Wait()
}

// leave lets the process end well.
func (h *helper) leave(t *testing.T) {
	t.Helper()
	_ = h.input.Close()
	rest, err := io.ReadAll(h.output)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.cmd.Wait(); err != nil {
		t.Fatalf("the helper failed: %v: %s", err, rest)
	}
}

// waiting returns a context for things that take a while on a busy machine.
func waiting(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// reachable returns a directory that every user can reach.
func reachable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // the cluster's user must pass
			t.Fatal(err)
		}
	}
	dir = filepath.Join(dir, "twyn")
	t.Cleanup(func() { reap(t, dir) })
	return dir
}

// reap leaves no server behind, whatever became of the test, and removes what
// was kept elsewhere.
func reap(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return
	}
	s, err := newSite(Options{DataDir: dir})
	if err != nil {
		t.Error(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.shutdown(ctx); err != nil {
		t.Errorf("a server was left behind: %v", err)
	}
	if target, err := os.Readlink(s.path(clusterName)); err == nil && strings.HasPrefix(target, elsewhere) {
		_ = os.RemoveAll(target)
	}
}

func start(t *testing.T, dir string) *Cluster {
	t.Helper()
	c, err := Start(waiting(t), Options{DataDir: dir, Fast: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := c.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return c
}

func stop(t *testing.T, c *Cluster) {
	t.Helper()
	if err := c.Stop(waiting(t)); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func execute(t *testing.T, dsn, statement string) {
	t.Helper()
	db := open(t, dsn)
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(waiting(t), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func query[T any](t *testing.T, dsn, statement string) T {
	t.Helper()
	var value T
	db := open(t, dsn)
	defer func() { _ = db.Close() }()
	if err := db.QueryRowContext(waiting(t), statement).Scan(&value); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	return value
}

// pid returns the postmaster's process id.
func pid(t *testing.T, dir string) int {
	t.Helper()
	s, err := newSite(Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	pm, err := s.postmaster()
	if err != nil {
		t.Fatal(err)
	}
	if pm.pid == 0 {
		t.Fatal("no server is running")
	}
	return pm.pid
}

// killServer ends the postmaster as kill -9 does, and waits until it is dead.
func killServer(t *testing.T, dir string) {
	t.Helper()
	s, err := newSite(Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	pm, err := s.postmaster()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pm.pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := poll(waiting(t), func() (bool, error) { return !pm.answers(t.Context()), nil }); err != nil {
		t.Fatalf("the killed server still answers: %v", err)
	}
}

// gone reports whether no process of the cluster is left.
func gone(t *testing.T, dir string) bool {
	t.Helper()
	f, err := openLock(filepath.Join(dir, runningName))
	if err != nil {
		t.Fatal(err)
	}
	defer release(f)
	free, err := tryLock(f, syscall.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	return free
}
