package server

import (
	"encoding/json"
	"fmt"
	"math"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/server/api"
)

// getConfig shows the config of a simulation: GET /v1/simulations/{id}/config.
func (s *Server) getConfig(x *exchange) error {
	simulation, err := s.find(x)
	if err != nil {
		return err
	}
	if len(simulation.Config) == 0 {
		return conflict("SIMULATION_CONFIG_NOT_READY", "Simulation has no config yet", string(simulation.Status))
	}
	return x.json(fiber.StatusOK, simulation.Config)
}

// putConfig gives a simulation a config and starts it over from there: PUT
// /v1/simulations/{id}/config.
func (s *Server) putConfig(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return err
	}
	o.checkConfig()
	if err := f.err(); err != nil {
		return err
	}
	config := json.RawMessage(o.of.appendTo(nil))
	simulation, err := s.simulations.ConfigureSimulation(x.ctx, x.tenantID(), x.id(), config, x.request.At)
	if err != nil {
		return fmt.Errorf("configuring a simulation: %w", err)
	}
	return x.json(fiber.StatusOK, simulation.Config)
}

// checkConfig holds a config to its form. The config itself is stored as it
// was sent.
func (o *fields) checkConfig() {
	o.choice("step_unit", required, "second", "minute", "hour", "day", "week", "month", "quarter", "year")
	o.integer("number_of_steps", required, 1, api.MaxSteps)
	o.integer("seed", optional, math.MinInt64, math.MaxInt64)
	groups, at, _ := o.list("agent_groups", required, 1, api.MaxAgentGroups)
	ids := map[string]bool{}
	for i := range groups {
		g := o.form.object(&groups[i], at.at(i))
		id, ok := g.text("id", required, 1, api.MaxIdentifierChars)
		if ok && ids[id] {
			o.form.fail(at.at(i).at("id"), "value_error", "Value error, ids of agent groups should be unique")
		}
		ids[id] = true
		g.text("name", required, 1, api.MaxNameChars)
		g.text("description", optional, 0, api.MaxDescriptionChars)
		g.integer("number_of_agents", required, 1, api.MaxAgentsPerGroup)
		g.named("variables", api.MaxVariables, (*fields).checkVariable)
		g.named("actions", api.MaxActions, (*fields).checkAction)
		g.done()
	}
	o.done()
}

// named reads an object whose names the client chose and whose values are
// objects of one kind.
func (o *fields) named(name string, most int, check func(*fields)) {
	in, ok := o.inner(name, optional)
	if !ok {
		return
	}
	if n := len(in.of.names); n > most {
		o.form.fail(in.at, "too_long", fmt.Sprintf("Dictionary should have at most %s after validation, not %d", count(most, "item"), n))
		return
	}
	for i, name := range in.of.names {
		at := in.at.at(name)
		if o.form.checkText(at, name, 1, api.MaxIdentifierChars) {
			check(o.form.object(&in.of.items[i], at))
		}
	}
}

// checkVariable holds the distribution of a variable to its form.
func (o *fields) checkVariable() {
	kind, ok := o.choice("type", required, "normal", "uniform", "initial_value")
	if !ok {
		return // without the type nothing can be said of the rest
	}
	switch kind {
	case "normal":
		o.number("mean", required)
		if std, ok := o.number("std", required); ok && std < 0 {
			o.form.fail(o.at.at("std"), "greater_than_equal", "Input should be greater than or equal to 0")
		}
	case "uniform":
		least, okLeast := o.number("min", required)
		most, okMost := o.number("max", required)
		o.checkOrder(least, most, okLeast && okMost)
	default:
		o.scalar("value")
	}
	o.done()
}

// scalar reads a number, a string or a boolean.
func (o *fields) scalar(name string) {
	v, at, ok := o.take(name, required)
	if !ok {
		return
	}
	switch v.kind {
	case kindString:
		o.form.checkText(at, v.text, 0, api.MaxDescriptionChars)
	case kindNumber:
		o.form.checkStorable(v, at)
	case kindBool:
	default:
		o.form.fail(at, "value_error", "Value error, input should be a number, a string or a boolean")
	}
}

// checkAction holds an action to its form. Beyond type and description an
// action may have members of its own.
func (o *fields) checkAction() {
	if o == nil {
		return
	}
	o.choice("type", required, "binary", "discrete", "continuous")
	o.text("description", optional, 0, api.MaxDescriptionChars)
	least, okLeast := o.number("min", optional)
	most, okMost := o.number("max", optional)
	o.checkOrder(least, most, okLeast && okMost)
	for i, name := range o.of.names {
		switch name {
		case "type", "description", "min", "max":
		default:
			o.form.checkText(o.at.at(name), name, 1, api.MaxIdentifierChars)
			o.form.checkFree(&o.of.items[i], o.at.at(name), api.MaxMetadataBytes, api.MaxMetadataDepth)
		}
	}
}

func (o *fields) checkOrder(least, most float64, ok bool) {
	if ok && least > most {
		o.form.fail(o.at.at("max"), "greater_than_equal", "Input should be greater than or equal to min")
	}
}
