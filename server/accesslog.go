package server

import (
	"log/slog"
	"time"
)

// logAccess writes the one line of a request: what was asked for by whom, and
// how it ended. Paths, queries, headers and bodies are left out, because
// clients put secrets into all of them.
func (s *Server) logAccess(x *exchange, status int, took time.Duration) {
	ctx := x.context()
	if !s.logger.Enabled(ctx, slog.LevelInfo) {
		return
	}
	var tenantID, keyID string
	if p := x.decision.Principal; p != nil {
		tenantID, keyID = p.Tenant.ID, p.Key.ID
	}
	s.logger.LogAttrs(ctx, slog.LevelInfo, "request",
		slog.String("request_id", x.request.ID),
		slog.String("decision_id", x.decision.ID),
		slog.String("route", x.route.label()),
		slog.String("method", methodLabel(x.request.Method)),
		slog.Int("status", status),
		slog.Duration("duration", took),
		slog.String("tenant_id", tenantID),
		slog.String("key_id", keyID),
		slog.String("reason", x.decision.Reason().Code),
	)
}
