package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// createSimulation stores a simulation from a prompt: POST /v1/simulations.
func (s *Server) createSimulation(x *exchange) error { return s.storeSimulation(x, false) }

// createConfigured stores a simulation that brings its config: POST
// /v1/simulations/with-config.
func (s *Server) createConfigured(x *exchange) error { return s.storeSimulation(x, true) }

// storeSimulation makes a simulation, which waits as PENDING for its run.
func (s *Server) storeSimulation(x *exchange, configured bool) error {
	f := &form{}
	x.parameters(f).done()
	idem := x.idempotent(f)
	o, err := x.body(f, required)
	if err != nil {
		return err
	}
	simulation := x.simulation(o, configured)
	o.done()
	foreign, err := s.checkScenario(x, o, &simulation)
	if err != nil {
		return err
	}
	if err := f.err(); err != nil {
		return err
	}
	if foreign != nil {
		return foreign
	}
	if simulation.ID, err = newUUID(x.request.At, s.random); err != nil {
		return err
	}
	body, err := encode(simulationInfo(&simulation))
	if err != nil {
		return err
	}
	if idem != nil {
		idem.Status, idem.Body = fiber.StatusCreated, body
	}
	earlier, err := s.simulations.CreateSimulation(x.ctx, simulation, idem)
	if errors.Is(err, engine.ErrNotFound) { // the scenario went away a moment ago
		f.failScenario(o.at.at("scenario_id"))
		return f.err()
	}
	if err != nil {
		return fmt.Errorf("creating a simulation: %w", err)
	}
	return x.created(fiber.StatusCreated, body, idem, earlier)
}

// simulation reads the body of a POST, without an id.
func (x *exchange) simulation(o *fields, configured bool) engine.Simulation {
	m := engine.Simulation{
		TenantID: x.tenantID(), Environment: x.principal().Key.Environment, Status: engine.SimulationPending,
		Metadata: json.RawMessage("{}"), Tags: []string{}, CreatedAt: x.request.At, UpdatedAt: x.request.At,
		States: []engine.SimulationState{{Name: engine.SimulationPending, At: x.request.At}},
	}
	m.Prompt, _ = o.text("prompt", required, 1, api.MaxPromptChars)
	if configured {
		if config, ok := o.inner("config", required); ok {
			config.checkConfig()
			m.Config = config.of.appendTo(nil)
		}
	}
	title, titled := o.text("title", optional, 1, api.MaxTitleChars)
	if m.Title = title; !titled {
		m.Title = deriveTitle(m.Prompt)
	}
	if tags, ok := o.texts("tags", optional, 0, api.MaxTags, api.MaxTagChars); ok {
		m.Tags = tags
	}
	m.ScenarioID, _ = o.text("scenario_id", optional, 1, api.MaxIdentifierChars)
	if metadata, ok := o.freeObject("metadata", optional, api.MaxMetadataBytes, api.MaxMetadataDepth); ok {
		m.Metadata = metadata.appendTo(nil)
	}
	if change, ok := o.freeObject("what_if", optional, api.MaxWhatIfBytes, maxJSONDepth); ok {
		m.WhatIf = change.appendTo(nil)
	}
	if !configured {
		if trace, at, ok := o.take("trace", optional); ok && o.form.checkFree(trace, at, api.MaxBodyBytes, maxJSONDepth) {
			m.Trace = trace.appendTo(nil)
		}
	}
	return m
}

// checkScenario judges the scenario that a simulation is to be put into as the
// policy judges the resource in a path. A scenario that does not exist is a
// bad field; foreign refuses one that is not the caller's to use.
func (s *Server) checkScenario(x *exchange, o *fields, m *engine.Simulation) (foreign, err error) {
	if m.ScenarioID == "" {
		return nil, nil
	}
	id, ok := parseUUID(m.ScenarioID)
	if !ok {
		o.form.failScenario(o.at.at("scenario_id"))
		return nil, nil
	}
	m.ScenarioID = id
	resource, err := s.resolver.FindResource(x.ctx, engine.Target{Type: "scenario", ID: id})
	switch {
	case errors.Is(err, engine.ErrNotFound):
		o.form.failScenario(o.at.at("scenario_id"))
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("finding the scenario of a simulation: %w", err)
	case resource.TenantID != x.tenantID():
		return forbidden("Access denied: scenario belongs to different tenant"), nil
	case resource.Environment == engine.Live && x.principal().Key.Environment != engine.Live:
		return forbidden("Access denied: scenario belongs to the live environment"), nil
	}
	return nil, nil
}

func (f *form) failScenario(at *place) { f.fail(at, "value_error", "Value error, scenario not found") }

const derivedTitleChars = 80

// deriveTitle makes a title of a prompt: its first sentence, or as many whole
// words of it as fit.
func deriveTitle(prompt string) string {
	title := strings.Join(strings.Fields(prompt), " ")
	for i, r := range title {
		rest := title[i+utf8.RuneLen(r):]
		if strings.ContainsRune(".!?", r) && (rest == "" || rest[0] == ' ') {
			title = strings.TrimRight(title[:i], ".!?")
			break
		}
	}
	if title == "" {
		return "Untitled"
	}
	if utf8.RuneCountInString(title) <= derivedTitleChars {
		return title
	}
	runes := []rune(title)
	cut := string(runes[:derivedTitleChars])
	if i := strings.LastIndexByte(cut, ' '); i > 0 && runes[derivedTitleChars] != ' ' {
		cut = cut[:i]
	}
	return strings.TrimSpace(cut)
}

