package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server"
	"github.com/twyn/twyn/server/decisionlog"
)

// openLog opens the decision log and makes room for it in the database.
func (m *Main) openLog(ctx context.Context) (err error) {
	if err := m.db.KeepDecisions(ctx, nowMicro(), m.config.DecisionRetention); err != nil {
		m.logger.Warn("decision log not kept in order yet", "error", err)
	}
	m.log, err = decisionlog.Open(decisionlog.Options{
		Dir: filepath.Join(m.config.DataDir, "decisions"), Store: m.db, Masker: m.policies,
		Sample: m.config.DecisionSample, Rate: m.config.DecisionRate, FlushInterval: m.config.DecisionFlush,
		DiskBytes: int64(m.config.DecisionDisk) << 20, Logger: m.logger,
	})
	if err != nil {
		return fmt.Errorf("TWYN_DATA_DIR (--data-dir): %w", err)
	}
	registerLogMetrics(m.metrics.Registry(), m.log)
	return nil
}

// registerLogMetrics shows what becomes of decisions.
func registerLogMetrics(registry *prometheus.Registry, log *decisionlog.Log) {
	counter := func(name, help string, labels prometheus.Labels, read func(decisionlog.Stats) int64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(read(log.Stats())) }))
	}
	gauge := func(name, help string, read func(decisionlog.Stats) float64) {
		registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return read(log.Stats()) }))
	}
	counter("twyn_decision_log_written_total", "Records written to disk.", nil, func(s decisionlog.Stats) int64 { return s.Written })
	counter("twyn_decision_log_shipped_total", "Records saved to the database.", nil, func(s decisionlog.Stats) int64 { return s.Shipped })
	const left, leftHelp = "twyn_decision_log_left_out_total", "Decisions left out on purpose: by TWYN_DECISION_SAMPLE, or beyond TWYN_DECISION_RATE."
	counter(left, leftHelp, prometheus.Labels{"cause": "sample"}, func(s decisionlog.Stats) int64 { return s.SampledOut })
	counter(left, leftHelp, prometheus.Labels{"cause": "rate"}, func(s decisionlog.Stats) int64 { return s.OverRate })
	const lost, lostHelp = "twyn_decision_log_lost_total", "Records lost. Alarm on any."
	counter(lost, lostHelp, prometheus.Labels{"cause": "memory_full"}, func(s decisionlog.Stats) int64 { return s.RingFull })
	counter(lost, lostHelp, prometheus.Labels{"cause": "disk_full"}, func(s decisionlog.Stats) int64 { return s.DiskFull })
	counter(lost, lostHelp, prometheus.Labels{"cause": "refused"}, func(s decisionlog.Stats) int64 { return s.Refused })
	counter(lost, lostHelp, prometheus.Labels{"cause": "torn"}, func(s decisionlog.Stats) int64 { return s.Torn })
	counter("twyn_decision_log_mask_failures_total", "Records that lost their input because a mask failed.", nil,
		func(s decisionlog.Stats) int64 { return s.MaskFailed })
	gauge("twyn_decision_log_disk_bytes", "Records that wait on disk, in bytes.", func(s decisionlog.Stats) float64 { return float64(s.DiskBytes) })
	gauge("twyn_decision_log_store_away", "1 if the database failed to take the last batch.", func(s decisionlog.Stats) float64 {
		if s.Away {
			return 1
		}
		return 0
	})
}

var (
	_ decisionlog.Masker = (*policies.Engine)(nil)
	_ decisionlog.Store  = (*database)(nil)
	_ server.Explainer   = (*policies.Desk)(nil)
)
