package server

import (
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/twyn/twyn/engine"
)

// Metrics counts what the server does, on a registry of its own. Its labels
// hold no tenant, key, path or anything else that strangers can multiply.
type Metrics struct {
	registry  *prometheus.Registry
	decisions *prometheus.CounterVec
	decide    prometheus.Histogram
	requests  *prometheus.HistogramVec
	panics    prometheus.Counter
	inFlight  prometheus.Gauge

	mu      sync.RWMutex
	reasons map[string]bool // the policies' own codes that have a label
}

// maxPolicyReasons is how many codes of policies get a label of their own; the
// rest share "other".
const maxPolicyReasons = 64

// NewMetrics returns the metrics of a program of the given version.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "twyn_decisions_total", Help: "Decisions by effect and reason code.",
		}, []string{"outcome", "reason"}),
		decide: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "twyn_decision_duration_seconds", Help: "Time from the arrival of a request to its decision.",
			Buckets: []float64{1e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 2.5},
		}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "twyn_http_request_duration_seconds", Help: "Time from the arrival of a request to its answer.",
			Buckets: []float64{1e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.5, 10},
		}, []string{"route", "method", "status"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "twyn_http_panics_total", Help: "Requests that ended in a panic and were answered 500.",
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "twyn_http_requests_in_flight", Help: "Requests being served.",
		}),
		reasons: map[string]bool{},
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "twyn_build_info", Help: "The running program; always 1.",
	}, []string{"version", "go_version"})
	build.WithLabelValues(version, runtime.Version()).Set(1)
	m.registry.MustRegister(m.decisions, m.decide, m.requests, m.panics, m.inFlight, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Registry is where other parts of the program register metrics of their own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the metrics in the format of Prometheus. It belongs on a
// listener of its own, which strangers do not reach.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// decided counts a decision that was reached.
func (m *Metrics) decided(d *engine.Decision, took time.Duration) {
	m.decisions.WithLabelValues(string(d.Effect), m.reasonLabel(d.Reason().Code)).Inc()
	m.decide.Observe(took.Seconds())
}

// undecided counts a request for which no decision was reached.
func (m *Metrics) undecided(err error) {
	reason := "failed"
	if isUnavailable(err) {
		reason = "unavailable"
	}
	m.decisions.WithLabelValues("error", reason).Inc()
}

// answered counts an answer.
func (m *Metrics) answered(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, methodLabel(method), statusLabel(status)).Observe(took.Seconds())
}

// reasonLabel bounds the label of a reason: the engine's codes, and the first
// codes that policies give.
func (m *Metrics) reasonLabel(code string) string {
	switch code {
	case engine.ReasonAllowed, engine.ReasonKeyAbsent, engine.ReasonKeyRepeated, engine.ReasonKeyMalformed,
		engine.ReasonKeyUnknown, engine.ReasonKeyDisabled, engine.ReasonKeyExpired, engine.ReasonTenantDisabled,
		engine.ReasonDenied, engine.ReasonPolicyError, engine.ReasonPolicyTimeout, engine.ReasonRateLimited:
		return code
	}
	m.mu.RLock()
	known := m.reasons[code]
	m.mu.RUnlock()
	if known {
		return code
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.reasons[code] && (len(m.reasons) >= maxPolicyReasons || len(code) > 64) {
		return "other"
	}
	m.reasons[code] = true
	return code
}

// methodLabel bounds the label of a method.
func methodLabel(method string) string {
	if isKnownMethod(method) {
		return method
	}
	return otherMethod
}

// statusLabel spells the usual statuses without allocating.
func statusLabel(status int) string {
	switch status {
	case http.StatusOK:
		return "200"
	case http.StatusUnauthorized:
		return "401"
	case http.StatusForbidden:
		return "403"
	case http.StatusNotFound:
		return "404"
	case http.StatusTooManyRequests:
		return "429"
	default:
		return strconv.Itoa(status)
	}
}
