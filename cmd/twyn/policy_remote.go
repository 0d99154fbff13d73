package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server/api"
	"github.com/twyn/twyn/server/client"
)

// isRevision tells the name of a revision on a server from a directory.
func isRevision(arg string) bool { return strings.HasPrefix(arg, "rev_") }

func (c *cli) newPolicyPush() *cobra.Command {
	var message string
	var activate bool
	cmd := &cobra.Command{
		Use: "push DIR|BUNDLE", Short: "Hand policies in to a server", Args: args(cobra.ExactArgs(1)),
		Long:    "Hand a directory of policies, or an OPA bundle (.tar.gz), in to a server, which checks it and keeps it\nas a candidate." + policyExits,
		Example: "  twyn policy push my-policies --message 'Freeze acme' --activate",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withClient(cmd, nil, func(ctx context.Context, server *client.Client) error {
				return c.pushPolicies(ctx, cmd.OutOrStdout(), server, args[0], message, activate)
			})
		},
	}
	cmd.Flags().StringVarP(&message, "message", "m", "", "what changes, and why")
	cmd.Flags().BoolVar(&activate, "activate", false, "make it live if it is good")
	return cmd
}

func (c *cli) pushPolicies(ctx context.Context, w io.Writer, server *client.Client, from, message string, activate bool) error {
	info, err := os.Stat(from)
	if err != nil {
		return usageError{err}
	}
	var revision api.PolicyRevision
	if info.IsDir() {
		files, err := policies.ReadDir(os.DirFS(from))
		if err != nil {
			return fmt.Errorf("reading policies: %w", err)
		}
		revision, err = server.PushPolicy(ctx, files, message)
		if err != nil {
			return refusedExit(err)
		}
	} else {
		bundle, err := os.ReadFile(from) //nolint:gosec // The operator names it.
		if err != nil {
			return fmt.Errorf("reading a bundle: %w", err)
		}
		if revision, err = server.PushBundle(ctx, bundle, message); err != nil {
			return refusedExit(err)
		}
	}
	if activate {
		if _, err := server.ActivatePolicy(ctx, revision.Revision); err != nil {
			return refusedExit(err)
		}
		revision.Status = string(engine.PolicyActive)
	}
	return c.print(w, revision, func(w io.Writer) {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%d tests passed, coverage %.1f %%\n", revision.Revision, revision.Status, revision.Tests.Passed, revision.Tests.Coverage)
		for _, warning := range revision.Warnings {
			_, _ = fmt.Fprintf(w, "%s: %s\n", placeOf(warning.File, warning.Row, warning.Col), warning.Msg)
		}
	})
}

// refusedExit gives a refusal of the server the exit code that the same problem
// has offline.
func refusedExit(err error) error {
	var refused *client.PolicyRefusedError
	if !errors.As(err, &refused) {
		return err
	}
	code := exitLint
	for _, p := range refused.Problems {
		switch p.Type {
		case "policy_" + string(engine.ProblemTest):
			code = min(code, exitTests)
		case "policy_" + string(engine.ProblemLint):
		default:
			code = min(code, exitCompile)
		}
	}
	return exitError{err, code}
}

func (c *cli) newPolicyActivate() *cobra.Command {
	return &cobra.Command{
		Use: "activate REVISION", Short: "Make a revision live on a server", Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withClient(cmd, nil, func(ctx context.Context, server *client.Client) error {
				live, err := server.ActivatePolicy(ctx, args[0])
				return c.printLive(cmd.OutOrStdout(), &live, err)
			})
		},
	}
}

func (c *cli) newPolicyRollback() *cobra.Command {
	return &cobra.Command{
		Use: "rollback [REVISION]", Short: "Make the previous revision live again", Args: args(cobra.MaximumNArgs(1)),
		Long: "Make the previous revision live again on a server. With REVISION only if that one is live.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.withClient(cmd, nil, func(ctx context.Context, server *client.Client) error {
				live, err := server.RollbackPolicy(ctx, strings.Join(args, ""))
				return c.printLive(cmd.OutOrStdout(), &live, err)
			})
		},
	}
}

func (c *cli) printLive(w io.Writer, live *api.LivePolicy, err error) error {
	if err != nil {
		return refusedExit(err)
	}
	return c.print(w, live, func(w io.Writer) {
		name := "the policies of the program"
		if live.Revision != nil {
			name = *live.Revision
		}
		_, _ = fmt.Fprintf(w, "live: %s\n", name)
	})
}

