package engine

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// This file holds the words in which the life of policies is spoken of: from
// files somebody hands in, over the report on them, to what is live.

// PolicyProblem is something wrong, or worth a look, in the files of a policy.
type PolicyProblem struct {
	// Kind says what found it; programs tell problems apart by it.
	Kind PolicyProblemKind `json:"kind"`
	// Rule is the name of the lint rule; "" for every other kind.
	Rule string `json:"rule,omitempty"`
	// File is the path of the file; "" if it is about the files as a whole.
	File string `json:"file"`
	// Row and Col count from 1; 0 if the place in the file is not known.
	Row     int    `json:"row"`
	Col     int    `json:"col"`
	Message string `json:"message"`
}

// PolicyProblemKind says what found a problem.
type PolicyProblemKind string

// The kinds of problems.
const (
	ProblemFiles   PolicyProblemKind = "files"   // names, sizes, a bundle that cannot be read
	ProblemCompile PolicyProblemKind = "compile" // syntax, types, built-in functions, data
	ProblemTest    PolicyProblemKind = "test"    // a test that does not hold or did not end
	ProblemLint    PolicyProblemKind = "lint"
)

// PolicyTests is the outcome of a policy's own tests.
type PolicyTests struct {
	Passed  int `json:"passed"`
	Failed  int `json:"failed"`
	Skipped int `json:"skipped"`
	// Coverage is the share of the lines that tests reach, in percent.
	Coverage float64 `json:"coverage"`
}

// PolicyMemo says whether decisions of the policy are remembered, and if not,
// which place in the files costs that.
type PolicyMemo struct {
	Enabled bool     `json:"enabled"`
	Reason  string   `json:"reason"`
	File    string   `json:"file,omitempty"`
	Row     int      `json:"row,omitempty"`
	Col     int      `json:"col,omitempty"`
	Paths   []string `json:"paths"`
}

// PolicyReport is what there is to say about the files of a policy.
type PolicyReport struct {
	// Digest is the SHA-256 over all files, in hexadecimal.
	Digest string `json:"digest"`
	// Problems keep the policy from ever going live; empty if it may.
	Problems []PolicyProblem `json:"problems"`
	// Warnings are worth a look.
	Warnings []PolicyProblem `json:"warnings"`
	Tests    PolicyTests     `json:"tests"`
	// Uncovered lists the places that no test reaches.
	Uncovered []PolicyProblem `json:"uncovered"`
	Memo      PolicyMemo      `json:"memo"`
}

// Good reports whether nothing keeps the policy from going live.
func (r *PolicyReport) Good() bool { return len(r.Problems) == 0 }

// PolicyStatus is where a revision stands.
type PolicyStatus string

// The statuses of a revision.
const (
	PolicyCandidate PolicyStatus = "candidate" // never was live
	PolicyActive    PolicyStatus = "active"
	PolicyRetired   PolicyStatus = "retired" // was live
)

// PolicyRevision is one version of the policies, which never changes but for
// its status.
type PolicyRevision struct {
	ID     string // "rev_" and 24 characters
	Status PolicyStatus
	// Files are the texts of policies and tests by path; nil in lists.
	Files map[string]string
	// Data is an object that belongs to the files; nil if there is none.
	Data        json.RawMessage
	Message     string
	Report      PolicyReport
	CreatedAt   time.Time
	CreatedBy   string    // the id of the key
	ActivatedAt time.Time // when it last went live; zero: never
}

// NewRevisionID makes the name of a revision: "rev_" and 24 lower-case letters
// and digits, 120 bits from crypto/rand.
func NewRevisionID() string { return "rev_" + strings.ToLower(rand.Text()[:24]) }

// PolicyData is one version of the data documents as a whole: an object whose
// members policies read below "data". It is kept apart from revisions, over
// whose own data it lies.
type PolicyData struct {
	Version   int64 // counts from 1; 0: there never was any
	Documents json.RawMessage
	// Path is the place that this version changed, its names joined by
	// slashes; "" for the whole.
	Path      string
	UpdatedAt time.Time
	UpdatedBy string
}

// LivePolicy says what is live.
type LivePolicy struct {
	// Revision is the id of a revision, Previous that of the one before; ""
	// stands for the policies that are part of the program.
	Revision string
	Previous string
	// DataVersion is the version of the data documents.
	DataVersion int64
	// Generation counts the changes of this, so that nobody takes an older
	// state for a newer.
	Generation int64
	ChangedAt  time.Time
	ChangedBy  string
}

// PolicyEvaluation is the outcome of asking one revision about one input.
type PolicyEvaluation struct {
	Judgement Judgement
	// Error says why there is no decision, which is a denial; "" if there is.
	Error string
	// Explanations are the rules that held; nil unless asked for.
	Explanations []Explanation
}

// PolicyRefusedError is the error for files or data that cannot go live.
type PolicyRefusedError struct {
	Report PolicyReport
}

// Error names the first problem.
func (e *PolicyRefusedError) Error() string {
	if len(e.Report.Problems) == 0 {
		return "policy refused"
	}
	return "policy refused: " + e.Report.Problems[0].Message
}

// The errors of changing what is live, beside ErrNotFound and ErrUnavailable.
var (
	// ErrPolicyPinned means that the policies come from a directory or a
	// bundle server, which alone says what is live.
	ErrPolicyPinned = errors.New("policies come from elsewhere")
	// ErrNoPrevious means that there is nothing to roll back to.
	ErrNoPrevious = errors.New("no previous revision")
	// ErrNotLive means that a revision that should be rolled back is not live.
	ErrNotLive = errors.New("revision is not live")
)
