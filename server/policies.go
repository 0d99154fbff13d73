package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// withDesk answers 404 where the server has no policies to manage, and turns
// what a desk refuses into answers.
func (s *Server) withDesk(handle func(*exchange) error) func(*exchange) error {
	return func(x *exchange) error {
		if s.policies == nil {
			return notFound("", "")
		}
		err := handle(x)
		var refused *engine.PolicyRefusedError
		switch {
		case errors.As(err, &refused):
			return policyRefused(&refused.Report)
		case errors.Is(err, engine.ErrPolicyPinned):
			return conflict("POLICY_PINNED", "The policies of this server are not managed here: "+err.Error(), "pinned")
		case errors.Is(err, engine.ErrNoPrevious):
			return conflict("NO_PREVIOUS_REVISION", "There is no previous revision to roll back to", "active")
		case errors.Is(err, engine.ErrNotLive):
			return conflict("REVISION_NOT_LIVE", "The revision is not live, so there is nothing to roll back", "inactive")
		default:
			return err
		}
	}
}

// policyRefused says everything that is wrong with files at once.
func policyRefused(report *engine.PolicyReport) error {
	body := api.PolicyRefused{Detail: make([]api.PolicyError, len(report.Problems))}
	for i, p := range report.Problems {
		at := &place{nil, "body"}
		if p.File != "" {
			at = at.at("files").at(p.File)
		}
		body.Detail[i] = api.PolicyError{
			FieldError: api.FieldError{Loc: at.loc(), Msg: p.Message, Type: "policy_" + string(p.Kind)}, File: p.File, Row: p.Row, Col: p.Col,
		}
	}
	return &apiError{fiber.StatusUnprocessableEntity, body}
}

// createPolicy checks policies and keeps them as a candidate: POST
// /v1/policies.
func (s *Server) createPolicy(x *exchange) error {
	revision, err := s.newPolicy(x)
	if err != nil {
		return err
	}
	revision.CreatedAt, revision.CreatedBy = x.request.At, x.principal().Key.ID
	created, err := s.policies.Submit(x.ctx, revision)
	if err != nil {
		return fmt.Errorf("creating a policy revision: %w", err)
	}
	return x.json(fiber.StatusCreated, policyInfo(&created))
}

// newPolicy reads a revision from the body: JSON, or an OPA bundle.
func (s *Server) newPolicy(x *exchange) (revision engine.PolicyRevision, err error) {
	f := &form{}
	p := x.parameters(f)
	if isBundle(string(x.fast.Request.Header.ContentType())) {
		revision.Message = p.text("message", api.MaxPolicyMessageChars)
		p.done()
		if err := f.err(); err != nil {
			return revision, err
		}
		revision.Files, err = s.policies.Unpack(bytes.NewReader(x.fast.Request.Body()))
		return revision, err
	}
	p.done()
	o, err := x.body(f, required)
	if err != nil {
		return revision, err
	}
	revision.Files = o.policyFiles("files")
	if data, ok := o.freeObject("data", optional, api.MaxPolicyBodyBytes, api.MaxPolicyDataDepth); ok {
		revision.Data = data.appendTo(nil)
	}
	revision.Message, _ = o.text("message", optional, 0, api.MaxPolicyMessageChars)
	o.done()
	return revision, f.err()
}

// isBundle reports whether a Content-Type is that of an OPA bundle.
func isBundle(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	return slices.Contains([]string{"application/gzip", "application/x-gzip", "application/vnd.openpolicyagent.bundles"},
		strings.ToLower(strings.TrimSpace(media)))
}

// policyFiles reads an object of texts by path.
func (o *fields) policyFiles(name string) map[string]string {
	v, at, ok := o.take(name, required)
	switch {
	case !ok:
		return nil
	case v.kind != kindObject:
		o.form.fail(at, "dict_type", "Input should be a valid dictionary")
		return nil
	case len(v.names) > api.MaxPolicyFiles:
		o.form.fail(at, "too_long", "Dictionary should have at most "+count(api.MaxPolicyFiles, "item"))
		return nil
	}
	files := make(map[string]string, len(v.names))
	for i, path := range v.names {
		if text, ok := v.items[i].asText(o, at.at(path), true, 0, api.MaxPolicyBodyBytes); ok {
			files[path] = text
		}
	}
	return files
}

