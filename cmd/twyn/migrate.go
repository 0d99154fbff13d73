package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/server/postgres"
	"github.com/twyn/twyn/server/postgres/private"
)

func (c *cli) newMigrate() *cobra.Command {
	return group("migrate", "Bring the database up to date, or see whether it is",
		&cobra.Command{
			Use: "up", Short: "Run the pending migrations", Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.migrate(cmd, true) },
		},
		&cobra.Command{
			Use: "status", Short: "List the migrations and whether they have run", Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return c.migrate(cmd, false) },
		})
}

// migrationStatus is a row of what migrate prints.
type migrationStatus struct {
	Version int64  `json:"version"`
	Name    string `json:"name"`
	Applied bool   `json:"applied"`
}

func (c *cli) migrate(cmd *cobra.Command, up bool) error {
	cfg, logger, err := c.configure(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	url := cfg.OwnerURL
	if url == "" {
		cluster, err := private.Start(ctx, private.Options{DataDir: cfg.DataDir, Logger: logger})
		if err != nil {
			return fmt.Errorf("starting the private PostgreSQL (DATABASE_URL is not set): %w", err)
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
			defer cancel()
			if err := cluster.Stop(ctx); err != nil {
				logger.Error("stopping the private PostgreSQL", "error", err)
			}
		}()
		url = cluster.URL()
	}
	if up {
		if err := postgres.Migrate(ctx, url, logger); err != nil {
			return fmt.Errorf("migrating: %w", err)
		}
	}
	migrations, err := postgres.MigrationStatus(ctx, url)
	if err != nil {
		return fmt.Errorf("reading the migration status: %w", err)
	}
	list := make([]migrationStatus, len(migrations))
	for i, m := range migrations {
		list[i] = migrationStatus{m.Version, m.Name, m.Applied}
	}
	return c.print(cmd.OutOrStdout(), map[string]any{"migrations": list}, func(w io.Writer) {
		for _, m := range list {
			state := "pending"
			if m.Applied {
				state = "applied"
			}
			_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", m.Version, state, m.Name)
		}
	})
}
