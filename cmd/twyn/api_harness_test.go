package main_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twyn/twyn/server/postgres/pgtest"
)

// The tests of this package are black-box: they run the built twyn as its own
// process on a database of its own and speak to it over TCP. Every answer is
// held to the OpenAPI document, every log to the secrets of the run.

// startTimeout bounds how long a server may take to listen, or to stop. It is
// far more than either needs; only a server that hangs meets it.
const startTimeout = 60 * time.Second

// binary builds twyn once for all tests, with the race detector if the tests
// themselves have it.
var binary = sync.OnceValues(func() (string, error) {
	arguments := []string{"build", "-o", filepath.Join(workDir(), "twyn")}
	if raceDetector() {
		arguments = append(arguments, "-race")
	}
	out, err := exec.Command("go", append(arguments, "github.com/twyn/twyn/cmd/twyn")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building twyn: %w: %s", err, out)
	}
	return filepath.Join(workDir(), "twyn"), nil
})

// workDir is the directory of this test process; TestMain removes it.
var workDir = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "twyn-api-test-")
	if err != nil {
		panic(err)
	}
	return dir
})

// raceDetector reports whether the tests run with the race detector.
func raceDetector() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}

// TestMain searches the logs of all servers for all secrets of the run, once
// every secret is known.
func TestMain(m *testing.M) {
	pgtest.Main(m)
	err := secrets.searchAll()
	_ = os.RemoveAll(workDir())
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

// testServer is a running twyn and the database under it.
type testServer struct {
	// BaseURL is the address of the API and MetricsURL that of the metrics,
	// without a slash at the end. Both change with a restart.
	BaseURL    string
	MetricsURL string
	// DatabaseURL is the database, as the role that owns it.
	DatabaseURL string

	t       testing.TB
	env     []string
	cmd     *exec.Cmd
	exited  chan struct{} // closed when the process has ended and its output is read
	exitErr error
	log     *serverLog
	stdout  *lockedBuffer

	tenantOnce   sync.Once
	tenantMade   madeTenant
	operatorOnce sync.Once
	operatorMade madeTenant
}

// serverOptions changes how a server is started.
type serverOptions struct {
	env     map[string]string // further settings
	through *proxy            // between the server and its database; nil: none
}

// startServer starts twyn on a new database and stops it when the test ends.
func startServer(t testing.TB, options serverOptions) *testServer {
	t.Helper()
	s := &testServer{DatabaseURL: pgtest.New(t).URL, t: t, log: secrets.newLog(), stdout: new(lockedBuffer)}
	address := s.DatabaseURL
	if options.through != nil {
		address = options.through.route(t, address)
	}
	settings := map[string]string{
		"DATABASE_URL":      address,
		"TWYN_ADDR":         "127.0.0.1:0",
		"TWYN_METRICS_ADDR": "127.0.0.1:0",
		"TWYN_LOG_FORMAT":   "json",
		"TWYN_LOG_LEVEL":    "debug",
		"TWYN_MIGRATE":      "true",
		"TWYN_DATA_DIR":     t.TempDir(),
		// A machine that is busy with other tests is no policy that hangs.
		"TWYN_POLICY_TIMEOUT": "10s",
		"PATH":                os.Getenv("PATH"),
		"HOME":                t.TempDir(),
	}
	for name, value := range options.env {
		settings[name] = value
	}
	for name, value := range settings {
		s.env = append(s.env, name+"="+value)
	}
	s.start()
	t.Cleanup(func() {
		s.stop()
		if err := secrets.search(s.log); err != nil {
			t.Error(err)
		}
		if trouble := s.log.find("DATA RACE", `"msg":"panic"`, "goroutine "); trouble != "" {
			t.Errorf("the server's log holds %q:\n%s", trouble, s.logs())
		}
	})
	return s
}

// start runs the server and waits until it listens.
func (s *testServer) start() {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd = exec.CommandContext(context.Background(), path, "serve")
	s.cmd.Env = s.env
	s.cmd.Stdout = s.stdout
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	listening := make(chan [2]string, 1)
	go func() {
		defer close(s.exited)
		s.watch(stderr, listening)
		s.exitErr = s.cmd.Wait()
	}()
	select {
	case addrs := <-listening:
		s.BaseURL, s.MetricsURL = "http://"+addrs[0], "http://"+addrs[1]
	case <-s.exited:
		s.t.Fatalf("the server ended instead of listening: %v\n%s", s.exitErr, s.logs())
	case <-time.After(startTimeout):
		s.t.Fatalf("the server does not listen\n%s", s.logs())
	}
}

// watch keeps the log and finds the two addresses in it.
func (s *testServer) watch(stderr io.Reader, listening chan<- [2]string) {
	var addrs [2]string
	lines := bufio.NewReader(stderr)
	for {
		line, err := lines.ReadBytes('\n')
		s.log.add(line)
		var entry struct{ Msg, Addr string }
		if json.Unmarshal(line, &entry) == nil {
			switch entry.Msg {
			case "listening":
				addrs[0] = entry.Addr
			case "metrics listening":
				addrs[1] = entry.Addr
			}
			if addrs[0] != "" && addrs[1] != "" {
				listening <- addrs
				addrs = [2]string{}
			}
		}
		if err != nil {
			return
		}
	}
}

// stop ends the server gracefully; a stopped one stays stopped.
func (s *testServer) stop() {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return
	}
	s.await()
	if s.exitErr != nil {
		s.t.Errorf("a graceful stop ended with: %v\n%s", s.exitErr, s.log.tail())
	}
}

