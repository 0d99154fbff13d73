package decisionlog_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/decisionlog"
)

// start is when the decisions of the tests are made.
var start = time.Date(2030, 1, 2, 3, 4, 5, 678901000, time.UTC)

const secret = "twyn_live_0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// shelf keeps records in memory and can be away.
type shelf struct {
	mu      sync.Mutex
	records map[string]engine.DecisionRecord
	batches int
	away    bool
	refuse  string // the id of a record that is never taken
	asked   chan struct{}
}

func newShelf() *shelf {
	return &shelf{records: map[string]engine.DecisionRecord{}, asked: make(chan struct{}, 1)}
}

func (s *shelf) SaveDecisions(_ context.Context, batch []engine.DecisionRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.asked <- struct{}{}:
	default:
	}
	if s.away {
		return fmt.Errorf("shelf: %w", engine.ErrUnavailable)
	}
	for _, r := range batch {
		if r.ID == s.refuse {
			return fmt.Errorf("shelf: %w", engine.ErrRecordRefused)
		}
	}
	s.batches++
	for _, r := range batch {
		s.records[r.ID] = r
	}
	return nil
}

func (s *shelf) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// ids are what is on the shelf, sorted.
func (s *shelf) ids() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.records))
}

func (s *shelf) one(t testing.TB, id string) engine.DecisionRecord {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.records[id]
	if !ok {
		t.Fatalf("%s is not on the shelf", id)
	}
	return r
}

func open(t testing.TB, dir string, store decisionlog.Store, changes ...func(*decisionlog.Options)) *decisionlog.Log {
	t.Helper()
	o := decisionlog.Options{Dir: dir, Store: store, Sample: 1, Rate: 1_000_000, FlushInterval: time.Hour}
	for _, change := range changes {
		change(&o)
	}
	l, err := decisionlog.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close(context.WithoutCancel(t.Context())) })
	return l
}

func closeLog(t testing.TB, l *decisionlog.Log) {
	t.Helper()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// decided makes a request with a secret wherever a client may put one, and the
// decision on it.
func decided(effect engine.Effect, at time.Time) (*engine.Request, *engine.Decision) {
	r := &engine.Request{
		ID: secret, At: at, Credential: secret, Credentials: 1, Method: "GET", Path: "/v1/keys/" + secret, Route: "/v1/keys/:key_id",
		Segments: []string{"v1", "keys", secret}, Query: map[string]string{"api_key": secret, "nul": "\x00"},
		Headers: map[string]string{"user-agent": "curl " + secret}, IP: "192.0.2.1", Target: engine.Target{Type: "key", ID: secret},
	}
	d := &engine.Decision{
		ID: engine.NewDecisionID(at), At: at, Effect: effect, Reasons: []engine.Reason{{Code: "a_code", Message: "why " + secret}},
	}
	if effect != engine.Unauthenticated {
		d.Revision = "0123456789abcdef"
		d.Principal = &engine.Principal{
			Key: &engine.Key{
				ID: "key_1", TenantID: "ten_1", Name: "Key", Environment: engine.Test, RateLimit: 10, Scopes: engine.Scopes{"*"},
				Metadata: map[string]any{"email": "a@example.com", "note": secret}, CreatedAt: start,
			},
			Tenant: &engine.Tenant{ID: "ten_1", Name: "Acme"},
		}
		d.Resource = &engine.Resource{Type: "key", ID: "key_2", TenantID: "ten_2", Environment: engine.Live}
		d.Limits = []quota.Verdict{{Name: "key", Limit: 10, Window: time.Hour, Admitted: true, Remaining: 3, Reset: at.Add(time.Hour)}}
	}
	return r, d
}

// record records decisions of the effects and returns their ids.
func record(t testing.TB, l *decisionlog.Log, effects ...engine.Effect) (ids []string) {
	t.Helper()
	for _, effect := range effects {
		r, d := decided(effect, start)
		l.Record(t.Context(), r, d)
		ids = append(ids, d.ID)
	}
	return ids
}

func repeat(effect engine.Effect, n int) []engine.Effect {
	return slices.Repeat([]engine.Effect{effect}, n)
}

// onDisk is everything in the directory, and the paths of the segments.
func onDisk(t testing.TB, dir string) (content string, segments []string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, path := range segments {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String(), segments
}

func sorted(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return all
}
