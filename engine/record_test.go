package engine_test

import (
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

func TestParseDecisionID(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 11, 24, 1, 2, 3, 456_789_000, time.UTC)
	id := engine.NewDecisionID(at)
	got, ok := engine.ParseDecisionID(id)
	if !ok || !got.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%s leads to %s, %v; want %s", id, got, ok, at)
	}
	for _, wrong := range []string{
		"", "dec_", id[:31], id + "0", strings.ToUpper(id), "dec-" + id[4:], id[:31] + "g", id[:8] + "/" + id[9:], "key_" + id[4:],
	} {
		if _, ok := engine.ParseDecisionID(wrong); ok {
			t.Errorf("%q passes for the id of a decision", wrong)
		}
	}
}

func TestDecisionIDsFrom(t *testing.T) {
	t.Parallel()
	at := time.Date(2025, 11, 24, 1, 2, 3, 456_000_000, time.UTC)
	bound := engine.DecisionIDsFrom(at)
	for range 100 {
		if id := engine.NewDecisionID(at); id < bound {
			t.Errorf("%s is of the time and sorts before %s", id, bound)
		}
		if id := engine.NewDecisionID(at.Add(-time.Millisecond)); id >= bound {
			t.Errorf("%s is of an earlier time and does not sort before %s", id, bound)
		}
	}
	if bound := engine.DecisionIDsFrom(time.Time{}); bound != "dec_000000000000" {
		t.Errorf("before 1970 ids begin at %s", bound)
	}
}
