package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/clock"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server"
	"github.com/twyn/twyn/server/bundles"
	"github.com/twyn/twyn/server/decisionlog"
	"github.com/twyn/twyn/server/openapi"
)

func (c *cli) newServe() *cobra.Command {
	return &cobra.Command{
		Use: "serve", Short: "Serve the API", Args: args(cobra.NoArgs),
		Long: "Serve the API.\n\nWithout DATABASE_URL twyn runs a private PostgreSQL in its data directory. On an empty\n" +
			"database it makes the tenant demo and prints its first API key, once, on standard output.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, logger, err := c.configure(cmd)
			if err != nil {
				return err
			}
			m := &Main{config: cfg, logger: logger, stdout: cmd.OutOrStdout()}
			return m.Run(cmd.Context())
		},
	}
}

const (
	housekeeping  = time.Minute
	metricsHeader = 5 * time.Second
)

// Main is one running twyn server. Its methods, top to bottom, are the wiring.
type Main struct {
	config *config
	logger *slog.Logger
	stdout io.Writer

	db       *database
	policies *policies.Engine
	desk     *policies.Desk
	bundle   *bundles.Source // nil: policies come from elsewhere
	keys     *engine.KeyCache
	ledger   *quota.Durable
	usage    *engine.UsageMeter
	metrics  *server.Metrics
	log      *decisionlog.Log
	server   *server.Server
}

// Run serves until ctx ends or something that cannot be done without fails.
// It drains requests, and then writes down usage and limits, before it returns.
func (m *Main) Run(ctx context.Context) (err error) {
	// Listening comes first: an address in use is the likeliest mistake and
	// must not cost the start of a database.
	listener, metricsListener, err := m.listen(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeListeners(listener, metricsListener)) }()
	if m.db, err = openDatabase(ctx, m.config, m.logger); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.db.Close(ctx)) }()
	if err := m.assemble(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.settle(ctx)) }()

	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return m.watchPolicies(running) })
	group.Go(func() error { return m.watchRevocations(running) })
	group.Go(func() error { return m.flush(running) })
	group.Go(func() error { return m.sweep(running) })
	if metricsListener != nil {
		group.Go(func() error { return m.serveMetrics(running, metricsListener) })
	}
	group.Go(func() error { return m.server.Serve(running, listener) })
	m.logger.Info("listening", "addr", listener.Addr().String(), "version", version)
	if err := m.welcome(running, listener.Addr().String()); err != nil {
		m.logger.Error("making the first tenant", "error", err)
	}
	return group.Wait()
}

func (m *Main) listen(ctx context.Context) (api, metrics net.Listener, err error) {
	var lc net.ListenConfig
	if api, err = lc.Listen(ctx, "tcp", m.config.Addr); err != nil {
		return nil, nil, fmt.Errorf("TWYN_ADDR (--addr): %w", err)
	}
	if m.config.MetricsAddr == "" {
		return api, nil, nil
	}
	if metrics, err = lc.Listen(ctx, "tcp", m.config.MetricsAddr); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("TWYN_METRICS_ADDR (--metrics-addr): %w", err), api.Close())
	}
	return api, metrics, nil
}

// assemble joins the parts: stores below, engine in the middle, HTTP on top.
func (m *Main) assemble(ctx context.Context) error {
	guard, err := m.openPolicies(ctx)
	if err != nil {
		return err
	}
	if m.keys, err = engine.NewKeyCache(m.db, m.config.MaxKeys); err != nil {
		return err
	}
	if m.ledger, err = quota.NewDurable(m.db, quota.Options{MaxCounters: m.config.MaxCounters}); err != nil {
		return err
	}
	m.usage = engine.NewUsageMeter(m.db)
	m.metrics = server.NewMetrics(version)
	registerPolicyMetrics(m.metrics.Registry(), m.policies)
	if err := m.openLog(ctx); err != nil {
		return err
	}
	decider, err := engine.New(engine.Config{
		Keys: m.keys, Resources: m.db, Policy: guard, Ledger: m.ledger,
		Recorders: []engine.Recorder{m.usage, m.log}, NewID: engine.NewDecisionID, Logger: m.logger,
	})
	if err != nil {
		return err
	}
	m.server, err = server.New(server.Options{
		Decider: decider, Keys: m.db, Tenants: m.db, Scenarios: m.db, Simulations: m.db, Decisions: m.db, Resolver: m.db,
		Usage: m.usage, Revoker: revoker{m.keys}, Pinger: m.db, Metrics: m.metrics, Logger: m.logger,
		Clock: clock.System{}, Random: rand.Reader, Document: openapi.Document(), Page: openapi.Page(), PageCSP: openapi.PageCSP(),
		Policies: m.desk, Explainer: m.desk, PolicyHeaders: m.config.PolicyHeaders, DrainTimeout: m.config.ShutdownTimeout,
	})
	return err
}

