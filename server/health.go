package server

import (
	"github.com/gofiber/fiber/v2"
)

// healthz says that the process serves requests.
func (s *Server) healthz(x *exchange) error {
	x.send(fiber.StatusOK, []byte(`{"status":"ok"}`))
	return nil
}

// readyz says whether requests should be sent here: not before the store
// answers, and not while the server drains.
func (s *Server) readyz(x *exchange) error {
	if s.draining.Load() {
		return notReady(x, "draining")
	}
	if err := s.pinger.Ping(x.ctx); err != nil {
		return notReady(x, "store unavailable")
	}
	x.send(fiber.StatusOK, []byte(`{"status":"ok"}`))
	return nil
}

func notReady(x *exchange, why string) error {
	x.header(headerRetryAfter, "1")
	return detail(fiber.StatusServiceUnavailable, "Not ready: "+why)
}

// openapi serves the OpenAPI document.
func (s *Server) openapi(x *exchange) error {
	x.send(fiber.StatusOK, s.document)
	x.header(headerCacheControl, "no-cache")
	return nil
}

// docs serves the page for people.
func (s *Server) docs(x *exchange) error {
	x.send(fiber.StatusOK, s.page)
	x.fast.Response.Header.SetContentType(mediaHTML)
	x.header(headerCacheControl, "no-cache")
	x.header(headerSecurityPolicy, s.pageCSP)
	return nil
}
