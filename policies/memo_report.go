package policies

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// MemoReport says whether decisions are remembered, and what they depend on.
type MemoReport struct {
	// Enabled tells whether requests that agree on all Paths share a decision.
	Enabled bool
	// Reason says why they do not, or what makes that less useful than it
	// could be; "" for neither.
	Reason string
	// File, Row and Col are the place that Reason is about; File is "" if
	// there is none.
	File     string
	Row, Col int
	// Paths are the parts of the input, and the data, that the decision can
	// depend on, such as "input.key.scopes" and "data.plans".
	Paths []string
}

// field is a part of the input: its path, its opcode, and the opcode of one
// value in it if it is an object of any names.
type field struct {
	path  string
	code  opcode
	value opcode
	// many tells that its values rarely repeat.
	many bool
}

// inputFields lists the whole input in the order of the opcodes. A test holds it
// to the schema.
var inputFields = [...]field{
	{path: "key.id", code: opKeyID},
	{path: "key.name", code: opKeyName},
	{path: "key.environment", code: opKeyEnvironment},
	{path: "key.rate_limit", code: opKeyRateLimit},
	{path: "key.scopes", code: opKeyScopes},
	{path: "key.metadata", code: opKeyMetadata, value: opKeyMetadataField},
	{path: "key.created_at", code: opKeyCreatedAt},
	{path: "key.expires_at", code: opKeyExpiresAt},
	{path: "tenant.id", code: opTenantID},
	{path: "tenant.name", code: opTenantName},
	{path: "request.method", code: opRequestMethod},
	{path: "request.path", code: opRequestPath, many: true},
	{path: "request.segments", code: opRequestSegments, many: true},
	{path: "request.route", code: opRequestRoute},
	{path: "request.query", code: opRequestQuery, value: opRequestQueryField, many: true},
	{path: "request.headers", code: opRequestHeaders, value: opRequestHeadersField},
	{path: "request.size", code: opRequestSize, many: true},
	{path: "request.ip", code: opRequestIP, many: true},
	{path: "request.time", code: opRequestTime},
	{path: "request.resource_type", code: opRequestResourceType},
	{path: "resource", code: opResource},
	{path: "resource.type", code: opResourceType},
	{path: "resource.id", code: opResourceID, many: true},
	{path: "resource.tenant_id", code: opResourceTenantID},
	{path: "resource.environment", code: opResourceEnvironment},
	{path: "request.id", code: opRequestID, many: true},
}

// LogCosts tells the logger what makes the Set slower than it could be: why its
// decisions are not remembered, and why it is interpreted. It is silent if there
// is nothing to say.
func (s *Set) LogCosts(ctx context.Context, logger *slog.Logger) {
	if m := s.report; m.Reason != "" {
		logger.LogAttrs(ctx, slog.LevelWarn, "policy decisions are remembered less than they could be",
			slog.String("revision", s.revision), slog.String("reason", m.Reason), slog.String("file", m.File), slog.Int("row", m.Row), slog.Int("col", m.Col))
	}
	if s.uncompiled != nil {
		logger.LogAttrs(ctx, slog.LevelWarn, "policy is interpreted", slog.String("revision", s.revision), slog.Any("reason", s.uncompiled))
	}
}

// newEncoder returns the encoder of a footprint, nil if no key can hold it, and
// what there is to say about that.
func newEncoder(f *footprint) (encoder, MemoReport) {
	report := MemoReport{Enabled: true, Paths: f.data}
	note := func(reason string, at *ast.Location) {
		report.Reason = reason
		if at != nil {
			report.File, report.Row, report.Col = at.File, at.Row, at.Col
		}
	}
	var e encoder
	var rare inputPath
	for _, p := range f.input {
		report.Paths = append(report.Paths, p.String())
		for _, o := range opsOf(p.path) {
			i := slices.IndexFunc(inputFields[:], func(f field) bool { return f.code == o.code })
			if i >= 0 && inputFields[i].many && (rare.at == nil || o.code == opRequestID) {
				rare = p
			}
			if !slices.Contains(e, o) {
				e = append(e, o)
			}
		}
	}
	slices.Sort(report.Paths)
	slices.SortFunc(e, func(a, b op) int {
		if a.code != b.code {
			return int(a.code) - int(b.code)
		}
		return strings.Compare(a.name, b.name)
	})
	switch unique := len(e) > 0 && e[len(e)-1].code == opRequestID; {
	case f.impure != "":
		report.Enabled = false
		note("not remembered: calls "+f.impure, f.impureAt)
	case unique && len(rare.path) < 2:
		report.Enabled = false
		note(fmt.Sprintf("not remembered: reads %s as a whole, and with it input.request.id, which no two requests share", rare), rare.at)
	case unique:
		report.Enabled = false
		note(fmt.Sprintf("not remembered: reads %s, which no two requests share", rare), rare.at)
	case rare.at != nil:
		note(fmt.Sprintf("less often remembered: reads %s, whose values rarely repeat", rare), rare.at)
	}
	if !report.Enabled {
		return nil, report
	}
	return e, report
}

// opsOf returns what a key has to hold of a path below input. A path that is
// none of the input's stands for what it would be a part of.
func opsOf(path []string) []op {
	var group, all []op
	for _, f := range inputFields {
		object, name, _ := strings.Cut(f.path, ".")
		all = append(all, op{code: f.code})
		if len(path) == 0 || object != path[0] {
			continue
		}
		group = append(group, op{code: f.code})
		switch {
		case len(path) == 1 || name != path[1]:
		case f.value != 0 && len(path) > 2:
			return []op{{code: f.value, name: path[2]}}
		case f.code > opResource && f.code <= opResourceEnvironment:
			return []op{{code: opResource}, {code: f.code}}
		default:
			return []op{{code: f.code}}
		}
	}
	if len(group) > 0 {
		return group
	}
	return all
}
