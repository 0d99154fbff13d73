package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/pgtest"
)

// tenantTables are the tables whose rows belong to one tenant each and that
// twyn_server reaches.
var tenantTables = []string{"decisions", "idempotency", "keys", "scenarios", "secrets", "simulations"}

// belongings are what one tenant has.
type belongings struct {
	tenant     engine.Tenant
	key        engine.Key
	scenario   engine.Scenario
	simulation engine.Simulation
	answer     *engine.Idempotency
	decision   engine.DecisionRecord
}

func newBelongings(t *testing.T, s *postgres.Store) belongings {
	t.Helper()
	var b belongings
	b.tenant, b.key, _ = newTenant(t, s)
	b.scenario, b.simulation = newScenario(t, b.tenant.ID), newSimulation(t, b.tenant.ID)
	b.simulation.ScenarioID = b.scenario.ID
	b.answer = newIdempotency("same")
	b.answer.Body = []byte(b.tenant.ID)
	must[*engine.Idempotency](t)(s.CreateScenario(t.Context(), b.scenario, b.answer))
	must[*engine.Idempotency](t)(s.CreateSimulation(t.Context(), b.simulation, nil))
	b.decision = newDecision(b.tenant.ID, b.key.ID, start)
	if err := s.SaveDecisions(t.Context(), []engine.DecisionRecord{b.decision}); err != nil {
		t.Fatal(err)
	}
	return b
}

// attempt is a call that reaches for what the victim has, made for a tenant. It
// returns what came back, as text that would hold the victim's tenant's id.
type attempt struct {
	name string
	call func(ctx context.Context, s *postgres.Store, tenantID string, victim *belongings) (string, error)
	// pretend replaces statements that would stop the call too early, so that
	// those after them are tried too.
	pretend map[string]string
}

// pretendKey and pretendScenario find and lock whatever they are asked for.
const (
	pretendKey = `SELECT $2::text AS id, $1::text AS tenant_id, 'x' AS name, 'live' AS environment, true AS active, 1 AS rate_limit,
		'{}'::text[] AS scopes, '{}' AS metadata, now() AS created_at, NULL::timestamptz AS expires_at,
		NULL::timestamptz AS last_used_at, 0 AS usage_count`
	pretendScenario = `SELECT $2::text AS id, $1::text AS tenant_id, 'live' AS environment, 'x' AS name, '' AS description,
		now() AS created_at, now() AS updated_at`
)

// attempts returns at least one call for each statement that names a tenant.
func attempts(t *testing.T) []attempt {
	t.Helper()
	everything := engine.Page{Limit: 1000}
	both := engine.Live.Visible()
	at := start.Add(time.Hour)
	return []attempt{
		{name: "read a key", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.Key(ctx, tenantID, v.key.ID))
		}},
		{name: "list keys", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			list, total, err := s.Keys(ctx, tenantID, both, everything)
			return toldList(list, total, err)
		}},
		{name: "change a key", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.UpdateKey(ctx, tenantID, v.key.ID, engine.KeyChange{Name: ref("stolen")}))
		}},
		{name: "rotate a key", call: rotate},
		{name: "rotate a key, pretending", call: rotate, pretend: map[string]string{"lockKey": pretendKey}},
		{name: "end secrets", call: rotate, pretend: map[string]string{
			"lockKey": pretendKey, "insertSecret": `SELECT $1::text, $2::text, $3::bytea, $4::timestamptz`,
		}},
		{name: "delete a key", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return "", s.DeleteKey(ctx, tenantID, v.key.ID)
		}},
		{name: "create a key", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			return "", s.CreateKey(ctx, newKey(tenantID), newDigest())
		}},
		{name: "read a scenario", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.Scenario(ctx, tenantID, v.scenario.ID))
		}},
		{name: "list scenarios", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			list, total, err := s.Scenarios(ctx, tenantID, both, everything)
			return toldList(list, total, err)
		}},
		{name: "change a scenario", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.UpdateScenario(ctx, tenantID, v.scenario.ID, engine.ScenarioChange{Name: "stolen"}, at))
		}},
		{name: "delete a scenario", call: remove},
		{name: "delete a scenario, pretending", call: remove, pretend: map[string]string{"lockScenario": pretendScenario}},
		{name: "detach simulations", call: remove, pretend: map[string]string{
			"lockScenario": pretendScenario, "deleteScenario": `SELECT $1::text, $2::uuid`,
		}},
		{name: "create a scenario", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			earlier, err := s.CreateScenario(ctx, newScenario(t, tenantID), nil)
			return toldAnswer(earlier, err)
		}},
		{name: "repeat a request", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			earlier, err := s.CreateScenario(ctx, newScenario(t, tenantID), newIdempotency("same"))
			return toldAnswer(earlier, err)
		}},
		{name: "read a simulation", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.Simulation(ctx, tenantID, v.simulation.ID))
		}},
		{name: "list simulations", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			list, total, err := s.Simulations(ctx, tenantID, engine.SimulationFilter{}, everything)
			return toldList(list, total, err)
		}},
		{name: "configure a simulation", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.ConfigureSimulation(ctx, tenantID, v.simulation.ID, []byte(`{}`), at))
		}},
		{name: "restart a simulation", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.RestartSimulation(ctx, tenantID, v.simulation.ID, "stolen", at))
		}},
		{name: "create a simulation", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			earlier, err := s.CreateSimulation(ctx, newSimulation(t, tenantID), nil)
			return toldAnswer(earlier, err)
		}},
		{name: "read a decision", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return told(s.Decision(ctx, tenantID, v.decision.ID))
		}},
		{name: "list decisions", call: func(ctx context.Context, s *postgres.Store, tenantID string, _ *belongings) (string, error) {
			return told(s.Decisions(ctx, tenantID, engine.DecisionFilter{Environments: both, Limit: 1000}))
		}},
		{name: "delete a simulation", call: func(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
			return "", s.DeleteSimulation(ctx, tenantID, v.simulation.ID)
		}},
	}
}

