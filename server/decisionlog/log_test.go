package decisionlog_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/server/decisionlog"
)

func TestRecordIsKeptWhole(t *testing.T) {
	t.Parallel()
	store := newShelf()
	l := open(t, t.TempDir(), store, func(o *decisionlog.Options) { o.Clock = clock.NewManual(start.Add(42 * time.Microsecond)) })
	ids := record(t, l, engine.Deny, engine.Unauthenticated)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := store.one(t, ids[0])
	for name, ok := range map[string]bool{
		"tenant":   got.TenantID == "ten_1" && got.KeyID == "key_1" && got.Environment == engine.Test,
		"request":  got.Method == "GET" && got.Route == "/v1/keys/:key_id" && got.Path == "/v1/keys/[redacted]" && got.RequestID == "[redacted]",
		"resource": got.ResourceType == "key" && got.ResourceOwner == "ten_2",
		"decision": got.Effect == engine.Deny && got.Reasons[0].Code == "a_code" && got.Revision == "0123456789abcdef" && got.At.Equal(start),
		"limits":   len(got.Limits) == 1 && got.Limits[0].Remaining == 3 && got.Limits[0].Reset.Equal(start.Add(time.Hour)),
		"duration": got.Duration == 42*time.Microsecond,
		"input":    strings.Contains(string(got.Input), `"email":"a@example.com"`) && strings.Contains(string(got.Input), `"resource":{"type":"key"`),
	} {
		if !ok {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	nobody := store.one(t, ids[1])
	if nobody.TenantID != engine.PlatformTenantID || nobody.Authenticated() || !strings.HasPrefix(string(nobody.Input), `{"request":{`) ||
		strings.Contains(string(nobody.Input), `"key":`) {
		t.Errorf("of nobody: got %+v", nobody)
	}
}

func TestNoSecretIsKept(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	l := open(t, dir, store)
	ids := record(t, l, engine.Deny, engine.Unauthenticated, engine.Allow)
	if err := l.Flush(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
		t.Fatalf("the store is away, Flush says %v", err)
	}
	content, segments := onDisk(t, dir)
	if len(segments) != 1 || !strings.Contains(content, "/v1/keys/[redacted]") || strings.Contains(content, secret) {
		t.Errorf("%d segments, a secret in them: %v", len(segments), strings.Contains(content, secret))
	}
	store.set(false)
	closeLog(t, l)
	for _, id := range ids {
		if all := fmt.Sprintf("%+v %s", store.one(t, id), store.one(t, id).Input); strings.Contains(all, secret) {
			t.Errorf("a secret in %s", all)
		}
	}
}

func TestStoreAwayAndBack(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	l := open(t, dir, store)
	var all []string
	for range 3 {
		all = append(all, record(t, l, repeat(engine.Deny, 400)...)...)
		if err := l.Flush(t.Context()); !errors.Is(err, engine.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if stats := l.Stats(); stats.Written != 1200 || stats.Shipped != 0 || !stats.Away || stats.DiskBytes == 0 {
		t.Errorf("away: %+v", stats)
	}
	// It is asked again without being told to.
	for range 2 {
		<-store.asked
	}
	store.set(false)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(store.ids(), sorted(all)) {
		t.Errorf("%d of %d decisions arrived", len(store.ids()), len(all))
	}
	if stats := l.Stats(); stats.Lost() != 0 || stats.DiskBytes != 0 || stats.Away {
		t.Errorf("back: %+v", stats)
	}
	if store.batches < 3 {
		t.Errorf("%d batches for %d records: want at most %d in each", store.batches, len(all), decisionlog.BatchRecords)
	}
	closeLog(t, l)
	if left, _ := filepath.Glob(filepath.Join(dir, "process-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestRestartShipsWhatIsLeft(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	first := open(t, dir, store)
	ids := record(t, first, repeat(engine.Allow, 10)...)
	closeLog(t, first) // the store is away: everything stays on disk
	if len(store.ids()) != 0 {
		t.Fatal("the store was away")
	}
	store.set(false)
	second := open(t, dir, store)
	if err := second.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(store.ids(), sorted(ids)) {
		t.Errorf("got %d decisions, want %d", len(store.ids()), len(ids))
	}
	if _, segments := onDisk(t, dir); len(segments) != 0 {
		t.Errorf("left behind: %v", segments)
	}
}

func TestTwoServersShareNoSegments(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	a, b := open(t, dir, store), open(t, dir, store)
	ids := sorted(record(t, a, engine.Deny), record(t, b, engine.Deny))
	_, _ = a.Flush(t.Context()), b.Flush(t.Context())
	if _, segments := onDisk(t, dir); len(segments) != 2 || filepath.Dir(segments[0]) == filepath.Dir(segments[1]) {
		t.Errorf("segments: %v", segments)
	}
	store.set(false)
	closeLog(t, a)
	if got := store.ids(); len(got) != 1 {
		t.Errorf("one of two servers stopped and shipped %v", got)
	}
	closeLog(t, b)
	if !slices.Equal(store.ids(), ids) {
		t.Errorf("got %v, want %v", store.ids(), ids)
	}
}

func TestRingOverflowIsCounted(t *testing.T) {
	t.Parallel()
	store := newShelf()
	var logged bytes.Buffer
	l := open(t, t.TempDir(), store, func(o *decisionlog.Options) {
		o.RingEntries = 3 // half of it is never reached alone
		o.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	})
	for range 100 {
		record(t, l, engine.Deny)
	}
	closeLog(t, l)
	stats := l.Stats()
	if stats.RingFull+stats.Written != 100 || stats.Written != stats.Shipped || int(stats.Shipped) != len(store.ids()) {
		t.Errorf("got %+v", stats)
	}
	if stats.RingFull > 0 && strings.Count(logged.String(), "decisions lost") != 1 {
		t.Errorf("logged %s", &logged)
	}
	record(t, l, engine.Deny)
	if after := l.Stats(); after.RingFull != stats.RingFull+1 {
		t.Error("a decision after the end was not counted")
	}
	if err := l.Flush(t.Context()); err == nil {
		t.Error("a closed log was flushed")
	}
}

// TestDiskBound: allows go first, then everything, and what is on disk never
// exceeds the bound.
func TestDiskBound(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	const bound = 64 << 10
	l := open(t, dir, store, func(o *decisionlog.Options) { o.DiskBytes = bound })
	fill := func(effect engine.Effect) (kept int64) {
		before := l.Stats().Written
		for range 20 {
			record(t, l, repeat(effect, 50)...)
			_ = l.Flush(t.Context())
			if content, _ := onDisk(t, dir); len(content) > bound || int64(len(content)) != l.Stats().DiskBytes {
				t.Fatalf("%d bytes on disk, counted as %d; the bound is %d", len(content), l.Stats().DiskBytes, bound)
			}
		}
		return l.Stats().Written - before
	}
	allows := fill(engine.Allow)
	refusals := fill(engine.Deny)
	if allows == 0 || refusals == 0 || allows < 4*refusals {
		t.Errorf("%d allows and then %d refusals were kept; want seven eighths and one", allows, refusals)
	}
	if stats := l.Stats(); stats.DiskFull != 2000-allows-refusals || stats.Lost() != stats.DiskFull {
		t.Errorf("got %+v", stats)
	}
	store.set(false)
	closeLog(t, l)
	if stats := l.Stats(); stats.Shipped != allows+refusals || stats.DiskBytes != 0 {
		t.Errorf("got %+v", stats)
	}
}

func TestRefusedRecordHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	store := newShelf()
	l := open(t, t.TempDir(), store)
	ids := record(t, l, repeat(engine.Deny, 9)...)
	store.mu.Lock()
	store.refuse = ids[4]
	store.mu.Unlock()
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if stats := l.Stats(); stats.Refused != 1 || stats.Shipped != 8 || len(store.ids()) != 8 {
		t.Errorf("got %+v", stats)
	}
}

// TestRates: allows and requests of nobody have a budget each in every second,
// refusals have none.
func TestRates(t *testing.T) {
	t.Parallel()
	store := newShelf()
	l := open(t, t.TempDir(), store, func(o *decisionlog.Options) { o.Rate = 3 })
	for second := range 2 {
		for _, effect := range []engine.Effect{engine.Allow, engine.Unauthenticated, engine.Deny, engine.Throttle} {
			for i := range 10 {
				r, d := decided(effect, start.Truncate(time.Second).Add(time.Duration(second)*time.Second+time.Duration(i)*time.Millisecond))
				l.Record(t.Context(), r, d)
			}
		}
	}
	closeLog(t, l)
	kept := map[engine.Effect]int{}
	for _, id := range store.ids() {
		kept[store.one(t, id).Effect]++
	}
	if kept[engine.Allow] != 6 || kept[engine.Unauthenticated] != 6 || kept[engine.Deny] != 20 || kept[engine.Throttle] != 20 {
		t.Errorf("kept %v", kept)
	}
	if stats := l.Stats(); stats.OverRate != 28 || stats.Lost() != 0 {
		t.Errorf("got %+v", stats)
	}
}

func TestSample(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		share       float64
		least, most int
	}{{0, 0, 0}, {0.25, 150, 350}, {1, 1000, 1000}} {
		store := newShelf()
		l := open(t, t.TempDir(), store, func(o *decisionlog.Options) { o.Sample = c.share })
		record(t, l, repeat(engine.Allow, 1000)...)
		record(t, l, repeat(engine.Deny, 100)...)
		closeLog(t, l)
		if allows := len(store.ids()) - 100; allows < c.least || allows > c.most || int(l.Stats().SampledOut) != 1000-allows {
			t.Errorf("sample %v kept %d allows of 1000 and counted %+v", c.share, allows, l.Stats())
		}
	}
}

// masks is a Masker as a function.
type masks func(map[string]any) (map[string]any, error)

func (masks) Masks() bool { return true }

func (m masks) Mask(_ context.Context, record map[string]any) (map[string]any, error) {
	return m(record)
}

func TestMasks(t *testing.T) {
	t.Parallel()
	store := newShelf()
	l := open(t, t.TempDir(), store, func(o *decisionlog.Options) {
		o.Masker = masks(func(record map[string]any) (map[string]any, error) {
			input := record["input"].(map[string]any)
			delete(input["key"].(map[string]any)["metadata"].(map[string]any), "email")
			delete(input["request"].(map[string]any), "path")
			record["erased"] = []any{"/input/key/metadata/email", "/input/request/path", "/result/limits/0/remaining"}
			return record, nil
		})
	})
	ids := record(t, l, engine.Deny)
	closeLog(t, l)
	got := store.one(t, ids[0])
	if strings.Contains(string(got.Input), "example.com") || got.Path != "" || got.Method != "GET" || len(got.Limits) != 0 || len(got.Masked) != 3 || got.Reasons[0].Code != "a_code" {
		t.Errorf("got %+v %s", got, got.Input)
	}
}

func TestFailingMaskDropsTheInput(t *testing.T) {
	t.Parallel()
	dir, store := t.TempDir(), newShelf()
	store.set(true)
	l := open(t, dir, store, func(o *decisionlog.Options) {
		o.Masker = masks(func(map[string]any) (map[string]any, error) { return nil, errors.New("no") })
	})
	ids := record(t, l, engine.Deny)
	_ = l.Flush(t.Context())
	if content, _ := onDisk(t, dir); strings.Contains(content, "example.com") || strings.Contains(content, "/v1/keys/[") {
		t.Error("what could not be masked is on disk")
	}
	store.set(false)
	closeLog(t, l)
	got := store.one(t, ids[0])
	if got.Input != nil || got.Omitted != engine.OmittedMaskFailed || got.Path != "" || got.Reasons[0].Code != "a_code" || l.Stats().MaskFailed != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestOpenRefusesNonsense(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*decisionlog.Options){
		"no directory": func(o *decisionlog.Options) { o.Dir = "" },
		"no store":     func(o *decisionlog.Options) { o.Store = nil },
		"sample":       func(o *decisionlog.Options) { o.Sample = 1.5 },
		"rate":         func(o *decisionlog.Options) { o.Rate = -1 },
	} {
		o := decisionlog.Options{Dir: t.TempDir(), Store: newShelf()}
		change(&o)
		if _, err := decisionlog.Open(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

const childDir = "TWYN_TEST_DECISIONS"

// TestKill kills a process while it records. What it had flushed is there, once,
// and the torn end of its segment is counted.
func TestKill(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(childDir); dir != "" {
		child(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKill$") //nolint:gosec // This very test.
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "flushed" {
		if strings.HasPrefix(lines.Text(), "dec_") {
			ids = append(ids, lines.Text())
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait() // killed
	_, segments := onDisk(t, dir)
	if len(ids) == 0 || len(segments) == 0 {
		t.Fatalf("the child flushed %d decisions to %v", len(ids), segments)
	}
	f, err := os.OpenFile(segments[len(segments)-1], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString("\x40\x00\x00\x00torn")
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	store := newShelf()
	l := open(t, dir, store)
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := store.ids()
	for _, id := range ids {
		if !slices.Contains(got, id) {
			t.Errorf("%s was flushed and is lost", id)
		}
	}
	if stats := l.Stats(); stats.Torn != 1 || stats.DiskBytes != 0 || int(stats.Shipped) != len(got) {
		t.Errorf("got %+v", stats)
	}
}

// child records until it is killed; its store is away.
func child(t *testing.T, dir string) {
	t.Helper()
	store := newShelf()
	store.set(true)
	l := open(t, dir, store, func(o *decisionlog.Options) { o.FlushInterval = time.Millisecond })
	for range 20 {
		for _, id := range record(t, l, repeat(engine.Deny, 20)...) {
			fmt.Println(id)
		}
		_ = l.Flush(t.Context())
	}
	fmt.Println("flushed")
	for {
		record(t, l, engine.Deny)
	}
}
