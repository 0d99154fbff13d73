package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/twyn/twyn/engine"
)

// exchange is one request and its answer, from the edge to the access log. It
// is made anew for each request and never used again after it.
type exchange struct {
	fast    *fasthttp.RequestCtx
	ctx     context.Context // ends with the request's time; nil before routing
	started time.Time
	target  target
	route   *route // nil before routing

	patience patience
	request  engine.Request
	decision engine.Decision // zero if none was reached
}

// exchangeKey is where an exchange waits in a fasthttp context for its route.
type exchangeKey struct{}

func (x *exchange) context() context.Context {
	if x.ctx == nil {
		return context.Background()
	}
	return x.ctx
}

// principal is who asks. It is there in every handler of a decided route.
func (x *exchange) principal() *engine.Principal { return x.decision.Principal }

// tenantID is the tenant that asks.
func (x *exchange) tenantID() string { return x.principal().Tenant.ID }

// visible lists the environments that the asking key sees.
func (x *exchange) visible() []engine.Environment { return x.principal().Key.Environment.Visible() }

// id is the id of the resource in the path.
func (x *exchange) id() string { return x.request.Target.ID }

// begin gives the request its id and its time and the answer its first
// headers.
func (s *Server) begin(fast *fasthttp.RequestCtx) *exchange {
	x := &exchange{fast: fast, started: s.clock.Now()}
	x.request.At = x.started.UTC().Truncate(time.Microsecond)
	if id := fast.Request.Header.Peek(string(headerRequestID)); validRequestID(id) {
		x.request.ID = string(id)
	} else if id, err := newRequestID(s.random); err == nil {
		x.request.ID = id
	}
	x.firstHeaders()
	return x
}

func (x *exchange) firstHeaders() {
	x.header(headerRequestID, x.request.ID)
	x.header(headerContentTypeOptions, "nosniff")
	x.header(headerCacheControl, "no-store")
}

// serve is the edge: every request that fasthttp could read passes here, and
// every answer leaves here. It settles what the request target is before the
// router sees it.
func (s *Server) serve(fast *fasthttp.RequestCtx) {
	x := s.begin(fast)
	s.metrics.inFlight.Inc()
	defer s.finish(x)
	x.request.Method = string(fast.Method())
	if !isKnownMethod(x.request.Method) {
		x.request.Method = strings.ToUpper(strings.ToValidUTF8(x.request.Method, "\uFFFD"))
		fast.Request.Header.SetMethod(otherMethod)
	}
	var err error
	if x.target, err = normalise(fast.Request.Header.RequestURI()); err != nil {
		s.fail(x, detail(fiber.StatusBadRequest, "Bad request target: "+err.Error()))
		return
	}
	fast.Request.URI().SetPath(x.target.path) // the router reads this, undecoded
	fast.SetUserValue(exchangeKey{}, x)
	s.router(fast)
}

// finish ends every exchange: a panic becomes a 500, and the answer is counted
// and logged.
func (s *Server) finish(x *exchange) {
	if cause := recover(); cause != nil {
		s.metrics.panics.Inc()
		s.logger.LogAttrs(x.context(), slog.LevelError, "panic",
			append(x.errorAttrs(fmt.Errorf("%v", cause)), slog.String("stack", string(debug.Stack())))...)
		x.fast.Response.Reset()
		x.firstHeaders()
		if x.decision.ID != "" {
			x.decisionHeaders()
		}
		x.send(fiber.StatusInternalServerError, []byte(`{"detail":"Internal Server Error"}`))
	}
	s.metrics.inFlight.Dec()
	status, took := x.fast.Response.StatusCode(), s.clock.Now().Sub(x.started)
	s.metrics.answered(x.route.label(), x.request.Method, status, took)
	s.logAccess(x, status, took)
}

