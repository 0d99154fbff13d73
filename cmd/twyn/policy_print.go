package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
	"github.com/twyn/twyn/server/api"
)

// placeOf is file:row:col as far as it is known.
func placeOf(file string, row, col int) string {
	switch {
	case file == "":
		return "policies"
	case row == 0:
		return file
	default:
		return fmt.Sprintf("%s:%d:%d", file, row, col)
	}
}

// printReport prints what check has found, for people.
func printReport(w io.Writer, report *engine.PolicyReport, o *policyOrder) {
	printProblems(w, report.Problems)
	for _, p := range report.Warnings {
		_, _ = fmt.Fprintf(w, "%s: warning: %s (%s)\n", placeOf(p.File, p.Row, p.Col), p.Message, p.Rule)
	}
	for _, p := range report.Problems {
		if p.Kind == engine.ProblemFiles || p.Kind == engine.ProblemCompile {
			return
		}
	}
	printTests(w, report, o)
	memo := &report.Memo
	switch {
	case !memo.Enabled:
		_, _ = fmt.Fprintf(w, "memo: %s: %s\n", placeOf(memo.File, memo.Row, memo.Col), memo.Reason)
	case memo.Reason != "":
		_, _ = fmt.Fprintf(w, "memo: decisions are remembered; %s: %s\n", placeOf(memo.File, memo.Row, memo.Col), memo.Reason)
	default:
		_, _ = fmt.Fprintf(w, "memo: decisions are remembered by %d parts of input and data\n", len(memo.Paths))
	}
}

func printProblems(w io.Writer, problems []engine.PolicyProblem) {
	for _, p := range problems {
		_, _ = fmt.Fprintf(w, "%s: %s\n", placeOf(p.File, p.Row, p.Col), p.Message)
	}
}

func printResults(w io.Writer, results []policies.TestResult) {
	for _, r := range results {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", resultOf(&r), r.Name)
	}
}

func resultOf(r *policies.TestResult) string {
	switch {
	case r.Passed:
		return "pass"
	case r.Skipped:
		return "skip"
	default:
		return "FAIL"
	}
}

// printTests prints the outcome of the tests.
func printTests(w io.Writer, report *engine.PolicyReport, o *policyOrder) {
	if o.coverage {
		for _, p := range report.Uncovered {
			_, _ = fmt.Fprintf(w, "%s: %s\n", placeOf(p.File, p.Row, p.Col), p.Message)
		}
	}
	_, _ = fmt.Fprintf(w, "tests: %d passed, %d failed, %d skipped, coverage %.1f %%\n",
		report.Tests.Passed, report.Tests.Failed, report.Tests.Skipped, report.Tests.Coverage)
}

// printEvaluation prints a decision and the rules that held.
func printEvaluation(w io.Writer, e *api.PolicyEvaluation) {
	switch {
	case e.Error != nil:
		_, _ = fmt.Fprintf(w, "deny: %s\n", *e.Error)
	case e.Decision.Allow:
		_, _ = fmt.Fprintln(w, "allow")
	default:
		_, _ = fmt.Fprintln(w, "deny")
	}
	for _, reason := range e.Decision.Reasons {
		_, _ = fmt.Fprintf(w, "  %s: %s\n", reason.Code, reason.Message)
	}
	for _, l := range e.Decision.Limits {
		_, _ = fmt.Fprintf(w, "  limit %s: %d per %d s for each %s\n", l.Name, l.Limit, l.WindowSeconds, l.Scope)
	}
	for _, rule := range e.Rules {
		_, _ = fmt.Fprintf(w, "%s: %s held\n", placeOf(rule.File, rule.Row, rule.Col), rule.Rule)
		for _, name := range slices.Sorted(maps.Keys(rule.Values)) {
			text, err := json.Marshal(rule.Values[name])
			if err != nil {
				continue // no JSON, no line
			}
			_, _ = fmt.Fprintf(w, "  %s = %s\n", name, text)
		}
	}
}

// junitSuite is a JUnit report, as continuous integration reads it.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr,omitempty"`
	Line    int           `xml:"line,attr,omitempty"`
	Failure *junitFailure `xml:"failure"`
	Skipped *struct{}     `xml:"skipped"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
}

// printJUnit prints tests, and every problem that is none of theirs as a test
// that failed.
func printJUnit(w io.Writer, report *engine.PolicyReport, results []policies.TestResult) error {
	suite := junitSuite{Name: "twyn policy"}
	for _, r := range results {
		one := junitCase{Name: r.Name, Class: "test", File: r.File, Line: r.Row}
		switch {
		case r.Skipped:
			one.Skipped = &struct{}{}
			suite.Skipped++
		case !r.Passed:
			one.Failure = &junitFailure{r.Message}
			suite.Failures++
		}
		suite.Cases = append(suite.Cases, one)
	}
	for _, p := range report.Problems {
		if p.Kind == engine.ProblemTest && len(results) > 0 {
			continue // said above
		}
		suite.Failures++
		suite.Cases = append(suite.Cases, junitCase{
			Name: placeOf(p.File, p.Row, p.Col), Class: string(p.Kind), File: p.File, Line: p.Row, Failure: &junitFailure{p.Message},
		})
	}
	if len(suite.Cases) == 0 {
		suite.Cases = append(suite.Cases, junitCase{Name: "check", Class: "policy"})
	}
	suite.Tests = len(suite.Cases)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(suite); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}
