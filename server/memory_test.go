package server

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twyn/twyn/engine"
)

// memory is every store of the server and the engine in process. It behaves as
// server/postgres does, down to what it refuses.
type memory struct {
	away atomic.Bool // every call then fails as if the database were gone

	mu          sync.Mutex
	tenants     map[string]engine.Tenant
	keys        map[string]engine.Key
	secrets     map[engine.Digest]secret
	scenarios   map[string]engine.Scenario
	simulations map[string]engine.Simulation
	answers     map[string]engine.Idempotency
	decisions   map[string]engine.DecisionRecord
}

// secret is a digest's key and until when it is good.
type secret struct {
	keyID    string
	notAfter time.Time
}

var (
	_ KeyStore          = (*memory)(nil)
	_ TenantStore       = (*memory)(nil)
	_ ScenarioStore     = (*memory)(nil)
	_ SimulationStore   = (*memory)(nil)
	_ Pinger            = (*memory)(nil)
	_ engine.Keys       = (*memory)(nil)
	_ engine.Resources  = (*memory)(nil)
	_ engine.UsageStore = (*memory)(nil)
)

func newMemory() *memory {
	return &memory{
		tenants: map[string]engine.Tenant{engine.PlatformTenantID: {ID: engine.PlatformTenantID, Name: "Platform", Active: true}},
		keys:    map[string]engine.Key{}, secrets: map[engine.Digest]secret{}, scenarios: map[string]engine.Scenario{},
		simulations: map[string]engine.Simulation{}, answers: map[string]engine.Idempotency{},
		decisions: map[string]engine.DecisionRecord{},
	}
}

// enter locks the store, or says that it is away.
func (m *memory) enter() (leave func(), err error) {
	if m.away.Load() {
		return nil, fmt.Errorf("connecting: %w", engine.ErrUnavailable)
	}
	m.mu.Lock()
	return m.mu.Unlock, nil
}

func (m *memory) Ping(context.Context) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	leave()
	return nil
}

// own returns a thing of a tenant.
func own[T any](things map[string]T, id, tenantID string, owner func(T) string) (T, error) {
	thing, ok := things[id]
	if !ok || owner(thing) != tenantID {
		var none T
		return none, engine.ErrNotFound
	}
	return thing, nil
}

func keyOwner(k engine.Key) string               { return k.TenantID }
func scenarioOwner(s engine.Scenario) string     { return s.TenantID }
func simulationOwner(s engine.Simulation) string { return s.TenantID }

// newest returns a page of what matches, newest first, and counts it all.
func newest[T any](things map[string]T, page engine.Page, at func(T) time.Time, id func(T) string, match func(T) bool) ([]T, int) {
	found := slices.SortedFunc(maps.Values(things), func(a, b T) int {
		return cmp.Or(at(b).Compare(at(a)), cmp.Compare(id(b), id(a)))
	})
	found = slices.DeleteFunc(found, func(t T) bool { return !match(t) })
	first := min(page.Offset, len(found))
	return found[first:min(first+page.Limit, len(found))], len(found)
}

func (m *memory) FindKey(_ context.Context, digest engine.Digest) (*engine.Identity, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	s, ok := m.secrets[digest]
	if !ok {
		return nil, engine.ErrNotFound
	}
	key := m.keys[s.keyID]
	tenant := m.tenants[key.TenantID]
	return &engine.Identity{Principal: engine.Principal{Key: &key, Tenant: &tenant}, Digest: digest, NotAfter: s.notAfter}, nil
}

func (m *memory) FindResource(_ context.Context, target engine.Target) (engine.Resource, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Resource{}, err
	}
	defer leave()
	r := engine.Resource{Type: target.Type, ID: target.ID}
	ok := false
	switch target.Type {
	case "key":
		var k engine.Key
		k, ok = m.keys[target.ID]
		r.TenantID, r.Environment = k.TenantID, k.Environment
	case "scenario":
		var s engine.Scenario
		s, ok = m.scenarios[target.ID]
		r.TenantID, r.Environment = s.TenantID, s.Environment
	case "simulation":
		var s engine.Simulation
		s, ok = m.simulations[target.ID]
		r.TenantID, r.Environment = s.TenantID, s.Environment
	case "decision":
		var d engine.DecisionRecord
		d, ok = m.decisions[target.ID]
		r.TenantID, r.Environment = d.TenantID, d.Environment
	case "tenant":
		_, ok = m.tenants[target.ID]
		r.TenantID = target.ID
	}
	if !ok {
		return engine.Resource{}, engine.ErrNotFound
	}
	return r, nil
}

func (m *memory) AddUsage(_ context.Context, batch []engine.Usage) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	for _, u := range batch {
		if k, ok := m.keys[u.KeyID]; ok {
			k.UsageCount += u.Count
			if u.LastUsedAt.After(k.LastUsedAt) {
				k.LastUsedAt = u.LastUsedAt
			}
			m.keys[u.KeyID] = k
		}
	}
	return nil
}

