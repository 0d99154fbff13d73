package api

import "encoding/json"

// Bounds of requests about policies.
const (
	MaxPolicyBodyBytes    = 4 << 20 // of files handed in
	MaxPolicyFiles        = 1000
	MaxPolicyPathChars    = 500
	MaxPolicyMessageChars = 1000
	MaxPolicyDataDepth    = 24 // of a document
)

// PolicyRevision is a version of the policies. Files are the paths of its
// files; they are left out in lists.
type PolicyRevision struct {
	Revision    string          `json:"revision"`
	Digest      string          `json:"digest"`
	Status      string          `json:"status"`
	Message     string          `json:"message"`
	Tests       PolicyTests     `json:"tests"`
	Memo        PolicyMemo      `json:"memo"`
	Warnings    []PolicyProblem `json:"warnings"`
	Files       []string        `json:"files,omitempty"`
	CreatedAt   Time            `json:"created_at"`
	CreatedBy   string          `json:"created_by"`
	ActivatedAt Time            `json:"activated_at"`
}

// PolicyTests is the outcome of a revision's own tests. Coverage is in percent.
type PolicyTests struct {
	Passed   int     `json:"passed"`
	Failed   int     `json:"failed"`
	Skipped  int     `json:"skipped"`
	Coverage float64 `json:"coverage"`
}

// PolicyMemo says whether decisions are remembered, and what costs that.
type PolicyMemo struct {
	Enabled bool     `json:"enabled"`
	Reason  string   `json:"reason"`
	File    string   `json:"file"`
	Row     int      `json:"row"`
	Col     int      `json:"col"`
	Paths   []string `json:"paths"`
}

// PolicyProblem is a mistake in a file, or a warning. Row and Col count from 1;
// 0 if the place is not known.
type PolicyProblem struct {
	Rule string `json:"rule"`
	File string `json:"file"`
	Row  int    `json:"row"`
	Col  int    `json:"col"`
	Msg  string `json:"msg"`
}

// PolicyRefused is the body of a 422 for policies or data that cannot go live.
type PolicyRefused struct {
	Detail []PolicyError `json:"detail"`
}

// PolicyError is a FieldError with the place in a file.
type PolicyError struct {
	FieldError
	File string `json:"file"`
	Row  int    `json:"row"`
	Col  int    `json:"col"`
}

// PolicyFile is one file of a revision.
type PolicyFile struct {
	Path string `json:"path"`
	Text string `json:"text"`
}

// PolicyDiff says what changes from one revision to another: a unified diff of
// each file that differs.
type PolicyDiff struct {
	From  string           `json:"from"`
	To    string           `json:"to"`
	Files []PolicyFileDiff `json:"files"`
}

// PolicyFileDiff is the diff of one file.
type PolicyFileDiff struct {
	Path string `json:"path"`
	Diff string `json:"diff"`
}

// LivePolicy says what is live. A revision that is null stands for the policies
// that are part of the program.
type LivePolicy struct {
	Revision    *string `json:"revision"`
	Previous    *string `json:"previous"`
	DataVersion int64   `json:"data_version"`
	Generation  int64   `json:"generation"`
	ChangedAt   Time    `json:"changed_at"`
	ChangedBy   string  `json:"changed_by"`
}

// PolicyEvaluation is what a revision says about an input. Error is null unless
// there is no decision, which denies.
type PolicyEvaluation struct {
	Revision string         `json:"revision"`
	Decision PolicyDecision `json:"decision"`
	Error    *string        `json:"error"`
	Rules    []DecisionRule `json:"rules"`
}

// PolicyDecision is a decision document.
type PolicyDecision struct {
	Allow   bool             `json:"allow"`
	Reasons []DecisionReason `json:"reasons"`
	Limits  []PolicyLimit    `json:"limits"`
}

// PolicyLimit is a limit as a policy states it.
type PolicyLimit struct {
	Name          string `json:"name"`
	Limit         int64  `json:"limit"`
	WindowSeconds int64  `json:"window_seconds"`
	Algorithm     string `json:"algorithm"`
	Scope         string `json:"scope"`
	Burst         int64  `json:"burst,omitempty"`
	Cost          int64  `json:"cost,omitempty"`
}

// PolicyData is a data document: what policies read below "data" and the path.
type PolicyData struct {
	Path      string          `json:"path"`
	Version   int64           `json:"version"`
	Data      json.RawMessage `json:"data"`
	UpdatedAt Time            `json:"updated_at"`
	UpdatedBy string          `json:"updated_by"`
}