// listPolicies shows the revisions: GET /v1/policies.
func (s *Server) listPolicies(x *exchange) error {
	page, err := x.page()
	if err != nil {
		return err
	}
	revisions, total, err := s.policies.Revisions(x.ctx, page)
	if err != nil {
		return fmt.Errorf("listing policy revisions: %w", err)
	}
	return x.json(fiber.StatusOK, list(revisions, total, page, policyInfo))
}

// getPolicy shows one revision: GET /v1/policies/{revision}.
func (s *Server) getPolicy(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	revision, err := s.policies.Revision(x.ctx, x.id())
	if err != nil {
		return fmt.Errorf("reading a policy revision: %w", err)
	}
	return x.json(fiber.StatusOK, policyInfo(&revision))
}

// getPolicyFile shows one file: GET /v1/policies/{revision}/files/{path}.
func (s *Server) getPolicyFile(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	revision, err := s.policies.Revision(x.ctx, x.id())
	if err != nil {
		return fmt.Errorf("reading a policy revision: %w", err)
	}
	path := x.pathFrom(4) // v1, policies, the revision, files
	text, ok := revision.Files[path]
	if !ok {
		return notFound("", "")
	}
	return x.json(fiber.StatusOK, api.PolicyFile{Path: path, Text: text})
}

// pathFrom is what follows the first n segments of the path.
func (x *exchange) pathFrom(n int) string {
	return strings.Join(x.target.segments[min(n, len(x.target.segments)):], "/")
}

// diffPolicies shows what changes from one revision to another: GET
// /v1/policies/{revision}/diff/{other}.
func (s *Server) diffPolicies(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	other := x.pathFrom(4)
	changes, err := s.policies.Diff(x.ctx, x.id(), other)
	if errors.Is(err, engine.ErrNotFound) {
		return notFound("policy", other) // the first one was found before
	}
	if err != nil {
		return fmt.Errorf("comparing policy revisions: %w", err)
	}
	diff := api.PolicyDiff{From: x.id(), To: other, Files: []api.PolicyFileDiff{}}
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		diff.Files = append(diff.Files, api.PolicyFileDiff{Path: path, Diff: changes[path]})
	}
	return x.json(fiber.StatusOK, diff)
}

// getLivePolicy says what is live: GET /v1/policies/live.
func (s *Server) getLivePolicy(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	live, err := s.policies.Live(x.ctx)
	if err != nil {
		return fmt.Errorf("reading what policy is live: %w", err)
	}
	return x.json(fiber.StatusOK, livePolicy(&live))
}

// activatePolicy makes a revision live: POST /v1/policies/{revision}/activate.
func (s *Server) activatePolicy(x *exchange) error {
	if err := x.nothing(); err != nil {
		return err
	}
	live, err := s.policies.Activate(x.ctx, x.id(), x.principal().Key.ID, x.request.At)
	if err != nil {
		return fmt.Errorf("activating a policy revision: %w", err)
	}
	return x.json(fiber.StatusOK, livePolicy(&live))
}

// rollbackPolicy makes the previous revision live again: POST
// /v1/policies/rollback, or POST /v1/policies/{revision}/rollback, which does so
// only while that revision is live.
func (s *Server) rollbackPolicy(x *exchange) error {
	if err := x.nothing(); err != nil {
		return err
	}
	live, err := s.policies.Rollback(x.ctx, x.id(), x.principal().Key.ID, x.request.At)
	if err != nil {
		return fmt.Errorf("rolling back policies: %w", err)
	}
	return x.json(fiber.StatusOK, livePolicy(&live))
}

// nothing refuses every query parameter and every member of a body.
func (x *exchange) nothing() error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, optional)
	if err != nil {
		return err
	}
	o.done()
	return f.err()
}

