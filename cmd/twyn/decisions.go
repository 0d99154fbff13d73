package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
	"github.com/twyn/twyn/server/client"
)

const (
	tailInterval = time.Second
	// tailOverlap is how far back each look of tail goes: records of several
	// servers do not arrive in the order of their times.
	tailOverlap = 10 * time.Second
	tailFirst   = 10 // decisions that tail begins with
	// whyPatience is how long why waits for a decision that was just made.
	whyPatience = 3 * time.Second
	whyInterval = 100 * time.Millisecond
)

// decisionOrder is what list and tail are told.
type decisionOrder struct {
	filter       client.DecisionFilter
	since, until string
}

func (c *cli) newDecisions() *cobra.Command {
	var listed, followed decisionOrder
	list := &cobra.Command{
		Use: "list", Short: "List decisions, newest first", Args: args(cobra.NoArgs),
		Long:    "List decisions, newest first, of the tenant of TWYN_API_KEY or, for operators, of --tenant.",
		Example: "  twyn decisions list --effect deny --since 1h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withClient(cmd, &listed, func(ctx context.Context, api *client.Client) error {
				return c.listDecisions(ctx, cmd.OutOrStdout(), api, listed.filter)
			})
		},
	}
	listed.flags(list)
	list.Flags().StringVar(&listed.until, "until", "", "only decisions before this time")
	list.Flags().StringVar(&listed.filter.Before, "before", "", "only decisions older than the one with this id")
	list.Flags().IntVar(&listed.filter.Limit, "limit", api.DefaultDecisionLimit, "most decisions to list, 1 to 1000")
	tail := &cobra.Command{
		Use: "tail", Short: "Show decisions as they are made, until interrupted", Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.withClient(cmd, &followed, func(ctx context.Context, api *client.Client) error {
				return c.tailDecisions(ctx, cmd.OutOrStdout(), api, followed.filter)
			})
		},
	}
	followed.flags(tail)
	return group("decisions", "Look into the decision log of a server", list, tail, &cobra.Command{
		Use: "why ID", Short: "Tell why a request was allowed or refused",
		Long:    "Tell why a request was allowed or refused. The id is in the X-Decision-Id of its answer.",
		Example: "  twyn decisions why dec_019aa3b1c2d3e4f5a6b7c8d9e0f1",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withClient(cmd, nil, func(ctx context.Context, api *client.Client) error {
				return c.whyDecision(ctx, cmd.OutOrStdout(), api, args[0])
			})
		},
	})
}

func (o *decisionOrder) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.filter.Tenant, "tenant", "", "id of the tenant, for operators; empty: the key's own")
	f.StringVar(&o.filter.Key, "key", "", "only decisions on requests of the key with this id")
	f.StringVar(&o.filter.Effect, "effect", "", "only decisions of this effect: allow, unauthenticated, deny or throttle")
	f.StringVar(&o.filter.Reason, "reason", "", "only decisions with this reason code")
	f.StringVar(&o.since, "since", "", "only decisions since this time: 2025-11-24T01:00:00Z, or 90m for 90 minutes ago")
}

// times reads since and until.
func (o *decisionOrder) times(now time.Time) (err error) {
	if o.filter.Since, err = readMoment(o.since, now); err != nil {
		return usageError{fmt.Errorf("--since: %w", err)}
	}
	if o.filter.Until, err = readMoment(o.until, now); err != nil {
		return usageError{fmt.Errorf("--until: %w", err)}
	}
	return nil
}

// readMoment reads a time, or how long ago it was; "" is the zero time.
func readMoment(v string, now time.Time) (time.Time, error) {
	if v == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(v); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time such as 2025-11-24T01:00:00Z nor a duration such as 90m", v)
	}
	return at, nil
}

// withClient runs a command that asks a server.
func (c *cli) withClient(cmd *cobra.Command, o *decisionOrder, do func(ctx context.Context, api *client.Client) error) error {
	cfg, _, err := c.configure(cmd)
	if err != nil {
		return err
	}
	if o != nil {
		if err := o.times(time.Now()); err != nil {
			return err
		}
	}
	if cfg.APIKey == "" {
		return usageError{errors.New("TWYN_API_KEY (--api-key) is not set")}
	}
	server, err := client.New(cfg.URL, cfg.APIKey)
	if err != nil {
		return usageError{fmt.Errorf("TWYN_URL (--url): %w", err)}
	}
	return do(cmd.Context(), server)
}

const decisionHeader = "TIME\tDECISION\tEFFECT\tREASON\tKEY\tMETHOD\tPATH\n"

func decisionLine(w io.Writer, d *api.Decision) {
	reason, key := "", "-"
	if len(d.Reasons) > 0 {
		reason = d.Reasons[0].Code
	}
	if d.KeyID != nil {
		key = *d.KeyID
	}
	_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", time.Time(d.At).Format("2006-01-02T15:04:05.000Z"), d.ID, d.Effect,
		printable(reason), key, printable(d.Method), printable(d.Path))
}

// printable keeps what strangers wrote from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

