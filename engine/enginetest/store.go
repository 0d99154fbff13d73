package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// Store is a quota.Store in memory. It keeps copies of what it is given, and
// fails or hangs when told to. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	records map[quota.CounterID]quota.Record
	fail    error
	lose    error
	held    chan struct{}
	loads   int
	saves   int
}

var _ quota.Store = (*Store)(nil)

// NewStore returns an empty store.
func NewStore() *Store { return &Store{records: map[quota.CounterID]quota.Record{}} }

// LoadCounters implements quota.Store.
func (s *Store) LoadCounters(ctx context.Context, ids []quota.CounterID) ([]quota.Record, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	s.loads++
	if s.fail != nil {
		return nil, s.fail
	}
	var found []quota.Record
	for _, id := range ids {
		if r, ok := s.records[id]; ok {
			r.State = slices.Clone(r.State)
			found = append(found, r)
		}
	}
	return found, nil
}

// SaveCounters implements quota.Store. It refuses an id that occurs twice.
func (s *Store) SaveCounters(ctx context.Context, records []quota.Record) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	s.saves++
	if s.fail != nil {
		return s.fail
	}
	seen := make(map[quota.CounterID]bool, len(records))
	for i := range records {
		if seen[records[i].ID] {
			return fmt.Errorf("counter %+v occurs twice", records[i].ID)
		}
		seen[records[i].ID] = true
	}
	for _, r := range records {
		r.State = slices.Clone(r.State)
		s.records[r.ID] = r
	}
	return s.lose
}

// begin waits while the store is held and locks it.
func (s *Store) begin(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.mu.Lock()
		held := s.held
		if held == nil {
			return nil
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
		}
	}
}

// Fail makes every call fail with err and change nothing, until Fail(nil).
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Lose makes every save take effect and return err all the same, as when a
// connection breaks before the answer, until Lose(nil).
func (s *Store) Lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose = err
}

// Hold makes calls wait until release is called or their context ends.
func (s *Store) Hold() (release func()) {
	held := make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = held
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.held == held {
			s.held = nil
			close(held)
		}
	}
}

// Calls is how many loads and saves were answered.
func (s *Store) Calls() (loads, saves int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads, s.saves
}

// Records returns what the store holds, in no order.
func (s *Store) Records() []quota.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]quota.Record, 0, len(s.records))
	for _, r := range s.records {
		r.State = slices.Clone(r.State)
		all = append(all, r)
	}
	return all
}

// TestStore runs the conformance suite of stores. newStore returns an empty
// store that is closed, if need be, by a cleanup of t.
func TestStore(t *testing.T, newStore func(t *testing.T) quota.Store) {
	for name, run := range map[string]func(*testing.T, *store){
		"keeps what it is given":  keeps,
		"replaces":                replaces,
		"tells counters apart":    apart,
		"keeps its own copy":      owns,
		"saves a batch as one":    batches,
		"no counters":             empty,
		"refuses an ended call":   ended,
		"holds a Durable's state": holds,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, &store{t, newStore(t)})
		})
	}
}

// store asks a store and fails the test on errors.
type store struct {
	t    *testing.T
	asks quota.Store
}

func (s *store) save(records ...quota.Record) {
	s.t.Helper()
	if err := s.asks.SaveCounters(s.t.Context(), records); err != nil {
		s.t.Fatalf("SaveCounters: %v", err)
	}
}

func (s *store) load(ids ...quota.CounterID) map[quota.CounterID]quota.Record {
	s.t.Helper()
	records, err := s.asks.LoadCounters(s.t.Context(), ids)
	if err != nil {
		s.t.Fatalf("LoadCounters: %v", err)
	}
	found := make(map[quota.CounterID]quota.Record, len(records))
	for _, r := range records {
		if _, twice := found[r.ID]; twice || !slices.Contains(ids, r.ID) {
			s.t.Errorf("loaded %+v unasked or twice", r.ID)
		}
		found[r.ID] = r
	}
	return found
}

// want loads the records' counters and compares.
func (s *store) want(records ...quota.Record) {
	s.t.Helper()
	ids := make([]quota.CounterID, len(records))
	for i := range records {
		ids[i] = records[i].ID
	}
	found := s.load(ids...)
	if len(found) != len(records) {
		s.t.Errorf("loaded %d counters, want %d", len(found), len(records))
	}
	for _, want := range records {
		got := found[want.ID]
		if string(got.State) != string(want.State) {
			s.t.Errorf("%+v: state %x, want %x", want.ID, got.State, want.State)
		}
		if early := want.ExpiresAt.Sub(got.ExpiresAt); early > 0 || early < -time.Millisecond {
			s.t.Errorf("%+v: expires at %s, want %s and at most a millisecond later", want.ID, got.ExpiresAt, want.ExpiresAt)
		}
	}
}

