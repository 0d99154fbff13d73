package private

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	t.Parallel()
	dir := reachable(t)
	c := start(t, dir)
	path := filepath.Join(dir, clusterName, logName)
	size := func() int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if err := os.Truncate(path, maxLog+1); err != nil {
		t.Fatal(err)
	}
	if err := c.site.boundLogInTurn(); err != nil {
		t.Fatal(err)
	}
	if size() != 0 {
		t.Errorf("the log has %d bytes", size())
	}
	old, err := os.Stat(path + ".1")
	if err != nil || old.Size() != maxLog {
		t.Errorf("the old log: %v, %v", old, err)
	}
	if _, err := open(t, c.URL()).ExecContext(waiting(t), "DO $$ BEGIN RAISE WARNING 'heard'; END $$"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || len(text) > 1024 || !strings.Contains(string(text), "heard") {
		t.Errorf("the server writes on at the old place: %d bytes, %v", len(text), err)
	}
}