// answer is what the router calls for a route.
func (s *Server) answer(r *route) fiber.Handler {
	return func(c *fiber.Ctx) error {
		x, ok := c.Context().UserValue(exchangeKey{}).(*exchange)
		if !ok {
			return errors.New("a request reached the router past the edge")
		}
		x.patience = patience{parent: s.base, ended: s.ended, limit: s.requestTimeout}
		defer x.patience.end()
		x.ctx, x.route = &x.patience, r
		if err := s.handle(c, x); err != nil {
			s.fail(x, err)
		}
		return nil
	}
}

// handle takes a request through the decision, which every route but the open
// ones needs, to its handler.
func (s *Server) handle(c *fiber.Ctx, x *exchange) error {
	r := x.route
	if r.access == open {
		return r.handle(x)
	}
	x.request = s.boundary(c, x)
	if err := s.decide(x); err != nil {
		return err
	}
	if x.decision.Effect != engine.Allow {
		return x.refuse()
	}
	switch {
	case x.request.Size > int64(r.maxBody):
		return detail(fiber.StatusRequestEntityTooLarge, fmt.Sprintf("Request body is over %d bytes", r.maxBody))
	case r.method != "" && r.param != "" && x.decision.Resource == nil:
		return notFound(r.resource, x.id())
	}
	return r.handle(x)
}

// decide asks for the decision and tells the client of it in headers.
func (s *Server) decide(x *exchange) error {
	decision, err := s.decider.Decide(x.ctx, &x.request)
	if err != nil {
		s.metrics.undecided(err)
		return fmt.Errorf("deciding: %w", err)
	}
	x.decision = decision
	s.metrics.decided(&x.decision, s.clock.Now().Sub(x.started))
	x.decisionHeaders()
	return nil
}

// decisionHeaders tells the client of the decision.
func (x *exchange) decisionHeaders() {
	x.header(headerDecisionID, x.decision.ID)
	x.rateLimitHeaders(&x.decision)
}

// refuse answers a request that may not pass.
func (x *exchange) refuse() error {
	switch x.decision.Effect {
	case engine.Unauthenticated:
		x.header(headerAuthenticate, `ApiKey realm="twyn"`)
		x.send(fiber.StatusUnauthorized, []byte(`{"detail":"Invalid or missing API key"}`))
		return nil
	case engine.Throttle:
		return x.throttled(&x.decision)
	case engine.Deny:
		if message := x.decision.Reason().Message; message != "" {
			return forbidden(message)
		}
		return forbidden("Access denied") // by a policy that did not say why
	default:
		return fmt.Errorf("decision has the unknown effect %q", x.decision.Effect)
	}
}

// body returns the members of the request's JSON body, an object. An absent
// body is an empty object where the route says so.
func (x *exchange) body(f *form, need presence) (*fields, error) {
	v, at, err := x.bodyValue(f, need)
	if err != nil || v == nil {
		return nil, err
	}
	return f.object(v, at), nil
}

// bodyValue reads the request's body as JSON.
func (x *exchange) bodyValue(f *form, need presence) (*value, *place, error) {
	at := &place{nil, "body"}
	raw := x.fast.Request.Body()
	if len(raw) == 0 {
		if need == required {
			f.fail(at, "missing", "Field required")
			return nil, at, nil
		}
		return &value{kind: kindObject}, at, nil
	}
	header := &x.fast.Request.Header
	if !isJSON(string(header.ContentType())) || len(bytes.TrimSpace(header.ContentEncoding())) > 0 {
		return nil, at, detail(fiber.StatusUnsupportedMediaType, "Content-Type must be application/json, without a Content-Encoding")
	}
	v, err := parseJSON(raw)
	return &v, at, err
}

// isJSON reports whether a Content-Type is JSON in UTF-8.
func isJSON(contentType string) bool {
	media, rest, _ := strings.Cut(contentType, ";")
	if !strings.EqualFold(strings.TrimSpace(media), mediaJSON) {
		return false
	}
	name, charset, found := strings.Cut(strings.TrimSpace(rest), "=")
	if !found {
		return strings.TrimSpace(rest) == ""
	}
	return !strings.EqualFold(name, "charset") || strings.EqualFold(strings.Trim(charset, `"`), "utf-8")
}
