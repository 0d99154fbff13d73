package private

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestStart(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	var log bytes.Buffer
	c, err := Start(waiting(t), Options{DataDir: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
	for statement, want := range map[string]string{
		"SELECT current_database()": "twyn",
		"SELECT current_user":       "twyn",
		"SHOW server_encoding":      "UTF8",
		"SHOW lc_collate":           "C",
		"SHOW timezone":             "UTC",
		"SHOW fsync":                "on",
		"SHOW synchronous_commit":   "on",
		"SHOW full_page_writes":     "on",
		"SHOW data_checksums":       "on",
		"SHOW max_connections":      "200",
		"SHOW listen_addresses":     "",
		"SELECT coalesce(inet_server_addr()::text, 'no TCP')":                                                     "no TCP",
		"SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user":                                        "false",
		"SELECT (rolcreaterole AND rolcreatedb AND rolcanlogin)::text FROM pg_roles WHERE rolname = current_user": "true",
		"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()":                      "twyn",
	} {
		if got := query[string](t, c.URL(), statement); got != want {
			t.Errorf("%s: %q, want %q", statement, got, want)
		}
	}
	execute(t, c.URL(), "CREATE ROLE reader NOLOGIN; GRANT reader TO current_user; CREATE TABLE notes (text text)")

	u, err := url.Parse(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	if strings.Contains(log.String(), password) {
		t.Error("the log has the password")
	}
	serverLog, err := os.ReadFile(filepath.Join(dir, clusterName, logName))
	if err != nil || bytes.Contains(serverLog, []byte(password)) {
		t.Errorf("the server's log has the password, or is not there: %v", err)
	}
	for _, name := range []string{passwordName, lockName, usersName, runningName} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; want mode 0600", name, info, err)
		}
	}
	for _, name := range []string{dataName, socketName} {
		info, err := os.Stat(filepath.Join(dir, clusterName, name))
		if err != nil || info.Mode().Perm() != 0o700 || owner(info).uid == 0 {
			t.Errorf("%s: %v, %v; want mode 0700 and an owner that is not root", name, info, err)
		}
	}
	stop(t, c)
	stop(t, c) // does nothing
	if !gone(t, dir) {
		t.Error("the server is still running")
	}
}

func TestAuthentication(t *testing.T) {
	t.Parallel()
	c := start(t, reachable(t))
	right, err := url.Parse(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	for name, user := range map[string]*url.Userinfo{
		"no password":                url.User(Role),
		"a wrong password":           url.UserPassword(Role, "wrong"),
		"superuser":                  url.User(superuser),
		"superuser, empty password":  url.UserPassword(superuser, ""),
		"superuser, twyn's password": url.UserPassword(superuser, func() string { p, _ := right.User.Password(); return p }()),
	} {
		u := *right
		u.User = user
		if err := open(t, u.String()).PingContext(waiting(t)); err == nil {
			t.Errorf("%s: let in", name)
		}
	}
}

func TestRestartKeepsData(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	c := start(t, dir)
	execute(t, c.URL(), "CREATE TABLE notes AS SELECT 'kept' AS text")
	stop(t, c)
	c = start(t, dir)
	if got := query[string](t, c.URL(), "SELECT text FROM notes"); got != "kept" {
		t.Errorf("got %q", got)
	}
}

func TestJoin(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	first := start(t, dir)
	was := pid(t, dir)
	second := start(t, dir) // in the same process
	h := startHelper(t, dir)
	if dsn := h.ready(t); dsn != first.URL() || second.URL() != dsn {
		t.Error("those who joined have another URL")
	}
	stop(t, first)
	stop(t, second)
	if got := pid(t, dir); got != was || gone(t, dir) {
		t.Errorf("the server %d was stopped while a process used it; now %d", was, got)
	}
	h.leave(t)
	if !gone(t, dir) {
		t.Error("the last to leave did not stop the server")
	}
}

func TestStampede(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	helpers := make([]*helper, 5)
	for i := range helpers {
		helpers[i] = startHelper(t, dir)
	}
	var urls sync.Map
	for _, h := range helpers {
		urls.Store(h.ready(t), true)
	}
	n := 0
	urls.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d different URLs", n)
	}
	var leaving sync.WaitGroup
	for _, h := range helpers {
		leaving.Go(func() { h.leave(t) })
	}
	leaving.Wait()
	if !gone(t, dir) {
		t.Error("the server is still running")
	}
}

func TestInterruptDoesNotReachServer(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	h := startHelper(t, dir)
	dsn := h.ready(t)
	was := pid(t, dir)
	if err := syscall.Kill(-h.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	group, err := syscall.Getpgid(was)
	if err != nil || group == h.cmd.Process.Pid {
		t.Errorf("the server's group is %d, %v; want its own", group, err)
	}
	if got := query[int](t, dsn, "SELECT 1"); got != 1 || pid(t, dir) != was {
		t.Error("the server did not survive the interrupt")
	}
	h.leave(t)
}

func TestCancelledStart(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = poll(ctx, func() (bool, error) {
			found, err := filepath.Glob(filepath.Join(dir, clusterName, initPrefix+"*", "base"))
			return len(found) > 0, err
		})
		cancel()
	}()
	if _, err := Start(ctx, Options{DataDir: dir, Fast: true}); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want that the start was cancelled", err)
	}
	start(t, dir)
}

func TestStopTellsServerThoughContextEnded(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	c := start(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Stop(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := poll(waiting(t), func() (bool, error) { return gone(t, dir), nil }); err != nil {
		t.Errorf("the server did not stop: %v", err)
	}
}

func TestOtherVersion(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	stop(t, start(t, dir))
	if err := os.WriteFile(filepath.Join(dir, clusterName, dataName, "PG_VERSION"), []byte("9\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Start(waiting(t), Options{DataDir: dir, Fast: true})
	var version *VersionError
	if !errors.As(err, &version) || version.Want != 9 {
		t.Errorf("got %v, want a VersionError", err)
	}
}
