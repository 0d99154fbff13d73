package policies

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/twyn/twyn/engine"
)

// limited is a policy whose one limit is data.limit, for every tenant under its
// own name.
const limited = `package twyn

decision := {"allow": input.request.size < 10, "reasons": [], "limits": [limit]}

limit := {"name": input.tenant.id, "limit": data.limit, "window_seconds": 60, "algorithm": "fixed_window", "scope": "key"}
`

func loadLimited(t testing.TB, limit int, options Options) *Set {
	t.Helper()
	files := fstest.MapFS{"policy.rego": {Data: []byte(limited)}, "data.json": {Data: fmt.Appendf(nil, `{"limit": %d}`, limit)}}
	options.Timeout = time.Minute
	set, err := Load(t.Context(), files, options)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func ask(tenantID string, size int64) engine.Question {
	return QuestionOf(&engine.Input{Tenant: engine.InputTenant{ID: tenantID}, Request: engine.InputRequest{Size: size}})
}

func TestDecisionsAreRemembered(t *testing.T) {
	t.Parallel()
	stats := new(Stats)
	set := loadLimited(t, 1, Options{Stats: stats})
	wants := func(want Counts) {
		t.Helper()
		if got := stats.Counts(); got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	for _, size := range []int64{1, 1, 20, 20, 1} {
		judgement, err := set.Judge(t.Context(), ask("ten_a", size))
		if err != nil || judgement.Allow != (size < 10) || judgement.Revision != set.Revision() || judgement.Limits[0].Name != "ten_a" {
			t.Errorf("got %+v, %v", judgement, err)
		}
	}
	wants(Counts{Hits: 3, Misses: 2, Compiled: 2})
	// What the policy does not read makes no difference.
	other := ask("ten_a", 1)
	other.Request.ID, other.Principal.Key.Name, other.Request.At = "other", "other", time.Unix(1e9, 0)
	if _, err := set.Judge(t.Context(), other); err != nil {
		t.Error(err)
	}
	wants(Counts{Hits: 4, Misses: 2, Compiled: 2})
	// An input of one's own is always evaluated.
	input := other.Input()
	if _, err := set.JudgeInput(t.Context(), &input); err != nil {
		t.Error(err)
	}
	wants(Counts{Hits: 4, Misses: 2, Compiled: 3})
	// A long key is remembered too, one that is too long is not.
	for _, length := range []int{500, 500, 2000, 2000} {
		if _, err := set.Judge(t.Context(), ask(strings.Repeat("x", length), 1)); err == nil {
			t.Error("a limit of a long name was taken")
		}
	}
	wants(Counts{Hits: 4, Misses: 4, Bypasses: 2, Compiled: 7})
}

func TestErrorsAreNotRemembered(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]string{
		"an error":       `decision := {"allow": input.request.size / 0 == 1, "reasons": [], "limits": []}`,
		"undefined":      `decision := {"allow": true, "reasons": [], "limits": []} if input.request.size == 7`,
		"not a decision": `decision := input.request.size`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := loadText(t, source, "{}")
			for range 3 {
				if judgement, err := set.Judge(t.Context(), ask("ten_a", 1)); err == nil || judgement.Allow {
					t.Errorf("got %+v, %v", judgement, err)
				}
			}
			if got := set.Counts(); got.Hits != 0 || got.Misses != 3 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestWholeInputIsNotRemembered(t *testing.T) {
	t.Parallel()
	set := loadText(t, `decision := {"allow": object.get(input, ["request", "id"], "") == "yes", "reasons": [], "limits": []}`, "{}")
	for _, id := range []string{"yes", "no", "yes"} {
		question := ask("ten_a", 1)
		question.Request.ID = id
		if judgement, err := set.Judge(t.Context(), question); err != nil || judgement.Allow != (id == "yes") {
			t.Errorf("%s: got %+v, %v", id, judgement, err)
		}
	}
	if got := set.Counts(); got.Bypasses != 3 || got.Hits+got.Misses != 0 {
		t.Errorf("got %+v", got)
	}
	if set := loadLimited(t, 1, Options{MemoEntries: -1}); set.memo != nil || !set.Memo().Enabled {
		t.Errorf("a memo of no entries: %+v", set.Memo())
	}
}

func TestHitsDoNotAllocate(t *testing.T) {
	set, err := Load(t.Context(), Default(), Options{Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	question := QuestionOf(drawInput(seeded(1)))
	if _, err := set.Judge(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _ = set.Judge(ctx, question) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if got := set.Counts(); got.Hits < 100 {
		t.Errorf("got %+v", got)
	}
}

// TestMemoIsBounded puts in more than it has room for.
func TestMemoIsBounded(t *testing.T) {
	t.Parallel()
	for entries, want := range map[int]int{1: 8, 8: 8, 9: 16, 64: 64, 100: 128} {
		m := newMemo(entries)
		for i := range 20 * want {
			key := binary.BigEndian.AppendUint32(nil, uint32(i))
			m.add(m.hash(key), key, engine.Judgement{Revision: fmt.Sprint(i)})
			if e := m.find(m.hash(key), key); e == nil || e.judgement.Revision != fmt.Sprint(i) {
				t.Fatalf("%d is not found", i)
			}
		}
		held := 0
		for i := range m.buckets {
			for j := range m.buckets[i] {
				if m.buckets[i][j].entry.Load() != nil {
					held++
				}
			}
		}
		if held != want {
			t.Errorf("a memo for %d holds %d, want %d", entries, held, want)
		}
	}
}

// TestMemoComparesKeys gives two keys the same hash.
func TestMemoComparesKeys(t *testing.T) {
	t.Parallel()
	m := newMemo(64)
	m.add(7, []byte("a"), engine.Judgement{Allow: true})
	if m.find(7, []byte("b")) != nil {
		t.Error("a hash is taken for an identity")
	}
	m.add(7, []byte("b"), engine.Judgement{})
	if e := m.find(7, []byte("b")); e == nil || e.judgement.Allow {
		t.Errorf("got %+v", e)
	}
}

// TestMemoUnderLoad has readers and writers meet in few slots.
func TestMemoUnderLoad(t *testing.T) {
	t.Parallel()
	m := newMemo(8)
	var wait sync.WaitGroup
	for worker := range 4 {
		wait.Go(func() {
			pick := seeded(uint64(worker))
			for range 20_000 {
				n := uint32(pick(64))
				key := binary.BigEndian.AppendUint32(nil, n)
				if e := m.find(m.hash(key), key); e == nil {
					m.add(m.hash(key), key, engine.Judgement{Revision: fmt.Sprint(n)})
				} else if e.judgement.Revision != fmt.Sprint(n) {
					t.Errorf("%d got the decision of %s", n, e.judgement.Revision)
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestMemoryEndsWithItsRevision judges the same few questions while Sets of
// other data take each other's place, with memos too small for them.
func TestMemoryEndsWithItsRevision(t *testing.T) {
	t.Parallel()
	stats := new(Stats)
	sets := make([]*Set, 3)
	limits := map[string]int64{}
	for i := range sets {
		sets[i] = loadLimited(t, i+1, Options{Stats: stats, MemoEntries: 8})
		limits[sets[i].Revision()] = int64(i + 1)
	}
	live := NewEngine(sets[0])
	var wait sync.WaitGroup
	done := make(chan struct{})
	for worker := range 4 {
		wait.Go(func() {
			pick := seeded(uint64(worker))
			for {
				select {
				case <-done:
					return
				default:
				}
				tenant, size := fmt.Sprintf("ten_%d", pick(32)), int64(pick(20))
				judgement, err := live.Judge(t.Context(), ask(tenant, size))
				if err != nil {
					t.Error(err)
					return
				}
				if l := judgement.Limits[0]; l.Limit.Limit != limits[judgement.Revision] || l.Name != tenant || judgement.Allow != (size < 10) {
					t.Errorf("%s of size %d: got %+v", tenant, size, judgement)
					return
				}
			}
		})
	}
	for i := 0; i < 2000 || stats.Counts().Hits < 1000 && !t.Failed(); i++ {
		live.Swap(sets[i%len(sets)])
		runtime.Gosched()
	}
	close(done)
	wait.Wait()
	// The newest data decides the next request, whatever was remembered.
	for i, set := range sets {
		live.Swap(set)
		if judgement, err := live.Judge(t.Context(), ask("ten_1", 1)); err != nil || judgement.Limits[0].Limit.Limit != int64(i+1) {
			t.Errorf("got %+v, %v", judgement, err)
		}
	}
	if got := live.Counts(); got.Hits == 0 || got.Misses == 0 {
		t.Errorf("got %+v", got)
	}
}
