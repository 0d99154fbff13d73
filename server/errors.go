package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/server/api"
)

// apiError is an answer that a handler returns in place of success.
type apiError struct {
	status int
	body   any // one of the error bodies of package api
}

// Error names the answer for logs; clients get the body.
func (e *apiError) Error() string { return fmt.Sprintf("answered %d", e.status) }

func detail(status int, text string) error {
	return &apiError{status, api.Detail{Detail: text}}
}

func forbidden(text string) error { return detail(fiber.StatusForbidden, text) }

// notFound says that a resource of a type does not exist, or that nothing at
// all is served there if the type is "".
func notFound(resource, id string) error {
	if resource == "" || id == "" {
		return detail(fiber.StatusNotFound, "Not Found")
	}
	return detail(fiber.StatusNotFound, strings.ToUpper(resource[:1])+resource[1:]+" with ID "+id+" not found")
}

func conflict(code, message, status string) error {
	return &apiError{fiber.StatusConflict, api.Conflict{Error: code, Message: message, Status: status}}
}

// isUnavailable reports whether the answer cannot be known now and a later try
// may succeed.
func isUnavailable(err error) bool {
	return errors.Is(err, engine.ErrUnavailable) || errors.Is(err, quota.ErrUnavailable) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// fail answers with what an error means to the client. What it does not mean
// to say goes to the log only.
func (s *Server) fail(x *exchange, err error) {
	var answer *apiError
	var syntax *syntaxError
	switch {
	case errors.As(err, &answer):
	case errors.As(err, &syntax):
		answer = &apiError{fiber.StatusBadRequest, api.Detail{Detail: syntax.Error()}}
	case errors.Is(err, engine.ErrNotFound):
		errors.As(notFound(x.request.Target.Type, x.request.Target.ID), &answer)
	case errors.Is(err, engine.ErrConflict):
		errors.As(conflict("CONFLICT", "The request contradicts the present state of the resource", ""), &answer)
	case isUnavailable(err):
		s.logger.LogAttrs(x.context(), slog.LevelWarn, "store unavailable", x.errorAttrs(err)...)
		x.header(headerRetryAfter, "1")
		answer = &apiError{fiber.StatusServiceUnavailable, api.Detail{Detail: "Service temporarily unavailable"}}
	default:
		s.logger.LogAttrs(x.context(), slog.LevelError, "request failed", x.errorAttrs(err)...)
		answer = &apiError{fiber.StatusInternalServerError, api.Detail{Detail: "Internal Server Error"}}
	}
	if err := x.json(answer.status, answer.body); err != nil {
		x.send(fiber.StatusInternalServerError, []byte(`{"detail":"Internal Server Error"}`))
	}
}

// errorAttrs describes a failure; never with what the client sent.
func (x *exchange) errorAttrs(err error) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", x.request.ID), slog.String("decision_id", x.decision.ID),
		slog.String("route", x.route.label()), slog.Any("error", err),
	}
}