func (c *cli) listDecisions(ctx context.Context, w io.Writer, server *client.Client, filter client.DecisionFilter) error {
	list, err := server.Decisions(ctx, filter)
	if err != nil {
		return err
	}
	return c.print(w, list, func(w io.Writer) {
		_, _ = io.WriteString(w, decisionHeader)
		for i := range list.Items {
			decisionLine(w, &list.Items[i])
		}
	})
}

// tailDecisions prints decisions as they arrive, until ctx ends.
func (c *cli) tailDecisions(ctx context.Context, w io.Writer, server *client.Client, filter client.DecisionFilter) error {
	ticker := time.NewTicker(tailInterval)
	defer ticker.Stop()
	seen := map[string]time.Time{}
	if filter.Since.IsZero() {
		filter.Limit = tailFirst
	} else {
		filter.Limit = api.MaxDecisionLimit
	}
	for first := true; ; first = false {
		fresh, err := newDecisions(ctx, server, filter, seen, !first)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err := c.printTail(w, fresh, first); err != nil {
			return err
		}
		newest := filter.Since
		for id, at := range seen {
			if at.After(newest.Add(tailOverlap)) {
				newest = at.Add(-tailOverlap)
			}
			if at.Before(filter.Since) {
				delete(seen, id)
			}
		}
		filter.Since, filter.Limit = newest, api.MaxDecisionLimit
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// newDecisions returns the decisions that were not seen, oldest first, from one
// page or from all.
func newDecisions(ctx context.Context, server *client.Client, filter client.DecisionFilter, seen map[string]time.Time, all bool) (fresh []api.Decision, err error) {
	for {
		list, err := server.Decisions(ctx, filter)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			if d := &list.Items[i]; seen[d.ID].IsZero() {
				seen[d.ID] = time.Time(d.At)
				fresh = append(fresh, *d)
			}
		}
		if list.Next == nil || !all {
			slices.Reverse(fresh)
			return fresh, nil
		}
		filter.Before = *list.Next
	}
}

// printTail prints a line each, as JSON or in columns.
func (c *cli) printTail(w io.Writer, fresh []api.Decision, first bool) error {
	if c.json {
		encoder := json.NewEncoder(w)
		for i := range fresh {
			if err := encoder.Encode(&fresh[i]); err != nil {
				return fmt.Errorf("printing: %w", err)
			}
		}
		return nil
	}
	return c.print(w, nil, func(w io.Writer) {
		if first {
			_, _ = io.WriteString(w, decisionHeader)
		}
		for i := range fresh {
			decisionLine(w, &fresh[i])
		}
	})
}

// whyDecision prints one decision and what it was made from. A record takes a
// moment to arrive, so one that was just made is waited for.
func (c *cli) whyDecision(ctx context.Context, w io.Writer, server *client.Client, id string) error {
	made, wellFormed := engine.ParseDecisionID(id)
	fresh := wellFormed && time.Since(made).Abs() < time.Minute
	deadline := time.Now().Add(whyPatience)
	for {
		decision, err := server.Decision(ctx, id)
		var said *client.Error
		missing := errors.As(err, &said) && said.Status == http.StatusNotFound
		switch {
		case err == nil:
			return c.print(w, decision, func(w io.Writer) { printWhy(w, &decision) })
		case !missing || !fresh || time.Now().After(deadline):
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(whyInterval):
		}
	}
}

// printWhy shows a decision to people.
func printWhy(w io.Writer, d *api.Decision) {
	line := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("decision", "%s", d.ID)
	line("at", "%s, decided in %s", time.Time(d.At).Format(time.RFC3339Nano), time.Duration(d.DurationUS)*time.Microsecond)
	line("request", "%s %s (%s)", d.Method, d.Path, d.RequestID)
	if d.KeyID != nil {
		line("key", "%s of %s (%s)", *d.KeyID, *d.TenantID, *d.Environment)
	} else {
		line("key", "none that is known")
	}
	if r := d.Resource; r != nil {
		switch {
		case r.TenantID != nil:
			line("resource", "%s %s of %s", r.Type, r.ID, *r.TenantID)
		case r.ID != "":
			line("resource", "%s %s, which does not exist", r.Type, r.ID)
		default:
			line("resource", "%s, all of them", r.Type)
		}
	}
	line("effect", "%s", d.Effect)
	for _, reason := range d.Reasons {
		line("reason", "%s: %s", reason.Code, reason.Message)
	}
	for _, l := range d.Limits {
		line("limit", "%s: %d of %d per %s left, whole at %s", l.Name, l.Remaining, l.Limit,
			time.Duration(l.WindowSeconds)*time.Second, time.Time(l.Reset).Format(time.RFC3339))
	}
	if d.Revision != "" {
		line("policy", "%s", d.Revision)
	}
	if d.Why == nil {
		return
	}
	for i := range d.Why.Rules {
		r := &d.Why.Rules[i]
		line("rule", "%s at %s:%d:%d", r.Rule, r.File, r.Row, r.Col)
		for _, name := range slices.Sorted(maps.Keys(r.Values)) {
			value, err := json.Marshal(r.Values[name])
			if err == nil {
				line("", "  %s = %s", name, value)
			}
		}
	}
	if d.Why.Unexplained != "" {
		line("rules", "not shown: %s", d.Why.Unexplained)
	}
}