func (c *cli) newPolicyDiff() *cobra.Command {
	return &cobra.Command{
		Use: "diff FROM TO", Short: "Show what changes between two directories or revisions", Args: args(cobra.ExactArgs(2)),
		Long:    "Show what changes from one set of policies to another, as a unified diff. Each is a directory or\na revision (rev_…) on a server.",
		Example: "  twyn policy diff policies/default my-policies",
		RunE: func(cmd *cobra.Command, args []string) error {
			var files [2]map[string]string
			for i, arg := range args {
				var err error
				if files[i], err = c.policyFiles(cmd, arg); err != nil {
					return err
				}
			}
			changes := policies.Diff(files[0], files[1])
			return c.print(cmd.OutOrStdout(), changes, func(io.Writer) {
				// Past the columns of print, which would take the tabs away.
				for _, path := range slices.Sorted(maps.Keys(changes)) {
					_, _ = io.WriteString(cmd.OutOrStdout(), changes[path])
				}
			})
		},
	}
}

// policyFiles reads the files of a directory or of a revision.
func (c *cli) policyFiles(cmd *cobra.Command, arg string) (files map[string]string, err error) {
	if !isRevision(arg) {
		if err := readDir(arg); err != nil {
			return nil, usageError{err}
		}
		return policies.ReadDir(os.DirFS(arg))
	}
	err = c.withClient(cmd, nil, func(ctx context.Context, server *client.Client) error {
		files, err = server.PolicyFiles(ctx, arg)
		return err
	})
	return files, err
}

func (c *cli) newPolicyEval() *cobra.Command {
	return &cobra.Command{
		Use: "eval DIR|REVISION INPUT", Short: "Ask policies for a decision", Args: args(cobra.ExactArgs(2)),
		Long:    "Ask a directory of policies, or a revision on a server, for a decision. INPUT is a JSON file, - for\nstandard input.",
		Example: "  twyn policy eval my-policies input.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.evaluate(cmd, args[0], args[1], false)
		},
	}
}

func (c *cli) newPolicyExplain() *cobra.Command {
	return &cobra.Command{
		Use: "explain DIR|REVISION INPUT", Short: "Tell why policies decide as they do", Args: args(cobra.ExactArgs(2)),
		Long:    "Tell which rules held for an input, where they stand, and the values that made them true.",
		Example: "  twyn policy explain my-policies input.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.evaluate(cmd, args[0], args[1], true)
		},
	}
}

func (c *cli) evaluate(cmd *cobra.Command, from, inputFile string, explain bool) (err error) {
	input, text, err := readInput(inputFile)
	if err != nil {
		return err
	}
	var evaluation api.PolicyEvaluation
	if isRevision(from) {
		err = c.withClient(cmd, nil, func(ctx context.Context, server *client.Client) error {
			evaluation, err = server.EvaluatePolicy(ctx, from, text, explain)
			return refusedExit(err)
		})
	} else {
		evaluation, err = evaluateDir(cmd.Context(), from, input, explain)
	}
	if err != nil {
		return err
	}
	return c.print(cmd.OutOrStdout(), evaluation, func(w io.Writer) { printEvaluation(w, &evaluation) })
}

func evaluateDir(ctx context.Context, dir string, input *engine.Input, explain bool) (e api.PolicyEvaluation, err error) {
	if err := readDir(dir); err != nil {
		return e, usageError{err}
	}
	set, err := policies.Load(ctx, os.DirFS(dir), policies.Options{Root: dir})
	if err != nil {
		return e, exitError{err, exitCompile}
	}
	judgement, err := set.JudgeInput(ctx, input)
	e = api.PolicyEvaluation{Revision: judgement.Revision, Decision: api.PolicyDecision{Allow: judgement.Allow, Limits: []api.PolicyLimit{}}, Rules: []api.DecisionRule{}}
	if err != nil {
		text := err.Error()
		e.Error = &text
		return e, nil //nolint:nilerr // That there is no decision is the outcome.
	}
	for _, reason := range judgement.Reasons {
		e.Decision.Reasons = append(e.Decision.Reasons, api.DecisionReason(reason))
	}
	for i := range judgement.Limits {
		l := &judgement.Limits[i]
		e.Decision.Limits = append(e.Decision.Limits, api.PolicyLimit{
			Name: l.Name, Limit: l.Limit.Limit, WindowSeconds: int64(l.Window.Seconds()), Algorithm: string(l.Algorithm),
			Scope: string(l.Scope), Burst: l.Burst, Cost: l.Cost,
		})
	}
	if !explain {
		return e, nil
	}
	explanations, err := policies.Explain(ctx, set, input)
	for _, x := range explanations {
		e.Rules = append(e.Rules, api.DecisionRule{Rule: x.Rule, File: x.File, Row: x.Row, Col: x.Col, Values: x.Values, Code: x.Code, Message: x.Message})
	}
	return e, err
}

// readInput reads the document of an input.
func readInput(name string) (*engine.Input, json.RawMessage, error) {
	var text []byte
	var err error
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(os.Stdin, api.MaxBodyBytes))
	} else {
		text, err = os.ReadFile(name) //nolint:gosec // The operator names it.
	}
	if err != nil {
		return nil, nil, usageError{err}
	}
	input, err := policies.DecodeInput(text)
	if err != nil {
		return nil, nil, usageError{fmt.Errorf("%s: %w", name, err)}
	}
	return input, text, nil
}
