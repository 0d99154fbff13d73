package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
)

// exitError is an error with an exit code of its own.
type exitError struct {
	error

	code int
}

// Unwrap returns the error itself.
func (e exitError) Unwrap() error { return e.error }

// policyOrder is what the offline commands are told.
type policyOrder struct {
	coverage, strict, junit bool
	least                   float64
}

func (c *cli) newPolicy() *cobra.Command {
	return group("policy", "Check, test and change policies", c.newPolicyCheck(), c.newPolicyTest(), c.newPolicyFmt(), c.newPolicyBench(),
		c.newPolicyEval(), c.newPolicyExplain(), c.newPolicyDiff(), c.newPolicyPush(), c.newPolicyActivate(), c.newPolicyRollback())
}

// policyExits is the part of the help that states the exit codes.
const policyExits = "\n\nExit codes: 0 good, 1 could not be done, 2 wrong command line, 3 does not compile, 4 tests failed\nor cover too little, 5 lint."

func (c *cli) newPolicyCheck() *cobra.Command {
	var o policyOrder
	cmd := &cobra.Command{
		Use: "check DIR", Short: "Compile, test and lint a directory of policies", Args: args(cobra.ExactArgs(1)),
		Long: "Compile a directory of policies strictly, run its tests, measure their coverage, lint, and say\n" +
			"whether decisions will be remembered, as the server does with what is handed in." + policyExits,
		Example: "  twyn policy check my-policies --coverage --min 95",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.checkPolicies(cmd.Context(), cmd.OutOrStdout(), args[0], &o)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.strict, "strict", false, "let warnings fail the check")
	return cmd
}

func (c *cli) newPolicyTest() *cobra.Command {
	var o policyOrder
	cmd := &cobra.Command{
		Use: "test DIR", Short: "Run the tests of a directory of policies", Args: args(cobra.ExactArgs(1)),
		Long:    "Run the tests of a directory of policies: the rules test_… in files …_test.rego." + policyExits,
		Example: "  twyn policy test my-policies --junit >report.xml",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.testPolicies(cmd.Context(), cmd.OutOrStdout(), args[0], &o)
		},
	}
	o.flags(cmd)
	return cmd
}

func (o *policyOrder) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.coverage, "coverage", false, "list the lines that no test reaches")
	cmd.Flags().Float64Var(&o.least, "min", 0, "least coverage in percent")
	cmd.Flags().BoolVar(&o.junit, "junit", false, "print JUnit XML")
}

// policyReport is a report as the command line prints it as JSON.
type policyReport struct {
	*engine.PolicyReport

	Results []policies.TestResult `json:"results,omitempty"`
}

func (c *cli) checkPolicies(ctx context.Context, w io.Writer, dir string, o *policyOrder) error {
	report, _, err := checkDir(ctx, dir)
	if err != nil {
		return err
	}
	if o.junit {
		err = printJUnit(w, report, nil)
	} else {
		err = c.print(w, policyReport{PolicyReport: report}, func(w io.Writer) { printReport(w, report, o) })
	}
	return errors.Join(err, verdict(report, o))
}

func (c *cli) testPolicies(ctx context.Context, w io.Writer, dir string, o *policyOrder) error {
	report, set, err := checkDir(ctx, dir)
	if err != nil {
		return err
	}
	var results []policies.TestResult
	if set != nil {
		if tests, err := set.RunTests(ctx); err == nil {
			results = tests.Results
		}
	}
	// Lint is for check.
	report.Problems = slices.DeleteFunc(report.Problems, func(p engine.PolicyProblem) bool { return p.Kind == engine.ProblemLint })
	report.Warnings = []engine.PolicyProblem{}
	if o.junit {
		err = printJUnit(w, report, results)
	} else {
		err = c.print(w, policyReport{report, results}, func(w io.Writer) {
			printResults(w, results)
			printProblems(w, report.Problems)
			printTests(w, report, o)
		})
	}
	return errors.Join(err, verdict(report, o))
}

// checkDir makes the report on a directory.
func checkDir(ctx context.Context, dir string) (*engine.PolicyReport, *policies.Set, error) {
	if err := readDir(dir); err != nil {
		return nil, nil, usageError{err}
	}
	report, set, err := policies.CheckDir(ctx, os.DirFS(dir), policies.Options{Root: dir})
	if err != nil {
		return nil, nil, fmt.Errorf("checking %s: %w", dir, err)
	}
	return report, set, nil
}