// evaluatePolicy asks a revision about an input: POST
// /v1/policies/{revision}/evaluate.
func (s *Server) evaluatePolicy(x *exchange) error {
	f := &form{}
	x.parameters(f).done()
	o, err := x.body(f, required)
	if err != nil {
		return err
	}
	input := o.policyInput("input")
	explain, _ := o.boolean("explain", optional)
	o.done()
	if err := f.err(); err != nil {
		return err
	}
	evaluation, err := s.policies.Evaluate(x.ctx, x.id(), input, explain)
	if err != nil {
		return fmt.Errorf("evaluating a policy revision: %w", err)
	}
	return x.json(fiber.StatusOK, policyEvaluation(&evaluation))
}

// policyInput reads the document of an input. What the input does not have is
// an error, so that a typo is not taken for something absent.
func (o *fields) policyInput(name string) *engine.Input {
	v, ok := o.freeObject(name, required, api.MaxBodyBytes, api.MaxPolicyDataDepth)
	if !ok {
		return nil
	}
	input := new(engine.Input)
	decoder := json.NewDecoder(bytes.NewReader(v.appendTo(nil)))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	if err := decoder.Decode(input); err != nil {
		o.form.fail(o.at.at(name), "value_error", "Value error, "+strings.TrimPrefix(err.Error(), "json: "))
		return nil
	}
	return input
}

func policyEvaluation(e *engine.PolicyEvaluation) api.PolicyEvaluation {
	shown := api.PolicyEvaluation{
		Revision: e.Judgement.Revision, Rules: make([]api.DecisionRule, len(e.Explanations)),
		Decision: api.PolicyDecision{
			Allow: e.Judgement.Allow, Reasons: make([]api.DecisionReason, len(e.Judgement.Reasons)), Limits: make([]api.PolicyLimit, len(e.Judgement.Limits)),
		},
	}
	if e.Error != "" {
		shown.Error = &e.Error
	}
	for i, reason := range e.Judgement.Reasons {
		shown.Decision.Reasons[i] = api.DecisionReason(reason)
	}
	for i := range e.Judgement.Limits {
		l := &e.Judgement.Limits[i]
		shown.Decision.Limits[i] = api.PolicyLimit{
			Name: l.Name, Limit: l.Limit.Limit, WindowSeconds: int64(l.Window / time.Second), Algorithm: string(l.Algorithm),
			Scope: string(l.Scope), Burst: l.Burst, Cost: l.Cost,
		}
	}
	for i := range e.Explanations {
		shown.Rules[i] = decisionRule(&e.Explanations[i])
	}
	return shown
}

// policyInfo shows a revision.
func policyInfo(r *engine.PolicyRevision) api.PolicyRevision {
	shown := api.PolicyRevision{
		Revision: r.ID, Digest: r.Report.Digest, Status: string(r.Status), Message: r.Message,
		Tests: api.PolicyTests(r.Report.Tests), Memo: api.PolicyMemo(r.Report.Memo),
		Warnings: make([]api.PolicyProblem, len(r.Report.Warnings)), Files: slices.Sorted(maps.Keys(r.Files)),
		CreatedAt: api.Time(r.CreatedAt), CreatedBy: r.CreatedBy, ActivatedAt: api.Time(r.ActivatedAt),
	}
	for i, w := range r.Report.Warnings {
		shown.Warnings[i] = api.PolicyProblem{Rule: w.Rule, File: w.File, Row: w.Row, Col: w.Col, Msg: w.Message}
	}
	return shown
}

func livePolicy(l *engine.LivePolicy) api.LivePolicy {
	shown := api.LivePolicy{DataVersion: l.DataVersion, Generation: l.Generation, ChangedAt: api.Time(l.ChangedAt), ChangedBy: l.ChangedBy}
	if l.Revision != "" {
		shown.Revision = &l.Revision
	}
	if l.Previous != "" {
		shown.Previous = &l.Previous
	}
	return shown
}