func rotate(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
	key, err := s.RotateKey(ctx, tenantID, v.key.ID, newDigest(), start)
	if err != nil {
		return "", err
	}
	return key.ID, nil // of the tenant that it was pretended to be of
}

func remove(ctx context.Context, s *postgres.Store, tenantID string, v *belongings) (string, error) {
	return "", s.DeleteScenario(ctx, tenantID, v.scenario.ID, start.Add(time.Hour))
}

func told[T any](v T, err error) (string, error) { return fmt.Sprintf("%+v", v), err }

func toldList[T any](list []T, total int, err error) (string, error) {
	if total > len(list) {
		err = errors.Join(err, errors.New("counted more than listed"))
	}
	return fmt.Sprintf("%d %+v", total, list), err
}

func toldAnswer(earlier *engine.Idempotency, err error) (string, error) {
	if earlier == nil {
		return "", err
	}
	return string(earlier.Body), err
}

// attack makes every attempt on the victim, each on a fresh state of the
// database, and returns which statements ran and what leaked. forTenant is the
// tenant that the calls are made for.
func attack(t *testing.T, u, forTenant string, victim *belongings, s *postgres.Store, strip bool, secure string) (ran map[string]bool, leaks []string) {
	t.Helper()
	owner := pool(t, u)
	ran = make(map[string]bool)
	byText := make(map[string]string)
	for name, statement := range tenantStatements(t) {
		byText[statement] = name
	}
	before := state(t, owner, victim.tenant.ID)
	for _, a := range attempts(t) {
		s.Probe(func(statement string) string {
			name := byText[statement]
			if pretended, ok := a.pretend[name]; ok {
				return pretended
			}
			ran[name] = true
			if strip {
				return strings.ReplaceAll(statement, tenantPredicate, "$1::text IS NOT NULL")
			}
			return statement
		}, func(string) string { return secure })
		got, err := a.call(t.Context(), s, forTenant, victim)
		if err == nil && strings.Contains(got, victim.tenant.ID) {
			leaks = append(leaks, a.name+": returned what is the victim's")
		}
		if errors.Is(err, engine.ErrUnavailable) {
			t.Fatalf("%s: %v", a.name, err)
		}
		if after := state(t, owner, victim.tenant.ID); after != before {
			leaks = append(leaks, a.name+": changed what is the victim's")
			before = after
		}
	}
	return ran, leaks
}

// state is everything a tenant has in the database.
func state(t *testing.T, owner *sql.DB, tenantID string) string {
	t.Helper()
	var all strings.Builder
	for _, table := range append([]string{"tenants", "counters"}, tenantTables...) {
		all.WriteString(table + "\n" + dump(t, owner, table, tenantID) + "\n")
	}
	return all.String()
}

