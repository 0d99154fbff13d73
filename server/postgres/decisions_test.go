package postgres_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

// newDecision makes a record with a value in every field.
func newDecision(tenantID, keyID string, at time.Time) engine.DecisionRecord {
	return engine.DecisionRecord{
		ID: engine.NewDecisionID(at), At: at, TenantID: tenantID, KeyID: keyID, Environment: engine.Live,
		RequestID: "req-1", Method: "GET", Route: "/v1/simulations/:id", Path: "/v1/simulations/1",
		ResourceType: "simulation", ResourceID: "1", ResourceOwner: tenantID, Effect: engine.Deny,
		Reasons: []engine.Reason{{Code: "scope_missing", Message: "Access denied: scope simulations:read is required"}, {Code: "frozen", Message: "Frozen"}},
		Limits: []quota.Verdict{{
			Name: "key", Limit: 1000, Window: time.Hour, Admitted: true, Remaining: 7, Reset: at.Add(time.Hour), RetryAfter: time.Second,
		}},
		Revision: "0123456789abcdef", Duration: 42 * time.Microsecond, Input: []byte(`{"request": {"query": {"a": "\u0000<>&"}}}`),
		Masked: []string{"/input/key/metadata/email"},
	}
}

func save(t *testing.T, s *postgres.Store, records ...engine.DecisionRecord) {
	t.Helper()
	if err := s.SaveDecisions(t.Context(), records); err != nil {
		t.Fatal(err)
	}
}

