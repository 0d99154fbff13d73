package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// cli is what every command shares.
type cli struct {
	getenv func(string) string
	json   bool
}

func newRoot(getenv func(string) string) *cobra.Command {
	c := &cli{getenv: getenv}
	root := &cobra.Command{
		Use:           "twyn",
		Short:         "Access-policy engine for multi-tenant APIs",
		Long:          "twyn authenticates API keys, decides every request with Rego, and enforces rate limits.\nEvery flag can be set by the environment variable in brackets.",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          args(noCommand),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().BoolVar(&c.json, "json", false, "print JSON and nothing else on standard output")
	addFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(c.newServe(), c.newMigrate(), c.newTenant(), c.newKey(), c.newDecisions(), c.newPolicy(), c.newVersion())
	return root
}

// args marks a wrong number of arguments, or a required flag that is missing,
// as an error of usage.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		err := check(cmd, args)
		if err == nil {
			err = cmd.ValidateRequiredFlags()
		}
		if err != nil {
			return usageError{fmt.Errorf("%w (see %s --help)", err, cmd.CommandPath())}
		}
		return nil
	}
}

// noCommand refuses the name of a command that does not exist.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	}
	return nil
}

// group makes a command that only holds others; on its own it is an error.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: args(noCommand),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{fmt.Errorf("%s wants a command (see %s --help)", cmd.CommandPath(), cmd.CommandPath())}
		},
	}
	cmd.AddCommand(commands...)
	return cmd
}

func (c *cli) newVersion() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := struct {
				Version string `json:"version"`
				Go      string `json:"go"`
			}{version, runtime.Version()}
			return c.print(cmd.OutOrStdout(), v, func(w io.Writer) {
				_, _ = fmt.Fprintf(w, "twyn %s (%s)\n", v.Version, v.Go)
			})
		},
	}
}

// configure reads the settings and makes the logger, which writes to standard
// error so that standard output belongs to results.
func (c *cli) configure(cmd *cobra.Command) (*config, *slog.Logger, error) {
	cfg, err := readConfig(cmd.Flags(), c.getenv)
	if err != nil {
		return nil, nil, err
	}
	options := &slog.HandlerOptions{Level: cfg.LogLevel}
	if cfg.LogFormat == "json" {
		return cfg, slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), options)), nil
	}
	return cfg, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), options)), nil
}

// withDatabase runs a command that needs the database and nothing else.
func (c *cli) withDatabase(cmd *cobra.Command, do func(ctx context.Context, db *database) error) (err error) {
	cfg, logger, err := c.configure(cmd)
	if err != nil {
		return err
	}
	db, err := openDatabase(cmd.Context(), cfg, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close(cmd.Context())) }()
	return do(cmd.Context(), db)
}

// print writes a result as JSON or as text for people.
func (c *cli) print(w io.Writer, result any, text func(w io.Writer)) error {
	if c.json {
		if err := json.NewEncoder(w).Encode(result); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	text(table)
	if err := table.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}