func (m *memory) CreateKey(_ context.Context, key engine.Key, digest engine.Digest) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	m.keys[key.ID], m.secrets[digest] = key, secret{keyID: key.ID}
	return nil
}

func (m *memory) Key(_ context.Context, tenantID, keyID string) (engine.Key, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Key{}, err
	}
	defer leave()
	return own(m.keys, keyID, tenantID, keyOwner)
}

func (m *memory) Keys(_ context.Context, tenantID string, environments []engine.Environment, page engine.Page) ([]engine.Key, int, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	keys, total := newest(m.keys, page, func(k engine.Key) time.Time { return k.CreatedAt }, func(k engine.Key) string { return k.ID },
		func(k engine.Key) bool { return k.TenantID == tenantID && slices.Contains(environments, k.Environment) })
	return keys, total, nil
}

func (m *memory) UpdateKey(_ context.Context, tenantID, keyID string, change engine.KeyChange) (engine.Key, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Key{}, err
	}
	defer leave()
	k, err := own(m.keys, keyID, tenantID, keyOwner)
	if err != nil {
		return k, err
	}
	set(&k.Name, change.Name)
	set(&k.Active, change.Active)
	set(&k.RateLimit, change.RateLimit)
	set(&k.ExpiresAt, change.ExpiresAt)
	set(&k.Scopes, change.Scopes)
	set(&k.Metadata, change.Metadata)
	m.keys[keyID] = k
	return k, nil
}

func set[T any](field, to *T) {
	if to != nil {
		*field = *to
	}
}

func (m *memory) DeleteKey(_ context.Context, tenantID, keyID string) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	if _, err := own(m.keys, keyID, tenantID, keyOwner); err != nil {
		return err
	}
	delete(m.keys, keyID)
	maps.DeleteFunc(m.secrets, func(_ engine.Digest, s secret) bool { return s.keyID == keyID })
	return nil
}

func (m *memory) RotateKey(_ context.Context, tenantID, keyID string, digest engine.Digest, oldEnds time.Time) (engine.Key, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Key{}, err
	}
	defer leave()
	k, err := own(m.keys, keyID, tenantID, keyOwner)
	if err != nil {
		return k, err
	}
	for d, s := range m.secrets {
		if s.keyID == keyID && (s.notAfter.IsZero() || s.notAfter.After(oldEnds)) {
			m.secrets[d] = secret{keyID, oldEnds}
		}
	}
	m.secrets[digest] = secret{keyID: keyID}
	return k, nil
}

func (m *memory) CreateTenant(_ context.Context, tenant engine.Tenant, first engine.Key, digest engine.Digest) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	m.tenants[tenant.ID], m.keys[first.ID], m.secrets[digest] = tenant, first, secret{keyID: first.ID}
	return nil
}

func (m *memory) Tenant(_ context.Context, tenantID string) (engine.Tenant, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Tenant{}, err
	}
	defer leave()
	return own(m.tenants, tenantID, tenantID, func(t engine.Tenant) string { return t.ID })
}

func (m *memory) Tenants(_ context.Context, page engine.Page) ([]engine.Tenant, int, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	tenants, total := newest(m.tenants, page, func(t engine.Tenant) time.Time { return t.CreatedAt },
		func(t engine.Tenant) string { return t.ID }, func(engine.Tenant) bool { return true })
	return tenants, total, nil
}

func (m *memory) SetTenantActive(_ context.Context, tenantID string, active bool) (engine.Tenant, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Tenant{}, err
	}
	defer leave()
	t, ok := m.tenants[tenantID]
	if !ok {
		return t, engine.ErrNotFound
	}
	t.Active = active
	m.tenants[tenantID] = t
	return t, nil
}

// repeat returns the answer that was kept for the same idempotency key, or
// keeps this one.
func (m *memory) repeat(tenantID string, idem *engine.Idempotency) *engine.Idempotency {
	if idem == nil {
		return nil
	}
	id := fmt.Sprintf("%s %s %s %s", tenantID, idem.Environment, idem.Route, idem.Key)
	if earlier, ok := m.answers[id]; ok && earlier.ExpiresAt.After(idem.CreatedAt) {
		return &earlier
	}
	m.answers[id] = *idem
	return nil
}

func (m *memory) CreateScenario(_ context.Context, scenario engine.Scenario, idem *engine.Idempotency) (*engine.Idempotency, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if earlier := m.repeat(scenario.TenantID, idem); earlier != nil {
		return earlier, nil
	}
	m.scenarios[scenario.ID] = scenario
	return nil, nil
}

