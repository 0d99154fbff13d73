package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
)

// Resolver finds who owns a resource that a request names in its body;
// engine.Resources with another name, because the engine asks about the one in
// the path.
type Resolver interface {
	FindResource(ctx context.Context, target engine.Target) (engine.Resource, error)
}

// Options is what a Server is made of. The stores, the decider and the two
// documents are required; everything below them has a default.
type Options struct {
	Decider     Decider
	Keys        KeyStore
	Tenants     TenantStore
	Scenarios   ScenarioStore
	Simulations SimulationStore
	Decisions   DecisionStore
	Usage       UsageCounter
	Revoker     Revoker
	Pinger      Pinger
	Resolver    Resolver

	Policies  PolicyDesk // nil: policies are not managed here
	Explainer Explainer  // nil: decisions are shown without the rules that held

	Document []byte // JSON of /openapi.json
	Page     []byte // HTML of /docs
	PageCSP  string // its Content-Security-Policy; "": only styles of its own

	Logger  *slog.Logger // nil: silent
	Metrics *Metrics     // nil: new ones
	Clock   clock.Clock  // nil: the machine's
	Random  io.Reader    // of secrets and ids; nil: crypto/rand

	// PolicyHeaders are the request headers that policies may see, in lower
	// case. nil: accept, content-type, origin and user-agent.
	PolicyHeaders []string

	ReadTimeout    time.Duration // of a whole request; 0: 10 s
	WriteTimeout   time.Duration // of a whole answer; 0: 30 s
	IdleTimeout    time.Duration // of a connection between requests; 0: 60 s
	RequestTimeout time.Duration // of decision and handler; 0: 10 s
	DrainTimeout   time.Duration // of a graceful stop; 0: 15 s
}

// Bounds that the listener holds every request to before anything reads it.
const (
	hardBodyLimit  = 4 << 20
	readBufferSize = 16 << 10 // the largest request head
)

// Server answers HTTP requests. It is safe for concurrent use.
type Server struct {
	decider     Decider
	keys        KeyStore
	tenants     TenantStore
	scenarios   ScenarioStore
	simulations SimulationStore
	decisions   DecisionStore
	explainer   Explainer
	policies    PolicyDesk
	usage       UsageCounter
	revoker     Revoker
	pinger      Pinger
	resolver    Resolver
	document    []byte
	page        []byte
	pageCSP     string
	logger      *slog.Logger
	metrics     *Metrics
	clock       clock.Clock
	random      io.Reader

	headers        []string          // that policies may see
	none           map[string]string // empty, shared, never written to
	requestTimeout time.Duration
	drainTimeout   time.Duration

	app      *fiber.App
	fast     *fasthttp.Server
	router   fasthttp.RequestHandler
	draining atomic.Bool
	// base ends when a graceful stop has run out of time; every request's
	// context is its child.
	base   context.Context
	cancel context.CancelFunc
	ended  context.Context // has ended from the start
}

// New returns a server made of the parts in o.
func New(o Options) (*Server, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s := &Server{
		decider: o.Decider, keys: o.Keys, tenants: o.Tenants, scenarios: o.Scenarios, simulations: o.Simulations,
		decisions: o.Decisions, explainer: o.Explainer, policies: o.Policies,
		usage: o.Usage, revoker: o.Revoker, pinger: o.Pinger, resolver: o.Resolver, document: o.Document, page: o.Page, pageCSP: o.PageCSP,
		logger: o.Logger, metrics: o.Metrics, clock: o.Clock, random: o.Random,
		headers: o.PolicyHeaders, none: map[string]string{}, requestTimeout: o.RequestTimeout, drainTimeout: o.DrainTimeout,
	}
	s.base, s.cancel = context.WithCancel(context.Background())
	ended, end := context.WithCancel(context.Background())
	end()
	s.ended = ended
	s.app = fiber.New(fiber.Config{
		DisableStartupMessage:        true,
		StrictRouting:                true,
		CaseSensitive:                true,
		DisablePreParseMultipartForm: true,
		BodyLimit:                    hardBodyLimit,
		ReadBufferSize:               readBufferSize,
		ReadTimeout:                  o.ReadTimeout,
		WriteTimeout:                 o.WriteTimeout,
		IdleTimeout:                  o.IdleTimeout,
		RequestMethods:               append(slices.Clone(fiber.DefaultMethods), otherMethod),
	})
	s.mount()
	s.router = s.app.Handler()
	s.fast = s.app.Server()
	s.fast.Handler = s.serve
	s.fast.ErrorHandler = s.unreadable
	s.fast.HeaderReceived = headReceived
	s.fast.CloseOnShutdown = true
	return s, nil
}

