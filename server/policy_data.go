package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// dataPath is the path of the document that the request names, "" for all.
func (x *exchange) dataPath() string { return x.pathFrom(3) } // v1, policies, data

// getPolicyData shows a data document: GET /v1/policies/data/{path}.
func (s *Server) getPolicyData(x *exchange) error {
	if err := x.noParameters(); err != nil {
		return err
	}
	data, err := s.policies.Data(x.ctx, x.dataPath())
	if errors.Is(err, engine.ErrNotFound) {
		return notFound("", "")
	}
	if err != nil {
		return fmt.Errorf("reading policy data: %w", err)
	}
	return x.json(fiber.StatusOK, policyData(&data))
}

// putPolicyData replaces a data document: PUT /v1/policies/data/{path}.
func (s *Server) putPolicyData(x *exchange) error { return s.changePolicyData(x, s.policies.PutData) }

// patchPolicyData merges into a data document (RFC 7396): PATCH
// /v1/policies/data/{path}.
func (s *Server) patchPolicyData(x *exchange) error {
	return s.changePolicyData(x, s.policies.PatchData)
}

// changePolicyData reads a document of the client's own making and has it go
// live.
func (s *Server) changePolicyData(
	x *exchange, change func(ctx context.Context, path string, document json.RawMessage, by string, at time.Time) (engine.PolicyData, error),
) error {
	f := &form{}
	x.parameters(f).done()
	v, at, err := x.bodyValue(f, required)
	if err != nil {
		return err
	}
	if len(f.errors) == 0 {
		f.checkFree(v, at, api.MaxBodyBytes, api.MaxPolicyDataDepth)
	}
	if err := f.err(); err != nil {
		return err
	}
	data, err := change(x.ctx, x.dataPath(), v.appendTo(nil), x.principal().Key.ID, x.request.At)
	if err != nil {
		return fmt.Errorf("changing policy data: %w", err)
	}
	return x.json(fiber.StatusOK, policyData(&data))
}

func policyData(d *engine.PolicyData) api.PolicyData {
	return api.PolicyData{Path: d.Path, Version: d.Version, Data: d.Documents, UpdatedAt: api.Time(d.UpdatedAt), UpdatedBy: d.UpdatedBy}
}