func record(subject string, state ...byte) quota.Record {
	return quota.Record{
		ID: quota.CounterID{
			TenantID: "platform", Subject: subject, Name: "key", Algorithm: quota.FixedWindow, Window: time.Hour,
		},
		State: state, ExpiresAt: Start.Add(time.Hour + 1),
	}
}

func keeps(_ *testing.T, s *store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	far := record("far", 1)
	far.ExpiresAt = time.Date(2262, 4, 11, 0, 0, 0, 0, time.UTC)
	longest := record("longest", 2)
	longest.ID.Window = quota.MaxWindow
	odd := record(`ö "' {},\N %s $1`, 3)
	odd.ID.Name = `a"b,{\} ☃`
	records := []quota.Record{record("every", every...), record("zero", 0), record("none"), far, longest, odd}
	s.save(records...)
	s.want(records...)
}

func replaces(_ *testing.T, s *store) {
	s.save(record("a", 1), record("b", 2))
	changed := record("a", 3, 4)
	changed.ExpiresAt = Start
	s.save(changed, record("c", 5))
	s.want(changed, record("b", 2), record("c", 5))
}

func apart(_ *testing.T, s *store) {
	records := make([]quota.Record, 7)
	for i := range records {
		records[i] = record("a", byte(i))
	}
	records[1].ID.TenantID = "ten_other"
	records[2].ID.Subject = "b"
	records[3].ID.Name = "other"
	records[4].ID.Algorithm = quota.TokenBucket
	records[5].ID.Window++
	records[6].ID.TenantID, records[6].ID.Subject = "platforma", ""
	s.save(records[0])
	for _, r := range records[1:] {
		if found := s.load(r.ID); len(found) > 0 {
			s.t.Errorf("found %+v for %+v", found, r.ID)
		}
	}
	s.save(records...)
	s.want(records...)
}

func owns(_ *testing.T, s *store) {
	r := record("a", 1, 2, 3)
	s.save(r)
	r.State[0] = 9
	s.want(record("a", 1, 2, 3))
	s.load(r.ID)[r.ID].State[1] = 9
	s.want(record("a", 1, 2, 3))
}

// batches saves overlapping batches at once, in opposite orders: none may be
// seen in part.
func batches(t *testing.T, s *store) {
	const counters, rounds = 300, 10
	batch := func(state byte) []quota.Record {
		records := make([]quota.Record, counters)
		for i := range records {
			records[i] = record(fmt.Sprintf("key_%03d", i), state)
		}
		return records
	}
	first := batch(0)
	ids := make([]quota.CounterID, counters)
	for i := range ids {
		ids[i] = first[i].ID
	}
	s.save(first...)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for round := range rounds {
				records := batch(byte(w*rounds + round))
				if w%2 == 1 {
					slices.Reverse(records)
				}
				if err := s.asks.SaveCounters(t.Context(), records); err != nil {
					t.Errorf("SaveCounters: %v", err)
				}
			}
		})
	}
	wg.Go(func() {
		for range rounds {
			states := map[string]bool{}
			records, err := s.asks.LoadCounters(t.Context(), ids)
			for _, r := range records {
				states[string(r.State)] = true
			}
			if err != nil || len(records) != counters || len(states) != 1 {
				t.Errorf("loaded %d counters of %d batches: %v", len(records), len(states), err)
			}
		}
	})
	wg.Wait()
}

func empty(_ *testing.T, s *store) {
	s.save()
	if found := s.load(); len(found) > 0 {
		s.t.Errorf("found %+v", found)
	}
	if found := s.load(record("a").ID); len(found) > 0 {
		s.t.Errorf("found %+v in an empty store", found)
	}
}

func ended(t *testing.T, s *store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.asks.SaveCounters(ctx, []quota.Record{record("a", 1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("SaveCounters: %v", err)
	}
	if _, err := s.asks.LoadCounters(ctx, []quota.CounterID{record("a").ID}); !errors.Is(err, context.Canceled) {
		t.Errorf("LoadCounters: %v", err)
	}
	if found := s.load(record("a").ID); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}

// holds opens a Durable on the store twice.
func holds(t *testing.T, s *store) {
	for _, a := range algorithms() {
		for round, passed := range []int64{5, 0} {
			d, err := quota.NewDurable(s.asks, quota.Options{})
			if err != nil {
				t.Fatal(err)
			}
			l := &ledger{t, d}
			if got := together(50, func() bool { ok, _ := l.reserve(Start, claim(a, "key", 5)); return ok }); got != passed {
				t.Errorf("%s: %d requests passed a limit of 5 in round %d, want %d", a, got, round, passed)
			}
			if err := d.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}
