package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/engine"
)

func (c *cli) newTenant() *cobra.Command {
	var operator bool
	create := &cobra.Command{
		Use: "create NAME", Short: "Make a tenant and print its first API key, once",
		Long: "Make a tenant and print its first API key. The key is shown once and cannot be shown again.\n\n" +
			"With --operator the key belongs to the platform tenant and may manage tenants and policies.",
		Example: "  twyn tenant create acme\n  twyn tenant create ops --operator --json",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
				return c.createTenant(ctx, cmd.OutOrStdout(), db, args[0], operator)
			})
		},
	}
	create.Flags().BoolVar(&operator, "operator", false, "make the key one of the platform tenant, with operator scopes")
	return group("tenant", "Make, list and disable tenants", create,
		&cobra.Command{
			Use: "list", Short: "List the tenants, newest first", Args: args(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
					return c.listTenants(ctx, cmd.OutOrStdout(), db)
				})
			},
		},
		c.newTenantSwitch("disable", "Refuse every request of a tenant", false),
		c.newTenantSwitch("enable", "Let a disabled tenant in again", true))
}

func (c *cli) newTenantSwitch(use, short string, active bool) *cobra.Command {
	return &cobra.Command{
		Use: use + " TENANT_ID", Short: short, Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
				if args[0] == engine.PlatformTenantID && !active {
					return usageError{errors.New("the platform tenant cannot be disabled: nobody could enable it again")}
				}
				tenant, err := db.SetTenantActive(ctx, args[0], active)
				if errors.Is(err, engine.ErrNotFound) {
					return fmt.Errorf("tenant with ID %s not found", args[0])
				}
				if err != nil {
					return err
				}
				return c.print(cmd.OutOrStdout(), newTenantRow(tenant), func(w io.Writer) {
					_, _ = fmt.Fprintf(w, "%s\t%s\tactive: %t\n", tenant.ID, tenant.Name, tenant.Active)
				})
			})
		},
	}
}

// createdTenant is what tenant create prints, and all of it.
type createdTenant struct {
	TenantID string `json:"tenant_id"`
	Name     string `json:"name"`
	KeyID    string `json:"key_id"`
	APIKey   string `json:"api_key"`
}

func (c *cli) createTenant(ctx context.Context, w io.Writer, db *database, name string, operator bool) error {
	if n := utf8.RuneCountInString(name); n < 1 || n > maxNameRunes || !utf8.ValidString(name) {
		return usageError{fmt.Errorf("NAME has %d characters: want 1 to %d", n, maxNameRunes)}
	}
	var made createdTenant
	var err error
	if operator {
		made, err = newOperator(ctx, db, name)
	} else {
		made, err = newTenant(ctx, name, db.CreateTenant)
	}
	if err != nil {
		return err
	}
	return c.print(w, made, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "tenant\t%s\t%s\nkey\t%s\n\n%s\n\nThis API key is shown once. Store it now.\n",
			made.TenantID, made.Name, made.KeyID, made.APIKey)
	})
}

// newTenant makes a tenant and its first key and stores both with create.
func newTenant(ctx context.Context, name string, create func(context.Context, engine.Tenant, engine.Key, engine.Digest) error) (createdTenant, error) {
	now := nowMicro()
	tenant := engine.Tenant{ID: engine.NewTenantID(), Name: name, Active: true, CreatedAt: now}
	key, credential, err := newKey(tenant.ID, "First key", engine.Live, engine.Scopes{"*"}, now)
	if err != nil {
		return createdTenant{}, err
	}
	if err := create(ctx, tenant, key, credential.Digest()); err != nil {
		return createdTenant{}, fmt.Errorf("creating the tenant: %w", err)
	}
	return createdTenant{tenant.ID, tenant.Name, key.ID, string(credential)}, nil
}

// newOperator makes a key of the platform tenant with operator scopes.
func newOperator(ctx context.Context, db *database, name string) (createdTenant, error) {
	key, credential, err := newKey(engine.PlatformTenantID, name, engine.Live, engine.Scopes{"*", "tenants:*", "policies:*"}, nowMicro())
	if err != nil {
		return createdTenant{}, err
	}
	if err := db.CreateKey(ctx, key, credential.Digest()); err != nil {
		return createdTenant{}, fmt.Errorf("creating the operator key: %w", err)
	}
	return createdTenant{engine.PlatformTenantID, name, key.ID, string(credential)}, nil
}

// tenantRow is a tenant as the command line prints it.
type tenantRow struct {
	TenantID  string `json:"tenant_id"`
	Name      string `json:"name"`
	IsActive  bool   `json:"is_active"`
	CreatedAt string `json:"created_at"`
}

func newTenantRow(t engine.Tenant) tenantRow {
	return tenantRow{t.ID, t.Name, t.Active, formatTime(t.CreatedAt)}
}

func (c *cli) listTenants(ctx context.Context, w io.Writer, db *database) error {
	rows := []tenantRow{}
	total := 1
	for len(rows) < total {
		tenants, n, err := db.Tenants(ctx, engine.Page{Limit: listPage, Offset: len(rows)})
		if err != nil {
			return fmt.Errorf("listing tenants: %w", err)
		}
		if total = n; len(tenants) == 0 {
			break
		}
		for _, t := range tenants {
			rows = append(rows, newTenantRow(t))
		}
	}
	return c.print(w, map[string]any{"tenants": rows, "total": len(rows)}, func(w io.Writer) {
		_, _ = fmt.Fprintln(w, "TENANT\tNAME\tACTIVE\tCREATED")
		for _, t := range rows {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", t.TenantID, t.Name, t.IsActive, t.CreatedAt)
		}
	})
}
