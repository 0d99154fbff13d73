package pgtest

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func open(t *testing.T, address string) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func ask[T any](t *testing.T, db *sql.DB, query string, args ...any) T {
	t.Helper()
	var value T
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func TestNew(t *testing.T) {
	t.Parallel()
	one, other := New(t), New(t)
	owner := open(t, one.URL)
	if _, err := owner.ExecContext(t.Context(), "CREATE TABLE mine ()"); err != nil {
		t.Fatal(err)
	}
	const tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
	if a, b := ask[int](t, owner, tables), ask[int](t, open(t, other.URL), tables); b < 5 || a != b+1 {
		t.Errorf("%d tables and %d, want the migrated ones, and one more in the first", a, b)
	}
	if !ask[bool](t, owner, "SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = current_database()") {
		t.Error("the URL is not the owner's")
	}
	for _, role := range []string{"twyn_server", "twyn_system"} {
		if got := ask[string](t, open(t, one.As(role)), "SELECT current_user"); got != role {
			t.Errorf("As(%q) is %s", role, got)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	if n := ask[int](t, open(t, Empty(t).URL), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"); n != 0 {
		t.Errorf("%d tables", n)
	}
}

func TestDroppedAtCleanup(t *testing.T) {
	s := connected(t)
	var name string
	t.Run("use", func(sub *testing.T) {
		d := New(sub)
		name = d.Name
		// A session that is still open when the subtest ends.
		if err := open(t, d.URL).PingContext(sub.Context()); err != nil {
			sub.Fatal(err)
		}
		if there, err := s.exists(sub.Context(), name); err != nil || !there {
			sub.Errorf("not there: %v", err)
		}
	})
	if there, err := s.exists(t.Context(), name); err != nil || there {
		t.Errorf("%s is still there: %v", name, err)
	}
}

// connected connects to the server for as long as the test lasts.
func connected(t *testing.T) *server {
	t.Helper()
	s, err := connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() })
	return s
}

func TestTemplateIsMadeOnce(t *testing.T) {
	t.Parallel()
	s := connected(t)
	// In parallel with the other tests, which must not mind.
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if name, err := templateName(); err != nil || s.drop(context.Background(), name) != nil {
				t.Errorf("cannot drop the template: %v", err)
			}
		})
		group.Go(func() { New(t) })
	}
	group.Wait()
	if n := ask[int](t, s.db, "SELECT count(*) FROM pg_database WHERE starts_with(datname, $1)", templatePrefix); n > 1 {
		t.Errorf("%d templates", n)
	}
}

func TestSweep(t *testing.T) {
	t.Parallel()
	s := connected(t)
	alive := New(t)
	const orphan = testPrefix + "orphan"
	if err := s.drop(t.Context(), orphan); err != nil {
		t.Fatal(err)
	}
	if err := s.clone(t.Context(), orphan); err != nil {
		t.Fatal(err)
	}
	if err := s.sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if there, err := s.exists(t.Context(), orphan); err != nil || there {
		t.Errorf("the orphan is still there: %v", err)
	}
	if there, err := s.exists(t.Context(), alive.Name); err != nil || !there {
		t.Errorf("a database in use was swept: %v", err)
	}
}

// rerun runs one test in a process of its own with another environment.
func rerun(t *testing.T, test string, env ...string) (string, error) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+test+"$", "-test.v")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestGivenServer(t *testing.T) {
	t.Parallel()
	s := connected(t)
	// A data directory that cannot be used proves that none is.
	out, err := rerun(t, "TestNew", "TWYN_TEST_DATABASE_URL="+s.url.String(), "TWYN_TEST_DATA_DIR=/dev/null/none")
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	password, _ := s.url.User.Password()
	out, err = rerun(t, "TestNew", "TWYN_TEST_DATABASE_URL=mysql://twyn:"+password+"@/x")
	if err == nil || !strings.Contains(out, "TWYN_TEST_DATABASE_URL") || strings.Contains(out, password) {
		t.Errorf("a wrong URL: %v: %s", err, out)
	}
}

func TestProcessesShareTheServer(t *testing.T) {
	t.Parallel()
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if out, err := rerun(t, "TestNew"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	group.Wait()
}
