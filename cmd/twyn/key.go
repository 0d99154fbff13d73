package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/engine"
)

const (
	maxNameRunes = 100
	maxKeyDays   = 3650
	// listPage is how many rows a list reads at a time.
	listPage = 500
)

func (c *cli) newKey() *cobra.Command {
	var tenantID string
	list := &cobra.Command{
		Use: "list --tenant TENANT_ID", Short: "List the API keys of a tenant, newest first", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
				return c.listKeys(ctx, cmd.OutOrStdout(), db, tenantID)
			})
		},
	}
	list.Flags().StringVar(&tenantID, "tenant", "", "id of the tenant")
	_ = list.MarkFlagRequired("tenant")
	return group("key", "Make, list and revoke API keys", c.newKeyCreate(), list,
		&cobra.Command{
			Use: "revoke KEY_ID", Short: "Delete an API key for good", Args: args(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
					return c.revokeKey(ctx, cmd.OutOrStdout(), db, args[0])
				})
			},
		})
}

// keyOrder is what key create is told.
type keyOrder struct {
	tenantID, name, environment string
	rateLimit                   int64
	expiresInDays               int
	scopes                      []string
}

func (c *cli) newKeyCreate() *cobra.Command {
	var o keyOrder
	cmd := &cobra.Command{
		Use: "create --tenant TENANT_ID --name NAME", Short: "Make an API key and print it, once",
		Example: "  twyn key create --tenant ten_… --name \"CI\" --environment test --rate-limit 500 --expires-in-days 90",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withDatabase(cmd, func(ctx context.Context, db *database) error {
				return c.createKey(ctx, cmd.OutOrStdout(), db, o)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.tenantID, "tenant", "", "id of the tenant")
	f.StringVar(&o.name, "name", "", "name of the key, 1 to 100 characters")
	f.StringVar(&o.environment, "environment", "live", "live or test")
	f.Int64Var(&o.rateLimit, "rate-limit", engine.DefaultRateLimit, "requests per hour")
	f.IntVar(&o.expiresInDays, "expires-in-days", 0, "days until the key expires; 0: never")
	f.StringSliceVar(&o.scopes, "scopes", []string{"*"}, "what the key may do")
	_ = cmd.MarkFlagRequired("tenant")
	_ = cmd.MarkFlagRequired("name")
	return cmd
}

// check names everything that is wrong with an order at once.
func (o *keyOrder) check() error {
	var errs []error
	if n := utf8.RuneCountInString(o.name); n < 1 || n > maxNameRunes {
		errs = append(errs, fmt.Errorf("--name has %d characters: want 1 to %d", n, maxNameRunes))
	}
	if !engine.Environment(o.environment).Valid() {
		errs = append(errs, fmt.Errorf("--environment %q: want live or test", o.environment))
	}
	if o.rateLimit < 1 || o.rateLimit > engine.MaxRateLimit {
		errs = append(errs, fmt.Errorf("--rate-limit %d: want 1 to %d", o.rateLimit, engine.MaxRateLimit))
	}
	if o.expiresInDays < 0 || o.expiresInDays > maxKeyDays {
		errs = append(errs, fmt.Errorf("--expires-in-days %d: want 1 to %d, or 0 for never", o.expiresInDays, maxKeyDays))
	}
	for _, scope := range o.scopes {
		if err := engine.ValidateScope(scope); err != nil {
			errs = append(errs, fmt.Errorf("--scopes: %w", err))
		} else if engine.IsOperatorScope(scope) && o.tenantID != engine.PlatformTenantID {
			errs = append(errs, fmt.Errorf("--scopes: %s is for keys of the platform tenant only", scope))
		}
	}
	if len(errs) > 0 {
		return usageError{errors.Join(errs...)}
	}
	return nil
}

func (c *cli) createKey(ctx context.Context, w io.Writer, db *database, o keyOrder) error {
	if err := o.check(); err != nil {
		return err
	}
	if _, err := db.Tenant(ctx, o.tenantID); errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("tenant with ID %s not found", o.tenantID)
	} else if err != nil {
		return fmt.Errorf("finding the tenant: %w", err)
	}
	now := nowMicro()
	key, credential, err := newKey(o.tenantID, o.name, engine.Environment(o.environment), o.scopes, now)
	if err != nil {
		return err
	}
	key.RateLimit = o.rateLimit
	if o.expiresInDays > 0 {
		key.ExpiresAt = now.AddDate(0, 0, o.expiresInDays)
	}
	if err := db.CreateKey(ctx, key, credential.Digest()); err != nil {
		return fmt.Errorf("creating the key: %w", err)
	}
	made := struct {
		KeyID    string `json:"key_id"`
		APIKey   string `json:"api_key"`
		TenantID string `json:"tenant_id"`
		Name     string `json:"name"`
	}{key.ID, string(credential), key.TenantID, key.Name}
	return c.print(w, made, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "key\t%s\t%s\n\n%s\n\nThis API key is shown once. Store it now.\n", key.ID, key.Name, string(credential))
	})
}

