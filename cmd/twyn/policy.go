package main

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/twyn/twyn/policies"
)

// policyOptions are the settings of policies. Every set that goes live has them.
func (m *Main) policyOptions() policies.Options {
	entries := m.config.PolicyMemo
	if entries == 0 {
		entries = -1
	}
	return policies.Options{
		Root: m.config.PolicyDir, Evaluator: policies.Evaluator(m.config.PolicyEval), Timeout: m.config.PolicyTimeout,
		MemoEntries: entries, Stats: new(policies.Stats), Logger: m.logger,
	}
}

// registerPolicyMetrics shows what the policies have counted.
func registerPolicyMetrics(registry *prometheus.Registry, live *policies.Engine) {
	counter := func(name, help string, labels prometheus.Labels, read func(policies.Counts) uint64) {
		registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(read(live.Counts())) }))
	}
	const memo, memoHelp = "twyn_policy_memo_total", "Policy decisions by whether they were remembered; bypass: the policy or the request cannot be."
	counter(memo, memoHelp, prometheus.Labels{"result": "hit"}, func(c policies.Counts) uint64 { return c.Hits })
	counter(memo, memoHelp, prometheus.Labels{"result": "miss"}, func(c policies.Counts) uint64 { return c.Misses })
	counter(memo, memoHelp, prometheus.Labels{"result": "bypass"}, func(c policies.Counts) uint64 { return c.Bypasses })
	const runs, runsHelp = "twyn_policy_evaluations_total", "Evaluations of the policy by what ran them."
	counter(runs, runsHelp, prometheus.Labels{"evaluator": "compiled"}, func(c policies.Counts) uint64 { return c.Compiled })
	counter(runs, runsHelp, prometheus.Labels{"evaluator": "interpreted"}, func(c policies.Counts) uint64 { return c.Interpreted })
	counter("twyn_policy_differences_total", "Evaluations on which compiled and interpreted policy did not agree. Must stay 0.", nil,
		func(c policies.Counts) uint64 { return c.Differences })
}