func (m *memory) Scenario(_ context.Context, tenantID, id string) (engine.Scenario, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Scenario{}, err
	}
	defer leave()
	return own(m.scenarios, id, tenantID, scenarioOwner)
}

func (m *memory) Scenarios(_ context.Context, tenantID string, environments []engine.Environment, page engine.Page) ([]engine.Scenario, int, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	scenarios, total := newest(m.scenarios, page, func(s engine.Scenario) time.Time { return s.CreatedAt }, func(s engine.Scenario) string { return s.ID },
		func(s engine.Scenario) bool {
			return s.TenantID == tenantID && slices.Contains(environments, s.Environment)
		})
	return scenarios, total, nil
}

func (m *memory) UpdateScenario(_ context.Context, tenantID, id string, change engine.ScenarioChange, at time.Time) (engine.Scenario, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Scenario{}, err
	}
	defer leave()
	s, err := own(m.scenarios, id, tenantID, scenarioOwner)
	if err == nil {
		s.Name, s.Description, s.UpdatedAt = change.Name, change.Description, at
		m.scenarios[id] = s
	}
	return s, err
}

func (m *memory) DeleteScenario(_ context.Context, tenantID, id string, at time.Time) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	if _, err := own(m.scenarios, id, tenantID, scenarioOwner); err != nil {
		return err
	}
	delete(m.scenarios, id)
	for simID, s := range m.simulations {
		if s.ScenarioID == id {
			s.ScenarioID, s.UpdatedAt = "", at
			m.simulations[simID] = s
		}
	}
	return nil
}

func (m *memory) CreateSimulation(_ context.Context, s engine.Simulation, idem *engine.Idempotency) (*engine.Idempotency, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if s.ScenarioID != "" {
		if _, err := own(m.scenarios, s.ScenarioID, s.TenantID, scenarioOwner); err != nil {
			return nil, err
		}
	}
	if earlier := m.repeat(s.TenantID, idem); earlier != nil {
		return earlier, nil
	}
	m.simulations[s.ID] = s
	return nil, nil
}

func (m *memory) Simulation(_ context.Context, tenantID, id string) (engine.Simulation, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Simulation{}, err
	}
	defer leave()
	return own(m.simulations, id, tenantID, simulationOwner)
}

func (m *memory) Simulations(_ context.Context, tenantID string, f engine.SimulationFilter, page engine.Page) ([]engine.Simulation, int, error) {
	leave, err := m.enter()
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	simulations, total := newest(m.simulations, page, func(s engine.Simulation) time.Time { return s.CreatedAt }, func(s engine.Simulation) string { return s.ID },
		func(s engine.Simulation) bool {
			return s.TenantID == tenantID && slices.Contains(f.Environments, s.Environment) &&
				(f.Status == "" || f.Status == s.Status) && (f.Tag == "" || slices.Contains(s.Tags, f.Tag)) &&
				(f.ScenarioID == "" || f.ScenarioID == s.ScenarioID) &&
				(f.CreatedAfter.IsZero() || s.CreatedAt.After(f.CreatedAfter)) && (f.CreatedBefore.IsZero() || s.CreatedAt.Before(f.CreatedBefore))
		})
	return simulations, total, nil
}

// restate changes a simulation and gives it a new status.
func (m *memory) restate(tenantID, id string, status engine.SimulationStatus, at time.Time, change func(*engine.Simulation)) (engine.Simulation, error) {
	leave, err := m.enter()
	if err != nil {
		return engine.Simulation{}, err
	}
	defer leave()
	s, err := own(m.simulations, id, tenantID, simulationOwner)
	if err != nil {
		return s, err
	}
	s.Metrics, s.Analysis, s.ErrorLog, s.Status, s.UpdatedAt = nil, nil, "", status, at
	s.States = append(slices.Clone(s.States), engine.SimulationState{Name: status, At: at})
	change(&s)
	m.simulations[id] = s
	return s, nil
}

func (m *memory) ConfigureSimulation(_ context.Context, tenantID, id string, config []byte, at time.Time) (engine.Simulation, error) {
	return m.restate(tenantID, id, engine.SimulationCompletedConfig, at, func(s *engine.Simulation) { s.Config = config })
}

func (m *memory) RestartSimulation(_ context.Context, tenantID, id, prompt string, at time.Time) (engine.Simulation, error) {
	return m.restate(tenantID, id, engine.SimulationPending, at, func(s *engine.Simulation) {
		s.Config = nil
		if prompt != "" {
			s.Prompt = prompt
		}
	})
}

func (m *memory) DeleteSimulation(_ context.Context, tenantID, id string) error {
	leave, err := m.enter()
	if err != nil {
		return err
	}
	defer leave()
	if _, err := own(m.simulations, id, tenantID, simulationOwner); err != nil {
		return err
	}
	delete(m.simulations, id)
	return nil
}