// newKey makes an active key with the default rate limit, and its secret.
func newKey(tenantID, name string, env engine.Environment, scopes engine.Scopes, now time.Time) (engine.Key, engine.Credential, error) {
	credential, err := engine.NewCredential(rand.Reader, env)
	if err != nil {
		return engine.Key{}, "", err
	}
	return engine.Key{
		ID: engine.NewKeyID(), TenantID: tenantID, Name: name, Environment: env, Active: true,
		RateLimit: engine.DefaultRateLimit, Scopes: scopes, Metadata: map[string]any{}, CreatedAt: now,
	}, credential, nil
}

// keyRow is an API key as the command line prints it.
type keyRow struct {
	KeyID       string   `json:"key_id"`
	TenantID    string   `json:"tenant_id"`
	Name        string   `json:"name"`
	Environment string   `json:"environment"`
	IsActive    bool     `json:"is_active"`
	RateLimit   int64    `json:"rate_limit"`
	Scopes      []string `json:"scopes"`
	CreatedAt   string   `json:"created_at"`
	ExpiresAt   *string  `json:"expires_at"`
	LastUsedAt  *string  `json:"last_used_at"`
	UsageCount  int64    `json:"usage_count"`
}

func (c *cli) listKeys(ctx context.Context, w io.Writer, db *database, tenantID string) error {
	if _, err := db.Tenant(ctx, tenantID); errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("tenant with ID %s not found", tenantID)
	} else if err != nil {
		return fmt.Errorf("finding the tenant: %w", err)
	}
	rows := []keyRow{}
	total := 1
	for len(rows) < total {
		keys, n, err := db.Keys(ctx, tenantID, engine.Live.Visible(), engine.Page{Limit: listPage, Offset: len(rows)})
		if err != nil {
			return fmt.Errorf("listing keys: %w", err)
		}
		if total = n; len(keys) == 0 {
			break
		}
		for _, k := range keys {
			rows = append(rows, keyRow{
				k.ID, k.TenantID, k.Name, string(k.Environment), k.Active, k.RateLimit, k.Scopes,
				formatTime(k.CreatedAt), formatOptional(k.ExpiresAt), formatOptional(k.LastUsedAt), k.UsageCount,
			})
		}
	}
	return c.print(w, map[string]any{"keys": rows, "total": len(rows)}, func(w io.Writer) {
		_, _ = fmt.Fprintln(w, "KEY\tNAME\tENVIRONMENT\tACTIVE\tLIMIT/H\tUSED\tSCOPES")
		for _, k := range rows {
			_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%t\t%d\t%d\t%s\n", k.KeyID, k.Name, k.Environment, k.IsActive, k.RateLimit, k.UsageCount, strings.Join(k.Scopes, ","))
		}
	})
}

func (c *cli) revokeKey(ctx context.Context, w io.Writer, db *database, keyID string) error {
	resource, err := db.FindResource(ctx, engine.Target{Type: "key", ID: keyID})
	if err == nil {
		err = db.DeleteKey(ctx, resource.TenantID, keyID)
	}
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return fmt.Errorf("key with ID %s not found", keyID)
	case err != nil:
		return fmt.Errorf("revoking the key: %w", err)
	}
	return c.print(w, map[string]string{"key_id": keyID, "status": "revoked"}, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s\trevoked\n", keyID)
	})
}

// nowMicro is the time in the precision that is stored.
func nowMicro() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func formatOptional(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := formatTime(t)
	return &s
}
