package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// listDecisions shows the decision log of a tenant: GET /v1/decisions.
func (s *Server) listDecisions(x *exchange) error {
	f := &form{}
	p := x.parameters(f)
	tenantID := p.text("tenant", api.MaxIdentifierChars)
	filter := engine.DecisionFilter{
		Environments: x.visible(),
		KeyID:        p.text("key", api.MaxIdentifierChars),
		Effect: engine.Effect(p.choice("effect",
			string(engine.Allow), string(engine.Unauthenticated), string(engine.Deny), string(engine.Throttle))),
		Reason: p.text("reason", api.MaxReasonChars),
		Since:  p.moment("since"),
		Until:  p.moment("until"),
		Before: p.decisionID("before"),
	}
	limit := int(p.integer("limit", api.DefaultDecisionLimit, 1, api.MaxDecisionLimit))
	p.done()
	if err := f.err(); err != nil {
		return err
	}
	if tenantID == "" {
		tenantID = x.tenantID()
	}
	// The policy has judged this already; it may be one that was written
	// before there was a decision log.
	if tenantID != x.tenantID() && x.tenantID() != engine.PlatformTenantID {
		return forbidden("Access denied: decision belongs to different tenant")
	}
	filter.Limit = limit + 1 // whether there are more
	records, err := s.decisions.Decisions(x.ctx, tenantID, filter)
	if err != nil {
		return fmt.Errorf("listing decisions: %w", err)
	}
	var list api.DecisionList
	if len(records) > limit {
		records = records[:limit]
		list.Next = &records[limit-1].ID
	}
	list.Items = make([]api.Decision, len(records))
	for i := range records {
		list.Items[i] = decisionInfo(&records[i])
	}
	return x.json(fiber.StatusOK, list)
}

// getDecision shows one decision and why it was made: GET /v1/decisions/{id}.
func (s *Server) getDecision(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	// Whose log it is in was judged; operators reach those of others.
	record, err := s.decisions.Decision(x.ctx, x.decision.Resource.TenantID, x.id())
	if err != nil {
		return fmt.Errorf("reading a decision: %w", err)
	}
	shown := decisionInfo(&record)
	why := s.explain(x, &record)
	shown.Why = &why
	return x.json(fiber.StatusOK, shown)
}

// The reasons why a decision is not explained by rules.
const (
	unexplainedNoPolicy  = "no policy was asked"
	unexplainedNoInput   = "the input was not kept"
	unexplainedMasked    = "a part of the input was not kept"
	unexplainedNobody    = "this server does not explain decisions"
	unexplainedForgotten = "the policy's revision is not loaded any more"
	unexplainedFailed    = "the policy could not be asked again"
)

// explain tells what a decision was made from.
func (s *Server) explain(x *exchange, record *engine.DecisionRecord) api.DecisionWhy {
	why := api.DecisionWhy{Input: record.Input, Masked: record.Masked, Omitted: record.Omitted, Rules: []api.DecisionRule{}}
	if why.Input == nil {
		why.Input = json.RawMessage("null")
	}
	if why.Masked == nil {
		why.Masked = []string{}
	}
	switch {
	case record.Revision == "":
		why.Unexplained = unexplainedNoPolicy
	case record.Input == nil:
		why.Unexplained = unexplainedNoInput
	case len(record.Masked) > 0:
		why.Unexplained = unexplainedMasked
	case s.explainer == nil:
		why.Unexplained = unexplainedNobody
	default:
		rules, err := s.explainer.Explain(x.ctx, record.Revision, record.Input)
		switch {
		case errors.Is(err, engine.ErrNotFound):
			why.Unexplained = unexplainedForgotten
		case err != nil:
			s.logger.LogAttrs(x.ctx, slog.LevelWarn, "decision not explained", x.errorAttrs(err)...)
			why.Unexplained = unexplainedFailed
		}
		for i := range rules {
			why.Rules = append(why.Rules, decisionRule(&rules[i]))
		}
	}
	return why
}

// decisionID reads the id of a decision; "" if absent.
func (p *parameters) decisionID(name string) string {
	id, at, ok := p.take(name)
	if !ok {
		return ""
	}
	if _, ok := engine.ParseDecisionID(id); !ok {
		p.form.fail(at, "value_error", "Value error, should be the id of a decision")
	}
	return id
}

// decisionInfo shows a record without its why.
func decisionInfo(r *engine.DecisionRecord) api.Decision {
	shown := api.Decision{
		ID: r.ID, At: api.Time(r.At), RequestID: r.RequestID, Method: r.Method, Route: r.Route, Path: r.Path,
		Effect: string(r.Effect), Reasons: make([]api.DecisionReason, len(r.Reasons)), Limits: make([]api.DecisionLimit, len(r.Limits)),
		Revision: r.Revision, PluginDigest: r.PluginDigest, DurationUS: r.Duration.Microseconds(),
	}
	if r.Authenticated() {
		environment := string(r.Environment)
		shown.TenantID, shown.KeyID, shown.Environment = &r.TenantID, &r.KeyID, &environment
	}
	if r.ResourceType != "" {
		shown.Resource = &api.DecisionResource{Type: r.ResourceType, ID: r.ResourceID}
		if r.ResourceOwner != "" {
			shown.Resource.TenantID = &r.ResourceOwner
		}
	}
	for i, reason := range r.Reasons {
		shown.Reasons[i] = api.DecisionReason(reason)
	}
	for i := range r.Limits {
		v := &r.Limits[i]
		shown.Limits[i] = api.DecisionLimit{
			Name: v.Name, Limit: v.Limit, WindowSeconds: int64(v.Window / time.Second), Admitted: v.Admitted,
			Remaining: v.Remaining, Reset: api.Time(v.Reset),
		}
	}
	return shown
}

// decisionRule shows a rule that held.
func decisionRule(e *engine.Explanation) api.DecisionRule {
	rule := api.DecisionRule{
		Rule: e.Rule, File: e.File, Row: e.Row, Col: e.Col, Values: e.Values, Code: e.Code, Message: e.Message,
	}
	if rule.Values == nil {
		rule.Values = map[string]any{}
	}
	return rule
}
