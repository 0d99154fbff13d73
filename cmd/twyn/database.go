package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/private"
)

// database is an open store and, if twyn runs its own PostgreSQL, the private
// instance below it.
type database struct {
	*postgres.Store

	cluster *private.Cluster // nil: DATABASE_URL
}

// errPending asks for a migration instead of failing at the first query.
var errPending = errors.New("the database has pending migrations; run: twyn migrate up")

// openDatabase opens DATABASE_URL, or starts or joins the private instance. It
// migrates where the settings say so and refuses a database that is behind.
func openDatabase(ctx context.Context, c *config, logger *slog.Logger) (*database, error) {
	db := new(database)
	url, owner := c.DatabaseURL, c.OwnerURL
	if url == "" {
		cluster, err := private.Start(ctx, private.Options{DataDir: c.DataDir, Logger: logger})
		if err != nil {
			return nil, fmt.Errorf("starting the private PostgreSQL (DATABASE_URL is not set): %w", err)
		}
		db.cluster = cluster
		url, owner = cluster.URL(), cluster.URL()
	}
	if err := db.open(ctx, c, url, owner, logger); err != nil {
		return nil, errors.Join(err, db.Close(ctx))
	}
	return db, nil
}

func (db *database) open(ctx context.Context, c *config, url, owner string, logger *slog.Logger) error {
	if c.Migrate == "true" || (c.Migrate == "auto" && db.cluster != nil) {
		if err := postgres.Migrate(ctx, owner, logger); err != nil {
			return fmt.Errorf("migrating: %w", err)
		}
	} else if pending, err := postgres.Pending(ctx, owner); err != nil {
		return fmt.Errorf("looking for pending migrations: %w", err)
	} else if pending > 0 {
		return errPending
	}
	store, err := postgres.Open(ctx, postgres.Options{URL: url, MaxConns: c.DatabaseConns})
	if err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	db.Store = store
	return nil
}

// Close closes the store and leaves the private instance, which stops when
// nobody else uses it. It does so even if ctx has ended.
func (db *database) Close(ctx context.Context) error {
	var errs []error
	if db.Store != nil {
		errs = append(errs, db.Store.Close())
	}
	if db.cluster != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		errs = append(errs, db.cluster.Stop(ctx))
	}
	return errors.Join(errs...)
}

// stopTimeout bounds how long the private instance may take to stop.
const stopTimeout = 30 * time.Second
