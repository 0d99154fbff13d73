package policies_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// began is when the tests of the desk take place.
var began = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// newStore returns a store on a database of its own.
func newStore(t testing.TB) *postgres.Store {
	t.Helper()
	store, err := postgres.Open(t.Context(), postgres.Options{URL: pgtest.New(t).URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// desk is a Desk and what it logs.
type desk struct {
	*policies.Desk
	t   testing.TB
	log *bytes.Buffer
}

func openDesk(t testing.TB, store policies.Store) *desk {
	t.Helper()
	log := &bytes.Buffer{}
	d, err := policies.OpenDesk(t.Context(), store, policies.DeskOptions{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return &desk{d, t, log}
}

// limited is a policy that allows everything within a limit, which tells it from
// others; with data.limit it is that.
func limited(limit int) map[string]string {
	return map[string]string{"decision.rego": fmt.Sprintf(`package twyn

default limit := %d

limit := data.limit

decision := {"allow": true, "reasons": [], "limits": [{
	"name": "n", "limit": limit, "window_seconds": 1, "algorithm": "fixed_window", "scope": "key",
}]}
`, limit)}
}

func (d *desk) submit(files map[string]string) string {
	d.t.Helper()
	revision, err := d.Submit(d.t.Context(), engine.PolicyRevision{Files: files, CreatedAt: began, CreatedBy: "key_1"})
	if err != nil {
		d.t.Fatal(err)
	}
	return revision.ID
}

func (d *desk) activate(id string) {
	d.t.Helper()
	if _, err := d.Activate(d.t.Context(), id, "key_1", began); err != nil {
		d.t.Fatal(err)
	}
}

// wants checks the limit and the revision that the live policy gives.
func (d *desk) wants(limit int64, revision string) {
	d.t.Helper()
	judgement, err := d.Engine().Judge(d.t.Context(), policies.QuestionOf(baseInput()))
	if err != nil || judgement.Limits[0].Limit.Limit != limit || judgement.Revision != revision {
		d.t.Errorf("got %+v, %v; want limit %d of %s", judgement, err, limit, revision)
	}
}

// TestDesk takes two processes over one database through the life of policies.
func TestDesk(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	one, other := openDesk(t, store), openDesk(t, store)
	first, second := one.submit(limited(1)), one.submit(limited(2))
	one.activate(first)
	one.wants(1, first)
	other.Follow(t.Context())
	other.wants(1, first)
	other.activate(second)
	if _, err := one.Rollback(t.Context(), first, "key_1", began); !errors.Is(err, engine.ErrNotLive) {
		t.Errorf("got %v", err)
	}
	data, err := one.PutData(t.Context(), "limit", json.RawMessage(`30`), "key_1", began)
	if err != nil || data.Version != 1 || string(data.Documents) != "30" {
		t.Fatalf("got %+v, %v", data, err)
	}
	one.wants(30, second+"+1")
	other.Follow(t.Context())
	other.wants(30, second+"+1")
	if _, err := other.Rollback(t.Context(), "", "key_1", began); err != nil {
		t.Fatal(err)
	}
	other.wants(30, first+"+1")
	openDesk(t, store).wants(30, first+"+1")
	input, err := json.Marshal(baseInput())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{first, first + "+1", second, second + "+1"} {
		if held, err := one.Explain(t.Context(), name, input); err != nil || len(held) != 1 {
			t.Errorf("%s: got %+v, %v", name, held, err)
		}
	}
	for _, name := range []string{"rev_none", first + "+2", "0123456789abcdef", "default+1+1"} {
		if _, err := one.Explain(t.Context(), name, input); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	revision, err := one.Revision(t.Context(), second)
	if err != nil || revision.Status != engine.PolicyRetired || revision.ActivatedAt != began {
		t.Errorf("got %+v, %v", revision, err)
	}
}

// TestDeskNotifies: whoever listens hears of a change, and of every connection.
func TestDeskNotifies(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	d := openDesk(t, store)
	heard := make(chan struct{}, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- store.ListenPolicy(ctx, func() { heard <- struct{}{} }) }()
	<-heard
	d.activate(d.submit(limited(1)))
	<-heard
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDeskRefuses: what does not compile changes nothing.
func TestDeskRefuses(t *testing.T) {
	t.Parallel()
	d := openDesk(t, newStore(t))
	ctx := t.Context()
	id := d.submit(limited(1))
	d.activate(id)
	var refused *engine.PolicyRefusedError
	if _, err := d.Submit(ctx, engine.PolicyRevision{Files: map[string]string{"a.rego": "package twyn\n\na := opa.runtime()\n"}}); !errors.As(err, &refused) || refused.Report.Problems[0].Row != 3 {
		t.Errorf("got %v", err)
	}
	for path, document := range map[string]string{
		"twyn": `{"decision": {"allow": true}}`, "": `[]`, "a//b": `1`, "limit/below": `1`, "deep": strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"large": `"` + strings.Repeat("a", 9<<20) + `"`, "wrong": `{`,
	} {
		if path == "limit/below" {
			if _, err := d.PutData(ctx, "limit", json.RawMessage(`7`), "key_1", began); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.PutData(ctx, path, json.RawMessage(document), "key_1", began); !errors.As(err, &refused) {
			t.Errorf("data at %q: got %v", path, err)
		}
	}
	d.wants(7, id+"+1")
	if _, err := d.Activate(ctx, "rev_none", "key_1", began); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := d.PatchData(ctx, "", json.RawMessage(`{"limit": null, "a": {"b": {"c": 1}}}`), "key_1", began); err != nil {
		t.Error(err)
	}
	d.wants(1, id+"+2")
	if data, err := d.Data(ctx, "a/b"); err != nil || string(data.Documents) != `{"c":1}` {
		t.Errorf("got %s, %v", data.Documents, err)
	}
	if _, err := d.Data(ctx, "limit"); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

// broken is a store some of whose revisions do not compile any more.
type broken struct {
	*postgres.Store
	ids []string
}

func (b *broken) PolicyRevision(ctx context.Context, id string) (engine.PolicyRevision, error) {
	revision, err := b.Store.PolicyRevision(ctx, id)
	for _, each := range b.ids {
		if each == id {
			revision.Files = map[string]string{"a.rego": "package twyn\n\na := removed.in.this.version(1)\n"}
		}
	}
	return revision, err
}

// TestDeskFallsBack: a stored revision that is broken never opens the door.
func TestDeskFallsBack(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	d := openDesk(t, store)
	first, second := d.submit(limited(1)), d.submit(limited(2))
	d.activate(first)
	d.activate(second)
	fallen := openDesk(t, &broken{store, []string{second}})
	fallen.wants(1, first)
	if !strings.Contains(fallen.log.String(), "level=ERROR") {
		t.Errorf("got the log %s", fallen.log)
	}
	closed := openDesk(t, &broken{store, []string{first, second}})
	judgement, err := closed.Engine().Judge(t.Context(), policies.QuestionOf(baseInput()))
	if err != nil || judgement.Allow || judgement.Reasons[0].Code != engine.ReasonPolicyError {
		t.Errorf("got %+v, %v", judgement, err)
	}
	closed.Follow(t.Context())
	closed.Follow(t.Context())
	if got := strings.Count(closed.log.String(), "cannot be taken over"); got != 1 {
		t.Errorf("%d lines of the same failure", got)
	}
}

// TestDeskDisagreement: changes at the same time are all made, one by one.
func TestDeskDisagreement(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	var wait sync.WaitGroup
	for i := range 3 {
		d := openDesk(t, store)
		wait.Go(func() {
			_, err := d.PatchData(t.Context(), "", json.RawMessage(fmt.Sprintf(`{"n%d": 1}`, i)), "key_1", began)
			if err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	data, err := openDesk(t, store).Data(t.Context(), "")
	if err != nil || data.Version != 3 || string(data.Documents) != `{"n0":1,"n1":1,"n2":1}` {
		t.Errorf("got %+v, %v", data, err)
	}
}

func TestDeskTakesBundles(t *testing.T) {
	t.Parallel()
	closed, err := policies.Closed(t.Context(), policies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const secret = "a secret of the test, long enough for HMAC"
	d, err := policies.OpenDesk(t.Context(), newStore(t), policies.DeskOptions{
		Pinned: "TWYN_POLICY_BUNDLE_URL", Set: closed, BundleKey: &policies.BundleKey{Key: secret, Algorithm: "HS256"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Take(t.Context(), newBundle(t, secret, limited(4))); err != nil {
		t.Fatal(err)
	}
	live := d.Engine().Live()
	if err := d.Take(t.Context(), newBundle(t, "", limited(5))); !errors.Is(err, policies.ErrBundle) {
		t.Errorf("got %v", err)
	}
	var refused *engine.PolicyRefusedError
	if err := d.Take(t.Context(), newBundle(t, secret, map[string]string{"a.rego": "package"})); !errors.As(err, &refused) {
		t.Errorf("got %v", err)
	}
	if d.Engine().Live() != live {
		t.Error("a bundle that is not good went live")
	}
	if _, err := d.Rollback(t.Context(), "", "", began); !errors.Is(err, engine.ErrPolicyPinned) || !strings.Contains(err.Error(), "TWYN_POLICY_BUNDLE_URL") {
		t.Errorf("got %v", err)
	}
}

// coherent decides the same in two places, so that a decision made of two
// revisions would be seen.
func coherent(t testing.TB, n int) *policies.Set {
	t.Helper()
	_, set, err := policies.Check(t.Context(), map[string]string{
		"a.rego":    fmt.Sprintf("package twyn\n\na := %d\n", n),
		"b.rego":    fmt.Sprintf("package twyn\n\nb := %d\n", n),
		"main.rego": "package twyn\n\ndecision := {\"allow\": a == b, \"reasons\": [], \"limits\": [{\"name\": \"n\", \"limit\": a, \"window_seconds\": b, \"algorithm\": \"fixed_window\", \"scope\": \"key\"}]}\n",
	}, nil, policies.Options{})
	if err != nil || set == nil {
		t.Fatal(err)
	}
	return set
}

// TestSwapWhileDeciding: each decision is made by one whole revision.
func TestSwapWhileDeciding(t *testing.T) {
	t.Parallel()
	sets := []*policies.Set{coherent(t, 1), coherent(t, 2), coherent(t, 3)}
	limits := map[string]int64{}
	for i, set := range sets {
		limits[set.Revision()] = int64(i + 1)
	}
	live := policies.NewEngine(sets[0])
	stop := make(chan struct{})
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			question := policies.QuestionOf(baseInput())
			for {
				judgement, err := live.Judge(t.Context(), question)
				if err != nil || !judgement.Allow {
					t.Errorf("got %+v, %v", judgement, err)
					return
				}
				l := judgement.Limits[0]
				if want := limits[judgement.Revision]; l.Limit.Limit != want || int64(l.Window/time.Second) != want {
					t.Errorf("a decision of two revisions: %+v", judgement)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range 2000 {
		live.Swap(sets[i%len(sets)])
	}
	close(stop)
	wait.Wait()
}

// BenchmarkSwap compiles and swaps a thousand revisions under load, and reports
// how much the memory grew from the first hundred to the last.
func BenchmarkSwap(b *testing.B) {
	files := map[string]string{}
	maps.Copy(files, limited(1))
	live := policies.NewEngine(coherent(b, 1))
	question := policies.QuestionOf(baseInput())
	heap := func() int64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return int64(stats.HeapAlloc)
	}
	for b.Loop() {
		var early int64
		for i := range 1000 {
			files["n.rego"] = fmt.Sprintf("package twyn\n\nn := %d\n", i)
			_, set, err := policies.Check(b.Context(), files, nil, policies.Options{})
			if err != nil || set == nil {
				b.Fatal(err)
			}
			live.Swap(set)
			if _, err := live.Judge(b.Context(), question); err != nil {
				b.Fatal(err)
			}
			if i == 100 {
				early = heap()
			}
		}
		b.ReportMetric(float64(heap()-early)/(1<<20), "MiB-grown")
	}
}
