package server

import (
	"fmt"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// createScenario makes a scenario: POST /v1/scenarios.
func (s *Server) createScenario(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	idem := x.idempotent(f)
	change, err := x.scenarioChange(f)
	if err != nil {
		return err
	}
	id, err := newUUID(x.request.At, s.random)
	if err != nil {
		return err
	}
	scenario := engine.Scenario{
		ID: id, TenantID: x.tenantID(), Environment: x.principal().Key.Environment, Name: change.Name,
		Description: change.Description, CreatedAt: x.request.At, UpdatedAt: x.request.At,
	}
	body, err := encode(scenarioInfo(&scenario))
	if err != nil {
		return err
	}
	if idem != nil {
		idem.Status, idem.Body = fiber.StatusCreated, body
	}
	earlier, err := s.scenarios.CreateScenario(x.ctx, scenario, idem)
	if err != nil {
		return fmt.Errorf("creating a scenario: %w", err)
	}
	return x.created(fiber.StatusCreated, body, idem, earlier)
}

// scenarioChange reads the body of a POST or PUT, and answers for all that f
// has collected.
func (x *exchange) scenarioChange(f *form) (engine.ScenarioChange, error) {
	o, err := x.body(f, required)
	if err != nil {
		return engine.ScenarioChange{}, err
	}
	name, _ := o.text("name", required, 1, api.MaxNameChars)
	description, _ := o.text("description", optional, 0, api.MaxDescriptionChars)
	o.done()
	return engine.ScenarioChange{Name: name, Description: description}, f.err()
}

// listScenarios shows the scenarios that the asking key sees: GET
// /v1/scenarios.
func (s *Server) listScenarios(x *exchange) error {
	page, err := x.page()
	if err != nil {
		return err
	}
	scenarios, total, err := s.scenarios.Scenarios(x.ctx, x.tenantID(), x.visible(), page)
	if err != nil {
		return fmt.Errorf("listing scenarios: %w", err)
	}
	return x.json(fiber.StatusOK, list(scenarios, total, page, scenarioInfo))
}

// getScenario shows one scenario: GET /v1/scenarios/{id}.
func (s *Server) getScenario(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	scenario, err := s.scenarios.Scenario(x.ctx, x.tenantID(), x.id())
	if err != nil {
		return fmt.Errorf("reading a scenario: %w", err)
	}
	return x.json(fiber.StatusOK, scenarioInfo(&scenario))
}

// updateScenario replaces what a client may set of a scenario: PUT
// /v1/scenarios/{id}.
func (s *Server) updateScenario(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	change, err := x.scenarioChange(f)
	if err != nil {
		return err
	}
	scenario, err := s.scenarios.UpdateScenario(x.ctx, x.tenantID(), x.id(), change, x.request.At)
	if err != nil {
		return fmt.Errorf("changing a scenario: %w", err)
	}
	return x.json(fiber.StatusOK, scenarioInfo(&scenario))
}

// deleteScenario deletes a scenario and keeps its simulations: DELETE
// /v1/scenarios/{id}.
func (s *Server) deleteScenario(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	if err := s.scenarios.DeleteScenario(x.ctx, x.tenantID(), x.id(), x.request.At); err != nil {
		return fmt.Errorf("deleting a scenario: %w", err)
	}
	return x.noContent()
}

// scenarioInfo shows a scenario.
func scenarioInfo(s *engine.Scenario) api.Scenario {
	return api.Scenario{
		ID: s.ID, TenantID: s.TenantID, Name: s.Name, Description: s.Description,
		CreatedAt: api.Time(s.CreatedAt), UpdatedAt: api.Time(s.UpdatedAt),
	}
}