// complete checks what is required and fills in the defaults.
func (o *Options) complete() error {
	for name, missing := range map[string]bool{
		"Decider": o.Decider == nil, "Keys": o.Keys == nil, "Tenants": o.Tenants == nil, "Scenarios": o.Scenarios == nil,
		"Simulations": o.Simulations == nil, "Decisions": o.Decisions == nil, "Usage": o.Usage == nil, "Revoker": o.Revoker == nil, "Pinger": o.Pinger == nil,
		"Resolver": o.Resolver == nil, "Document": len(o.Document) == 0, "Page": len(o.Page) == 0,
	} {
		if missing {
			return errors.New(name + " is required")
		}
	}
	if o.PolicyHeaders == nil {
		o.PolicyHeaders = []string{"accept", "content-type", "origin", "user-agent"}
	}
	for _, name := range o.PolicyHeaders {
		if name != strings.ToLower(name) || slices.Contains([]string{"x-api-key", "authorization", "proxy-authorization", "cookie"}, name) {
			return fmt.Errorf("header %q cannot be shown to policies: want lower case and no credential", name)
		}
	}
	if o.PageCSP == "" {
		o.PageCSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics("")
	}
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	for _, d := range []struct {
		value     *time.Duration
		otherwise time.Duration
	}{
		{&o.ReadTimeout, 10 * time.Second},
		{&o.WriteTimeout, 30 * time.Second},
		{&o.IdleTimeout, time.Minute},
		{&o.RequestTimeout, 10 * time.Second},
		{&o.DrainTimeout, 15 * time.Second},
	} {
		if *d.value == 0 {
			*d.value = d.otherwise
		}
		if *d.value < 0 {
			return errors.New("a timeout is negative")
		}
	}
	return nil
}

// Serve answers requests from ln until ctx ends. Then it stops accepting, lets
// running requests finish, for at most the drain timeout, and returns; the
// requests still running then lose their context and an error says so. It
// closes ln. A Server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.cancel()
	served := make(chan error, 1)
	go func() { served <- s.fast.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving HTTP: %w", err)
	case <-ctx.Done():
	}
	s.draining.Store(true)
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.drainTimeout)
	defer cancel()
	err := s.fast.ShutdownWithContext(stop)
	_ = ln.Close() // once more: Serve may not have known of ln when it was told to stop
	if err := errors.Join(err, <-served); err != nil {
		return fmt.Errorf("draining HTTP: %w", err)
	}
	return nil
}

// Handler answers one request of fasthttp, for benchmarks and other servers.
func (s *Server) Handler() fasthttp.RequestHandler { return s.serve }

// Test answers one request without a listener.
func (s *Server) Test(request *http.Request) (*http.Response, error) {
	const forever = -1
	response, err := s.app.Test(request, forever)
	if err != nil {
		return nil, fmt.Errorf("testing a request: %w", err)
	}
	return response, nil
}

// MetricsHandler serves the metrics; it belongs on a listener of its own.
func (s *Server) MetricsHandler() http.Handler { return s.metrics.Handler() }

var _ Decider = (*engine.Engine)(nil)