// verdict turns a report into an exit code; nil if all is well.
func verdict(report *engine.PolicyReport, o *policyOrder) error {
	kinds := map[engine.PolicyProblemKind]int{}
	for _, p := range report.Problems {
		kinds[p.Kind]++
	}
	switch {
	case kinds[engine.ProblemFiles]+kinds[engine.ProblemCompile] > 0:
		return exitError{errors.New("the policies do not compile"), exitCompile}
	case kinds[engine.ProblemTest] > 0:
		return exitError{errors.New("tests failed"), exitTests}
	case report.Tests.Coverage < o.least:
		return exitError{fmt.Errorf("coverage is %.1f %%, want at least %.1f %%", report.Tests.Coverage, o.least), exitTests}
	case kinds[engine.ProblemLint] > 0:
		return exitError{errors.New("lint found mistakes"), exitLint}
	case o.strict && len(report.Warnings) > 0:
		return exitError{errors.New("lint found something worth a look"), exitLint}
	default:
		return nil
	}
}

func (c *cli) newPolicyFmt() *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use: "fmt DIR", Short: "Name the files that are not in the form of opa fmt", Args: args(cobra.ExactArgs(1)),
		Long: "Name the files that are not in the one form of opa fmt, or, with --write, put them in it." + policyExits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.formatPolicies(cmd.OutOrStdout(), args[0], write)
		},
	}
	cmd.Flags().BoolVarP(&write, "write", "w", false, "change the files")
	return cmd
}

func (c *cli) formatPolicies(w io.Writer, dir string, write bool) error {
	if err := readDir(dir); err != nil {
		return usageError{err}
	}
	files, err := policies.ReadDir(os.DirFS(dir))
	if err != nil {
		return fmt.Errorf("reading policies: %w", err)
	}
	changed := []string{}
	for name, text := range files {
		if !strings.HasSuffix(name, ".rego") {
			continue
		}
		path := filepath.Join(dir, filepath.FromSlash(name))
		formatted, err := policies.Format(path, text)
		if err != nil {
			return exitError{err, exitCompile}
		}
		if formatted == text {
			continue
		}
		changed = append(changed, path)
		if write {
			if err := os.WriteFile(path, []byte(formatted), 0o600); err != nil {
				return fmt.Errorf("writing policies: %w", err)
			}
		}
	}
	slices.Sort(changed)
	err = c.print(w, map[string]any{"files": changed, "written": write}, func(w io.Writer) {
		for _, path := range changed {
			_, _ = fmt.Fprintln(w, path)
		}
	})
	if err == nil && !write && len(changed) > 0 {
		return exitError{fmt.Errorf("%d files are not in the form of opa fmt", len(changed)), exitLint}
	}
	return err
}

func (c *cli) newPolicyBench() *cobra.Command {
	var span time.Duration
	cmd := &cobra.Command{
		Use: "bench DIR INPUT", Short: "Measure how long a decision takes", Args: args(cobra.ExactArgs(2)),
		Long:    "Measure how long a decision takes that is not remembered: over and over, compiled and interpreted.\nINPUT is a JSON file with the input.",
		Example: "  twyn policy bench my-policies input.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.benchPolicies(cmd.Context(), cmd.OutOrStdout(), args[0], args[1], span)
		},
	}
	cmd.Flags().DurationVar(&span, "time", time.Second, "how long to measure each")
	return cmd
}

// benchResult is how long a decision takes.
type benchResult struct {
	Evaluator string `json:"evaluator"`
	Decisions int    `json:"decisions"`
	Each      int64  `json:"ns_each"`
}

func (c *cli) benchPolicies(ctx context.Context, w io.Writer, dir, inputFile string, span time.Duration) error {
	input, _, err := readInput(inputFile)
	if err != nil {
		return err
	}
	var results []benchResult
	for _, evaluator := range []policies.Evaluator{policies.Compiled, policies.Interpreted} {
		set, err := policies.Load(ctx, os.DirFS(dir), policies.Options{Root: dir, Evaluator: evaluator})
		if err != nil {
			return exitError{err, exitCompile}
		}
		n, begun := 0, time.Now()
		for time.Since(begun) < span && ctx.Err() == nil {
			if _, err := set.JudgeInput(ctx, input); err != nil {
				return fmt.Errorf("asking for a decision: %w", err)
			}
			n++
		}
		results = append(results, benchResult{string(evaluator), n, time.Since(begun).Nanoseconds() / int64(max(n, 1))})
	}
	return c.print(w, results, func(w io.Writer) {
		_, _ = fmt.Fprintln(w, "EVALUATOR\tDECISIONS\tEACH")
		for _, r := range results {
			_, _ = fmt.Fprintf(w, "%s\t%d\t%s\n", r.Evaluator, r.Decisions, time.Duration(r.Each))
		}
	})
}