// listSimulations shows the simulations that the asking key sees: GET
// /v1/simulations.
func (s *Server) listSimulations(x *exchange) error {
	f := &form{}
	p := x.parameters(f)
	var statuses []string
	for _, status := range engine.SimulationStatuses() {
		statuses = append(statuses, string(status))
	}
	filter := engine.SimulationFilter{
		Environments: x.visible(), Status: engine.SimulationStatus(p.choice("status", statuses...)),
		Tag: p.text("tag", api.MaxTagChars), ScenarioID: p.uuid("scenario_id"),
		CreatedAfter: p.moment("created_after"), CreatedBefore: p.moment("created_before"),
	}
	page := p.page(api.DefaultListLimit, api.MaxListLimit)
	p.done()
	if err := f.err(); err != nil {
		return err
	}
	simulations, total, err := s.simulations.Simulations(x.ctx, x.tenantID(), filter, page)
	if err != nil {
		return fmt.Errorf("listing simulations: %w", err)
	}
	return x.json(fiber.StatusOK, list(simulations, total, page, simulationInfo))
}

// find reads the simulation in the path; such routes take no query.
func (s *Server) find(x *exchange) (engine.Simulation, error) {
	if err := x.noParameters(); err != nil {
		return engine.Simulation{}, err
	}
	simulation, err := s.simulations.Simulation(x.ctx, x.tenantID(), x.id())
	if err != nil {
		return engine.Simulation{}, fmt.Errorf("reading a simulation: %w", err)
	}
	return simulation, nil
}

// getSimulation shows one simulation: GET /v1/simulations/{id}.
func (s *Server) getSimulation(x *exchange) error {
	simulation, err := s.find(x)
	if err != nil {
		return err
	}
	return x.json(fiber.StatusOK, simulationInfo(&simulation))
}

// deleteSimulation deletes a simulation: DELETE /v1/simulations/{id}.
func (s *Server) deleteSimulation(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	if err := s.simulations.DeleteSimulation(x.ctx, x.tenantID(), x.id()); err != nil {
		return fmt.Errorf("deleting a simulation: %w", err)
	}
	return x.noContent()
}

// getResults shows the results of a completed simulation: GET
// /v1/simulations/{id}/results.
func (s *Server) getResults(x *exchange) error {
	m, err := s.find(x)
	if err != nil {
		return err
	}
	switch m.Status {
	case engine.SimulationCompletedAnalysis:
	case engine.SimulationFailed:
		return conflict("SIMULATION_NOT_COMPLETE", "Simulation failed", string(m.Status))
	default:
		return conflict("SIMULATION_NOT_COMPLETE", "Simulation is still running", string(m.Status))
	}
	return x.json(fiber.StatusOK, api.Results{
		ID: m.ID, Status: string(m.Status), Title: m.Title, Prompt: m.Prompt, Tags: orEmpty(m.Tags), TenantID: m.TenantID,
		ResultsVersion: 1, Config: m.Config, Metrics: m.Metrics, Analysis: m.Analysis,
	})
}

// runArchitect starts a simulation over: POST /v1/simulations/{id}/architect.
// max_turns and model are taken from clients and have no effect.
func (s *Server) runArchitect(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, optional)
	if err != nil {
		return err
	}
	prompt, _ := o.text("prompt", optional, 1, api.MaxPromptChars)
	o.integer("max_turns", optional, 1, api.MaxArchitectTurns)
	o.text("model", optional, 1, api.MaxNameChars)
	o.done()
	if err := f.err(); err != nil {
		return err
	}
	simulation, err := s.simulations.RestartSimulation(x.ctx, x.tenantID(), x.id(), prompt, x.request.At)
	if err != nil {
		return fmt.Errorf("restarting a simulation: %w", err)
	}
	return x.json(fiber.StatusAccepted, simulationInfo(&simulation))
}

func orEmpty(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// simulationInfo shows a simulation.
func simulationInfo(m *engine.Simulation) api.Simulation {
	info := api.Simulation{
		ID: m.ID, Status: string(m.Status), Title: m.Title, Prompt: m.Prompt, Tags: orEmpty(m.Tags), TenantID: m.TenantID,
		Environment: string(m.Environment), Metadata: m.Metadata, CreatedAt: api.Time(m.CreatedAt), UpdatedAt: api.Time(m.UpdatedAt),
		Lifecycle: api.Lifecycle{States: make([]api.State, len(m.States))}, ErrorLog: m.ErrorLog,
	}
	if m.ScenarioID != "" {
		info.ScenarioID = &m.ScenarioID
	}
	if info.Metadata == nil {
		info.Metadata = json.RawMessage("{}")
	}
	for i, state := range m.States {
		info.Lifecycle.States[i] = api.State{Name: string(state.Name), At: api.Time(state.At)}
	}
	return info
}