func TestDecisionIsKeptWhole(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenantID, keyID := engine.NewTenantID(), engine.NewKeyID()
	want := newDecision(tenantID, keyID, start)
	plain := engine.DecisionRecord{
		ID: engine.NewDecisionID(start), At: start, TenantID: engine.PlatformTenantID, Effect: engine.Unauthenticated,
		Reasons: []engine.Reason{{Code: engine.ReasonKeyAbsent, Message: "Invalid or missing API key"}}, Omitted: engine.OmittedTooLarge,
	}
	save(t, s, want, plain)
	got := must[engine.DecisionRecord](t)(s.Decision(t.Context(), tenantID, want.ID))
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got = must[engine.DecisionRecord](t)(s.Decision(t.Context(), engine.PlatformTenantID, plain.ID))
	if got.Authenticated() || got.Input != nil || got.Omitted != plain.Omitted || len(got.Limits) != 0 {
		t.Errorf("got %+v", got)
	}
	resource := must[engine.Resource](t)(s.FindResource(t.Context(), engine.Target{Type: "decision", ID: want.ID}))
	if resource != (engine.Resource{Type: "decision", ID: want.ID, TenantID: tenantID, Environment: engine.Live}) {
		t.Errorf("got %+v", resource)
	}
	for _, id := range []string{"", "dec_1", engine.NewDecisionID(start), engine.NewDecisionID(start.AddDate(1, 0, 0))} {
		if _, err := s.Decision(t.Context(), tenantID, id); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
		if _, err := s.FindResource(t.Context(), engine.Target{Type: "decision", ID: id}); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDecisionsAreWrittenOnce(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenantID := engine.NewTenantID()
	var all []engine.DecisionRecord
	for i := range 40 { // over many days
		all = append(all, newDecision(tenantID, "key_1", start.Add(time.Duration(i)*12*time.Hour)))
	}
	var writers sync.WaitGroup
	for i := range 4 {
		writers.Go(func() {
			if err := s.SaveDecisions(t.Context(), all[5*i:]); err != nil {
				t.Error(err)
			}
		})
	}
	writers.Wait()
	save(t, s, all...)
	save(t, s)
	list := must[[]engine.DecisionRecord](t)(s.Decisions(t.Context(), tenantID, engine.DecisionFilter{Environments: engine.Live.Visible(), Limit: 1000}))
	if len(list) != len(all) {
		t.Errorf("%d decisions are there; want %d", len(list), len(all))
	}
	if n := partitions(t, u); len(n) != 20 {
		t.Errorf("%d partitions; want 20: %v", len(n), n)
	}
	wrong := newDecision(tenantID, "key_1", start)
	wrong.ID = "dec_1"
	if err := s.SaveDecisions(t.Context(), []engine.DecisionRecord{newDecision(tenantID, "key_1", start), wrong}); err == nil {
		t.Error("a record with a malformed id was written")
	}
}

// partitions lists the partitions by their names.
func partitions(t *testing.T, u string) (names []string) {
	t.Helper()
	var text string
	if err := pool(t, u).QueryRowContext(t.Context(), `
		SELECT COALESCE(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class
		WHERE relname LIKE 'decisions\_2%' AND relkind = 'r' AND relrowsecurity AND relforcerowsecurity`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return strings.Fields(text)
}

func TestDecisionsFilters(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	tenantID, other := engine.NewTenantID(), engine.NewTenantID()
	var all []engine.DecisionRecord // oldest first
	for i := range 8 {
		r := newDecision(tenantID, fmt.Sprintf("key_%d", i%2), start.Add(time.Duration(i)*9*time.Hour))
		switch i % 4 {
		case 1:
			r.Effect, r.Reasons = engine.Allow, []engine.Reason{{Code: engine.ReasonAllowed, Message: "allowed"}}
		case 2:
			r.Effect, r.Reasons = engine.Throttle, []engine.Reason{{Code: engine.ReasonRateLimited, Message: "used up"}}
		case 3:
			r.Environment = engine.Test
		}
		all = append(all, r)
	}
	save(t, s, all...)
	save(t, s, newDecision(other, "key_0", start))
	live := engine.Live.Visible()
	for _, c := range []struct {
		name   string
		filter engine.DecisionFilter
		want   []int // newest first
	}{
		{"all", engine.DecisionFilter{Environments: live, Limit: 100}, []int{7, 6, 5, 4, 3, 2, 1, 0}},
		{"limit", engine.DecisionFilter{Environments: live, Limit: 2}, []int{7, 6}},
		{"nothing", engine.DecisionFilter{Environments: live}, nil},
		{"before", engine.DecisionFilter{Environments: live, Limit: 2, Before: all[3].ID}, []int{2, 1}},
		{"key", engine.DecisionFilter{Environments: live, Limit: 100, KeyID: "key_1"}, []int{7, 5, 3, 1}},
		{"effect", engine.DecisionFilter{Environments: live, Limit: 100, Effect: engine.Throttle}, []int{6, 2}},
		{"reason", engine.DecisionFilter{Environments: live, Limit: 100, Reason: engine.ReasonAllowed}, []int{5, 1}},
		{"second reason", engine.DecisionFilter{Environments: live, Limit: 100, Reason: "frozen"}, []int{7, 4, 3, 0}},
		{"since", engine.DecisionFilter{Environments: live, Limit: 100, Since: all[5].At}, []int{7, 6, 5}},
		{"since later in the same millisecond", engine.DecisionFilter{Environments: live, Limit: 100, Since: all[5].At.Add(time.Microsecond)}, []int{7, 6}},
		{"until", engine.DecisionFilter{Environments: live, Limit: 100, Until: all[2].At}, []int{1, 0}},
		{"until later in the same millisecond", engine.DecisionFilter{Environments: live, Limit: 100, Until: all[2].At.Add(time.Microsecond)}, []int{2, 1, 0}},
		{"test", engine.DecisionFilter{Environments: engine.Test.Visible(), Limit: 100}, []int{7, 3}},
		{"together", engine.DecisionFilter{Environments: live, Limit: 100, KeyID: "key_0", Effect: engine.Deny, Since: all[1].At, Until: all[7].At}, []int{4}},
	} {
		list := must[[]engine.DecisionRecord](t)(s.Decisions(t.Context(), tenantID, c.filter))
		var got []int
		for i := range list {
			if list[i].Input != nil {
				t.Errorf("%s: a list holds an input", c.name)
			}
			got = append(got, slices.IndexFunc(all, func(r engine.DecisionRecord) bool { return r.ID == list[i].ID }))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestKeepDecisions(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	tenantID := engine.NewTenantID()
	old, kept := newDecision(tenantID, "key_1", start.AddDate(0, 0, -31)), newDecision(tenantID, "key_1", start.AddDate(0, 0, -30))
	save(t, s, old, kept)
	if err := s.KeepDecisions(t.Context(), start, 30*24*time.Hour); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(partitions(t, u), " "), "decisions_20291203 decisions_20300102 decisions_20300103 decisions_20300104"; got != want {
		t.Errorf("got partitions %s, want %s", got, want)
	}
	list := must[[]engine.DecisionRecord](t)(s.Decisions(t.Context(), tenantID, engine.DecisionFilter{Environments: engine.Live.Visible(), Limit: 10}))
	if len(list) != 1 || list[0].ID != kept.ID {
		t.Errorf("got %v", list)
	}
}

// TestDecisionsBelongToNobody: the server's roles can neither change a record
// nor touch a partition, but through the two functions.
func TestDecisionsBelongToNobody(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	s := openURL(t, db.URL)
	save(t, s, newDecision(engine.NewTenantID(), "key_1", start))
	for _, role := range []string{"twyn_server", "twyn_system"} {
		roles := pool(t, db.As(role))
		for _, statement := range []string{
			"DELETE FROM decisions", "UPDATE decisions SET effect = 'allow'", "TRUNCATE decisions", "DROP TABLE decisions_20300102",
			"SELECT count(*) FROM decisions_20300102", "DELETE FROM decisions_20300102", "ALTER TABLE decisions DETACH PARTITION decisions_20300102",
		} {
			if _, err := roles.ExecContext(t.Context(), statement); err == nil {
				t.Errorf("%s: %s was done", role, statement)
			}
		}
	}
	for _, call := range []string{"SELECT make_decisions('{}')", "SELECT drop_decisions('2031-01-01')"} {
		if _, err := pool(t, db.As("twyn_server")).ExecContext(t.Context(), call); err == nil {
			t.Errorf("twyn_server: %s was done", call)
		}
	}
	if _, err := pool(t, db.As("twyn_system")).ExecContext(t.Context(), "SELECT input FROM decisions"); err == nil {
		t.Error("twyn_system reads what was asked")
	}
}