// kill9 ends the server with no chance to write anything down.
func (s *testServer) kill9() {
	s.t.Helper()
	if err := s.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	s.await()
}

func (s *testServer) await() {
	s.t.Helper()
	select {
	case <-s.exited:
	case <-time.After(startTimeout):
		_ = s.cmd.Process.Kill()
		s.t.Fatalf("the server does not stop\n%s", s.logs())
	}
}

// restart stops the server gracefully and starts it on the same database.
func (s *testServer) restart() {
	s.t.Helper()
	s.stop()
	s.start()
}

// logs returns what the server has logged, over all its starts.
func (s *testServer) logs() string { return s.log.text() }

// madeTenant is what `twyn tenant create --json` prints.
type madeTenant struct {
	TenantID string `json:"tenant_id"`
	Name     string `json:"name"`
	KeyID    string `json:"key_id"`
	APIKey   string `json:"api_key"`
}

// key returns an API key of a tenant made from the command line.
func (s *testServer) key() string { return s.firstTenant().APIKey }

// firstTenant is the tenant of key.
func (s *testServer) firstTenant() madeTenant {
	s.t.Helper()
	s.tenantOnce.Do(func() { s.tenantMade = s.createTenant("First Tenant") })
	return s.tenantMade
}

// operatorKey returns an API key of the platform tenant.
func (s *testServer) operatorKey() string {
	s.t.Helper()
	s.operatorOnce.Do(func() { s.operatorMade = s.createTenant("Operator", "--operator") })
	return s.operatorMade.APIKey
}

// createTenant makes a tenant from the command line.
func (s *testServer) createTenant(name string, flags ...string) madeTenant {
	s.t.Helper()
	out := s.twyn(append([]string{"tenant", "create", name, "--json"}, flags...)...)
	var made madeTenant
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&made); err != nil {
		s.t.Fatalf("twyn tenant create: %v", err)
	}
	if rest, err := io.ReadAll(io.MultiReader(decoder.Buffered())); err != nil || strings.TrimSpace(string(rest)) != "" {
		s.t.Fatalf("twyn tenant create --json printed more than its answer (%d bytes, %v)", len(rest), err)
	}
	secrets.add(made.APIKey)
	return made
}

// twyn runs a command on the server's database and returns what it printed.
func (s *testServer) twyn(arguments ...string) []byte {
	s.t.Helper()
	path, err := binary()
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, arguments...)
	cmd.Env = s.env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	s.log.add(stderr.Bytes())
	if err != nil {
		s.t.Fatalf("twyn %s: %v\n%s", strings.Join(arguments, " "), err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// lockedBuffer is a buffer that a process writes while a test reads.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

// Write appends.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

// String returns everything written so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

var _ io.Writer = (*lockedBuffer)(nil)
