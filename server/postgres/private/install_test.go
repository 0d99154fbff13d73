package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// pretend makes a directory with programs that say they are PostgreSQL.
func pretend(t *testing.T, dir, version string, programs ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as a package would
		t.Fatal(err)
	}
	for _, name := range programs {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s'\n", name, version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	both := []string{"initdb", "postgres"}
	pretend(t, root+"/path/bin", "15.3 (Debian 15.3-0)", both...)
	pretend(t, root+"/lib/9/bin", "9.6.24", both...)
	pretend(t, root+"/lib/16/bin", "16.2", both...)
	pretend(t, root+"/lib/17beta/bin", "17beta1", both...)
	pretend(t, root+"/lib/18/bin", "18.0", "initdb") // the client's package only
	pretend(t, root+"/lib/19/bin", "unknown", both...)
	if err := os.MkdirAll(root+"/links", 0o755); err != nil { //nolint:gosec // as a package would
		t.Fatal(err)
	}
	if err := os.Symlink(root+"/lib/16/bin/postgres", root+"/links/postgres"); err != nil {
		t.Fatal(err)
	}
	lib := []string{root + "/lib/*/bin"}
	for name, test := range map[string]struct {
		search  search
		want    int
		dir     string
		wantErr string
	}{
		"PATH comes first":         {search{root + "/nothing:" + root + "/path/bin", lib}, 0, "/path/bin", ""},
		"then the highest version": {search{"", lib}, 0, "/lib/17beta/bin", ""},
		"the version of the data":  {search{root + "/path/bin", lib}, 16, "/lib/16/bin", ""},
		"links are followed":       {search{root + "/links", nil}, 0, "/lib/16/bin", ""},
		"another version":          {search{root + "/path/bin", lib}, 13, "", "install PostgreSQL 13"},
		"too old":                  {search{root + "/lib/9/bin", nil}, 0, "", "apt-get install postgresql"},
		"nothing":                  {search{"", nil}, 0, "", "brew install postgresql@17"},
		"nothing for the data":     {search{"", nil}, 15, "", "apk add postgresql"},
		"relative PATH":            {search{"bin", nil}, 0, "", "dnf install postgresql-server"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.search.choose(t.Context(), "/data", test.want)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v, want an error with %q", err, test.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			resolved, err := filepath.EvalSymlinks(root)
			if err != nil {
				t.Fatal(err)
			}
			if got.dir != root+test.dir && got.dir != resolved+test.dir {
				t.Errorf("got %s, want %s", got.dir, test.dir)
			}
		})
	}
}

func TestChooseTypes(t *testing.T) {
	t.Parallel()
	_, err := search{}.choose(t.Context(), "/data", 0)
	var missing *NotInstalledError
	if !errors.As(err, &missing) {
		t.Errorf("got %v, want a NotInstalledError", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (search{}).choose(ctx, "/data", 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that nothing is said after a cancellation", err)
	}
}
