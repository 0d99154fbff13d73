package postgres_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

// TestPoliciesAreNoTenants: the role that works for tenants reaches no table of
// policies, whatever tenant it names.
func TestPoliciesAreNoTenants(t *testing.T) {
	t.Parallel()
	db := pool(t, pgtest.New(t).As("twyn_server"))
	for _, table := range []string{"policies", "policy_data", "policy_live"} {
		for _, statement := range []string{"SELECT * FROM %s", "DELETE FROM %s", "INSERT INTO %s DEFAULT VALUES"} {
			_, err := db.ExecContext(t.Context(), fmt.Sprintf("SET twyn.tenant = 'platform'; "+statement, table))
			var refused *pq.Error
			if !errors.As(err, &refused) || refused.Code != pqerror.InsufficientPrivilege {
				t.Errorf(statement+": %v", table, err)
			}
		}
	}
}

// TestChangeLivePolicy: of two changes of the same state one is made, and what
// does not exist goes live in no part.
func TestChangeLivePolicy(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	live := must[engine.LivePolicy](t)(s.LivePolicy(t.Context()))
	if live.Generation != 0 || live.Revision != "" || live.DataVersion != 0 {
		t.Fatalf("got %+v", live)
	}
	revision := engine.PolicyRevision{
		ID: engine.NewRevisionID(), Files: map[string]string{"a.rego": "\x00\u2028 \"text\""}, Message: "one",
		Report: engine.PolicyReport{Digest: "d", Tests: engine.PolicyTests{Passed: 3}}, CreatedAt: start, CreatedBy: "key_1",
	}
	if err := s.CreatePolicyRevision(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
	next := engine.LivePolicy{Revision: revision.ID, Generation: 1, ChangedAt: start, ChangedBy: "key_1"}
	if err := s.ChangeLivePolicy(t.Context(), next, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.ChangeLivePolicy(t.Context(), next, nil); !errors.Is(err, engine.ErrConflict) {
		t.Errorf("the same change again: %v", err)
	}
	missing := engine.LivePolicy{Revision: engine.NewRevisionID(), DataVersion: 1, Generation: 2, ChangedAt: start}
	if err := s.ChangeLivePolicy(t.Context(), missing, &engine.PolicyData{Version: 1, Documents: []byte(`{}`), UpdatedAt: start}); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("a revision that does not exist: %v", err)
	}
	if _, err := s.PolicyData(t.Context(), 1); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("its data: %v", err)
	}
	if got := must[engine.LivePolicy](t)(s.LivePolicy(t.Context())); got != next {
		t.Errorf("got %+v, want %+v", got, next)
	}
	got := must[engine.PolicyRevision](t)(s.PolicyRevision(t.Context(), revision.ID))
	if got.Status != engine.PolicyActive || got.Files["a.rego"] != revision.Files["a.rego"] || got.Report.Tests.Passed != 3 || got.ActivatedAt != start {
		t.Errorf("got %+v", got)
	}
}

// TestPolicyDataIsKept: the newest versions are, the others are not.
func TestPolicyDataIsKept(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	for version := int64(1); version <= 202; version++ {
		err := s.ChangeLivePolicy(t.Context(), engine.LivePolicy{DataVersion: version, Generation: version, ChangedAt: start},
			&engine.PolicyData{Version: version, Documents: fmt.Appendf(nil, `{"n":%d}`, version), UpdatedAt: start})
		if err != nil {
			t.Fatal(err)
		}
	}
	for version, kept := range map[int64]bool{0: true, 2: false, 3: true, 202: true} {
		if _, err := s.PolicyData(t.Context(), version); (err == nil) != kept {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
