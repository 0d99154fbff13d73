package decisionlog

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
)

// TestDocs holds the numbers of docs/decisions.md to the code.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/decisions.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{
		fmt.Sprintf("%d,%03d decisions between", DefaultRingEntries/1000, DefaultRingEntries%1000),
		fmt.Sprintf("`TWYN_DECISION_FLUSH`, %d ms", DefaultFlushInterval.Milliseconds()),
		fmt.Sprintf("%d MiB in `TWYN_DATA_DIR/decisions`", DefaultDiskBytes>>20),
		fmt.Sprintf("| a segment | %d MiB |", segmentBytes>>20),
		fmt.Sprintf("%d records or %d MiB, in one statement", BatchRecords, BatchBytes>>20),
		fmt.Sprintf("after %.1f s, then twice as long each time, up to %.0f s", leastBackoff.Seconds(), mostBackoff.Seconds()),
		fmt.Sprintf("| a record's input | %d KiB |", maxInput>>10),
		"`" + engine.OmittedMaskFailed + "`", "`" + engine.OmittedTooLarge + "`",
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("docs/decisions.md does not say %q", want)
		}
	}
	if alarmInterval != time.Minute || adoptInterval != time.Minute || maskTimeout != time.Second {
		t.Error("docs/decisions.md says: once a minute, within a minute, more than a second")
	}
}

// TestLargestRecordFits: whatever a client sends, a record fits a frame.
func TestLargestRecordFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	e := entry{
		request:  engine.Request{ID: long, Method: long, Route: long, Path: long, Target: engine.Target{Type: long, ID: long}, Query: map[string]string{"q": long}},
		decision: engine.Decision{ID: sample().ID, Effect: engine.Unauthenticated, Revision: long},
	}
	for range 100 {
		e.decision.Reasons = append(e.decision.Reasons, engine.Reason{Code: long, Message: long})
	}
	b := builder{}
	record, err := b.record(&e)
	if err != nil || record.Omitted != engine.OmittedTooLarge || record.Input != nil {
		t.Errorf("omitted %q, %v", record.Omitted, err)
	}
	for range maxMasked {
		record.Masked = append(record.Masked, long[:maxMessage/4])
	}
	record.Input = []byte(long[:maxInput])
	if _, rest, err := readFrame(appendFrame(nil, &record)); err != nil || len(rest) != 0 {
		t.Errorf("the largest record cannot be read: %v", err)
	}
}