// settle writes down what requests left in memory. It does so after the last
// request was answered, even though ctx has ended by then.
func (m *Main) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return errors.Join(m.usage.Flush(ctx), m.ledger.Close(ctx), m.log.Close(ctx))
}

// revoker makes this process forget what it knows of a key or tenant. Other
// replicas hear of it from the database.
type revoker struct{ keys *engine.KeyCache }

func (r revoker) RevokeKey(_ context.Context, _, keyID string) error {
	r.keys.Forget(keyID)
	return nil
}

func (r revoker) RevokeTenant(_ context.Context, tenantID string) error {
	r.keys.ForgetTenant(tenantID)
	return nil
}

// watchRevocations forgets what other processes, the command line among them,
// have changed.
func (m *Main) watchRevocations(ctx context.Context) error {
	err := m.db.Listen(ctx, func(_, keyID string) { m.keys.Forget(keyID) }, m.keys.ForgetTenant, m.keys.ForgetAll)
	if ctx.Err() == nil {
		return err
	}
	return nil // the end of ctx is no failure
}

// flush writes usage down now and then; what fails is tried again.
func (m *Main) flush(ctx context.Context) error {
	return every(ctx, m.config.FlushInterval, func() {
		if err := m.usage.Flush(ctx); err != nil && ctx.Err() == nil {
			m.logger.Warn("usage not written yet", "error", err)
		}
	})
}

// sweep deletes what has expired.
func (m *Main) sweep(ctx context.Context) error {
	return every(ctx, housekeeping, func() {
		if err := m.db.DeleteExpired(ctx, nowMicro()); err != nil && ctx.Err() == nil {
			m.logger.Warn("expired rows not deleted yet", "error", err)
		}
		if err := m.db.KeepDecisions(ctx, nowMicro(), m.config.DecisionRetention); err != nil && ctx.Err() == nil {
			m.logger.Warn("decision log not kept in order yet", "error", err)
		}
	})
}

func (m *Main) serveMetrics(ctx context.Context, listener net.Listener) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.metrics.Handler())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: metricsHeader}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	m.logger.Info("metrics listening", "addr", listener.Addr().String())
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics: %w", err)
	}
	return nil
}

// welcome makes the tenant demo on an empty database and shows its first key
// on standard output, which is not the log, once.
func (m *Main) welcome(ctx context.Context, addr string) error {
	made, err := newTenant(ctx, "demo", func(ctx context.Context, t engine.Tenant, k engine.Key, secret engine.Digest) error {
		first, err := m.db.CreateFirstTenant(ctx, t, k, secret)
		if err == nil && !first {
			return engine.ErrConflict
		}
		return err
	})
	if errors.Is(err, engine.ErrConflict) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.stdout, welcomeText, addr, made.APIKey, addr, addr, addr)
	return err
}

// welcomeText shows the key in a form that can be pasted into a shell, and
// only there.
const welcomeText = `
twyn serves http://%s/v1 (documentation: /docs)

The database was empty, so tenant "demo" was made. This is its first API key,
shown this once; store it now:

    export TWYN_API_KEY=%s

With that, three requests to try:

    curl http://%s/v1/keys -H "X-API-Key: $TWYN_API_KEY"

    curl -X POST http://%s/v1/keys -H "X-API-Key: $TWYN_API_KEY" \
      -H "Content-Type: application/json" -d '{"name": "Development Server", "rate_limit": 500, "expires_in_days": 90}'

    curl -X POST http://%s/v1/simulations -H "X-API-Key: $TWYN_API_KEY" \
      -H "Content-Type: application/json" -d '{"prompt": "What happens at twice the traffic?"}'

`

// every does something at an interval until ctx ends.
func every(ctx context.Context, interval time.Duration, do func()) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			do()
		}
	}
}

// closeListeners closes what nobody served; a served one is closed already.
func closeListeners(listeners ...net.Listener) error {
	var errs []error
	for _, l := range listeners {
		if l == nil {
			continue
		}
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