// TestRowLevelSecurityWithoutPredicates takes the tenant out of every statement
// and works for one tenant: nothing of another's is seen or changed.
func TestRowLevelSecurityWithoutPredicates(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	victim, attacker := newBelongings(t, s), newBelongings(t, s)
	ran, leaks := attack(t, u, attacker.tenant.ID, &victim, s, true, attacker.tenant.ID)
	for _, leak := range leaks {
		t.Error(leak)
	}
	for name := range tenantStatements(t) {
		if !ran[name] {
			t.Errorf("no attempt runs %s; add one", name)
		}
	}
}

// TestRowLevelSecurityAgainstTheWrongTenant leaves the statements as they are
// and calls for the victim, in transactions that belong to another tenant.
func TestRowLevelSecurityAgainstTheWrongTenant(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	victim, attacker := newBelongings(t, s), newBelongings(t, s)
	_, leaks := attack(t, u, victim.tenant.ID, &victim, s, false, attacker.tenant.ID)
	for _, leak := range leaks {
		t.Error(leak)
	}
	_, leaks = attack(t, u, victim.tenant.ID, &victim, s, false, "")
	for _, leak := range leaks {
		t.Errorf("no tenant: %s", leak)
	}
}

// TestPredicatesAreAWallOfTheirOwn turns row-level security off: the
// statements alone keep tenants apart.
func TestPredicatesAreAWallOfTheirOwn(t *testing.T) {
	t.Parallel()
	s, u := open(t)
	victim, attacker := newBelongings(t, s), newBelongings(t, s)
	owner := pool(t, u)
	for _, table := range tenantTables {
		run(t, owner, "ALTER TABLE "+table+" DISABLE ROW LEVEL SECURITY")
	}
	_, leaks := attack(t, u, attacker.tenant.ID, &victim, s, false, attacker.tenant.ID)
	for _, leak := range leaks {
		t.Error(leak)
	}
}

// TestTheIsolationTestsWouldNotice turns row-level security off on one table
// after the other: the attempts above have to find each hole.
func TestTheIsolationTestsWouldNotice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tables []string
		strip  bool
		want   []string // attempts that leak
	}{
		{[]string{"keys"}, true, []string{"read a key", "list keys", "change a key", "delete a key"}},
		{[]string{"secrets"}, true, []string{"end secrets"}},
		{[]string{"scenarios"}, true, []string{"read a scenario", "list scenarios", "change a scenario", "delete a scenario"}},
		{[]string{"simulations"}, true, []string{"read a simulation", "list simulations", "configure a simulation", "restart a simulation", "delete a simulation", "detach simulations"}},
		{[]string{"idempotency"}, true, []string{"repeat a request"}},
		{[]string{"decisions"}, true, []string{"read a decision", "list decisions"}},
		{[]string{"keys", "secrets"}, false, []string{"create a key", "change a key", "delete a key"}},
		{[]string{"scenarios"}, false, []string{"create a scenario", "change a scenario", "delete a scenario"}},
		{[]string{"simulations"}, false, []string{"create a simulation", "delete a simulation"}},
		{[]string{"idempotency"}, false, []string{"repeat a request"}},
	} {
		t.Run(fmt.Sprint(c.tables, c.strip), func(t *testing.T) {
			t.Parallel()
			u := pgtest.New(t).URL
			s := openURL(t, u)
			victim, attacker := newBelongings(t, s), newBelongings(t, s)
			for _, table := range c.tables {
				run(t, pool(t, u), "ALTER TABLE "+table+" DISABLE ROW LEVEL SECURITY")
			}
			forTenant := victim.tenant.ID
			if c.strip {
				forTenant = attacker.tenant.ID
			}
			_, leaks := attack(t, u, forTenant, &victim, s, c.strip, attacker.tenant.ID)
			found := make(map[string]bool)
			for _, leak := range leaks {
				name, _, _ := strings.Cut(leak, ":")
				found[name] = true
			}
			for _, name := range c.want {
				if !found[name] {
					t.Errorf("%q did not leak; these did: %v", name, slices.Sorted(maps.Keys(found)))
				}
			}
		})
	}
}
