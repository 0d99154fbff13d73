package api

import "encoding/json"

// Bounds of the list of decisions.
const (
	DefaultDecisionLimit = 100
	MaxDecisionLimit     = 1000
	MaxReasonChars       = 64
)

// DecisionList answers GET /v1/decisions, newest first. Next is the "before" of
// the next older page, null if there is none.
type DecisionList struct {
	Items []Decision `json:"items"`
	Next  *string    `json:"next"`
}

// Decision is a record of the decision log. What is null or empty there does
// not apply: of nobody in particular there is no tenant, key or environment.
type Decision struct {
	ID           string            `json:"id"`
	At           Time              `json:"at"`
	TenantID     *string           `json:"tenant_id"`
	KeyID        *string           `json:"key_id"`
	Environment  *string           `json:"environment"`
	RequestID    string            `json:"request_id"`
	Method       string            `json:"method"`
	Route        string            `json:"route"`
	Path         string            `json:"path"`
	Resource     *DecisionResource `json:"resource"`
	Effect       string            `json:"effect"`
	Reasons      []DecisionReason  `json:"reasons"`
	Limits       []DecisionLimit   `json:"limits"`
	Revision     string            `json:"revision"`
	PluginDigest string            `json:"plugin_digest"`
	DurationUS   int64             `json:"duration_us"`
	// Why is there in the answer that shows one decision.
	Why *DecisionWhy `json:"why,omitempty"`
}

// DecisionResource is what the route spoke of. ID is "" for a collection;
// TenantID is null if there is no such resource.
type DecisionResource struct {
	Type     string  `json:"type"`
	ID       string  `json:"id"`
	TenantID *string `json:"tenant_id"`
}

// DecisionReason is a stable code and a sentence.
type DecisionReason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// DecisionLimit is where a limit stood after the decision.
type DecisionLimit struct {
	Name          string `json:"name"`
	Limit         int64  `json:"limit"`
	WindowSeconds int64  `json:"window_seconds"`
	Admitted      bool   `json:"admitted"`
	Remaining     int64  `json:"remaining"`
	Reset         Time   `json:"reset"`
}

// DecisionWhy is what a decision was made from.
type DecisionWhy struct {
	// Input is what the policy was asked with, after masking; null if Omitted
	// says why there is none.
	Input   json.RawMessage `json:"input"`
	Masked  []string        `json:"masked"`
	Omitted string          `json:"omitted"`
	// Rules are those that held. Unexplained says why there are none.
	Rules       []DecisionRule `json:"rules"`
	Unexplained string         `json:"unexplained"`
}

// DecisionRule is a rule of the policy that held, and what made it true.
type DecisionRule struct {
	Rule    string         `json:"rule"`
	File    string         `json:"file"`
	Row     int            `json:"row"`
	Col     int            `json:"col"`
	Values  map[string]any `json:"values"`
	Code    string         `json:"code"`
	Message string         `json:"message"`
}
