package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server"
	"github.com/twyn/twyn/server/bundles"
)

// followInterval is how often this process looks what is live without having
// been told, in case it was told while it could not read.
const followInterval = 10 * time.Second

// openPolicies makes the policies live that the settings, or else the database,
// say, and returns the guard before them. A directory wins over the database,
// and so does a bundle server.
func (m *Main) openPolicies(ctx context.Context) (engine.Policy, error) {
	options := m.policyOptions()
	desk := policies.DeskOptions{Options: options, BundleKey: m.bundleKey(), Logger: m.logger}
	var err error
	switch {
	case m.config.PolicyDir != "":
		desk.Pinned = "TWYN_POLICY_DIR"
		if desk.Set, err = policies.Load(ctx, os.DirFS(m.config.PolicyDir), options); err != nil {
			return nil, fmt.Errorf("TWYN_POLICY_DIR (--policy-dir): %w", err)
		}
	case m.config.PolicyBundleURL != "":
		// Until there is a good bundle nothing is allowed.
		desk.Pinned = "TWYN_POLICY_BUNDLE_URL"
		if desk.Set, err = policies.Closed(ctx, options); err != nil {
			return nil, err
		}
		m.bundle = &bundles.Source{URL: m.config.PolicyBundleURL}
	}
	if m.desk, err = policies.OpenDesk(ctx, m.db, desk); err != nil {
		return nil, err
	}
	if m.bundle != nil {
		m.bundle.Once(ctx, m.desk.Take, m.logger)
	}
	m.policies = m.desk.Engine()
	m.logger.Info("policy loaded", "revision", m.policies.Live().Revision())
	m.policies.Live().LogCosts(ctx, m.logger)
	return policies.NewGuard(ctx, m.policies, options)
}

// bundleKey is what verifies bundles; nil: they need no signature.
func (m *Main) bundleKey() *policies.BundleKey {
	if m.config.PolicyBundleKey == "" {
		return nil
	}
	return &policies.BundleKey{Key: m.config.PolicyBundleKey, Algorithm: m.config.PolicyBundleAlg}
}

// watchPolicies takes over what changes where the policies come from.
func (m *Main) watchPolicies(ctx context.Context) error {
	switch {
	case m.config.PolicyDir != "":
		ticker := time.NewTicker(policies.PollInterval)
		defer ticker.Stop()
		m.policies.Watch(ctx, m.config.PolicyDir, ticker.C, m.logger)
		return nil
	case m.bundle != nil:
		ticker := time.NewTicker(m.config.PolicyBundleInt)
		defer ticker.Stop()
		m.bundle.Poll(ctx, ticker.C, m.desk.Take, m.logger)
		return nil
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		err := m.db.ListenPolicy(running, func() { m.desk.Follow(running) })
		if running.Err() == nil {
			return err
		}
		return nil // the end of the context is no failure
	})
	group.Go(func() error { return every(running, followInterval, func() { m.desk.Follow(running) }) })
	return group.Wait()
}

var (
	_ policies.Store    = (*database)(nil)
	_ server.PolicyDesk = (*policies.Desk)(nil)
)
