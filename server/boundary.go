package server

import (
	"strings"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/twyn/twyn/engine"
)

// boundary turns a Fiber context into an engine.Request. It is the only place
// where that is done, and it copies every string it takes: Fiber's point into
// buffers that the next request overwrites (gofiber/fiber#2902).
func (s *Server) boundary(c *fiber.Ctx, x *exchange) engine.Request {
	request := &c.Context().Request
	keys := request.Header.PeekAll("X-API-Key")
	r := engine.Request{
		ID:          x.request.ID, // a copy since the edge, like the time
		At:          x.request.At,
		Credentials: len(keys),
		Method:      x.request.Method,
		Path:        x.target.path, // copies since normalise
		Segments:    x.target.segments,
		Query:       s.queryMap(x.target.query),
		Route:       x.route.pattern,
		Headers:     s.policyHeaders(c),
		Size:        int64(len(request.Body())),
		IP:          c.Context().RemoteIP().String(),
		Target:      engine.Target{Type: x.route.resource},
	}
	if len(keys) > 0 {
		r.Credential = engine.Credential(keys[0])
	}
	if x.route.param != "" {
		r.Target.ID = utils.CopyString(c.Params(x.route.param))
	}
	return r
}

// queryMap holds the first value of each query parameter.
func (s *Server) queryMap(query []param) map[string]string {
	if len(query) == 0 {
		return s.none
	}
	first := make(map[string]string, len(query))
	for _, q := range query {
		if _, ok := first[q.name]; !ok {
			first[q.name] = q.value
		}
	}
	return first
}

// policyHeaders copies the headers that policies may see.
func (s *Server) policyHeaders(c *fiber.Ctx) map[string]string {
	var seen map[string]string
	for _, name := range s.headers {
		if v := c.Context().Request.Header.Peek(name); len(v) > 0 {
			if seen == nil {
				seen = make(map[string]string, len(s.headers))
			}
			seen[name] = strings.ToValidUTF8(string(v), "\uFFFD")
		}
	}
	if seen == nil {
		return s.none
	}
	return seen
}
