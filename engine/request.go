package engine

import "time"

// Request is one API request to be decided. Its strings are the caller's own
// copies: nothing in it may point into a buffer that a server reuses.
type Request struct {
	// ID is the request's X-Request-Id.
	ID string
	// At is when the request arrived. It is set once, at the edge; every
	// clock below, the policy's, the limits' and the plugins', shows it.
	At time.Time
	// Credential is the API key the client presented, and Credentials how
	// many times it presented one; more than one is refused.
	Credential  Credential
	Credentials int
	// Method is upper case; Path is normalised, without query; Route is the
	// pattern of the route table that matched ("/v1/keys/:key_id"), or "".
	Method string
	Path   string
	Route  string
	// Segments are the parts of Path between the slashes.
	Segments []string
	// Query holds the first value of each query parameter.
	Query map[string]string
	// Headers holds the headers on the policy's allow-list by lower-case name.
	Headers map[string]string
	// Size is the length of the body in bytes.
	Size int64
	// IP is the address of the peer.
	IP string
	// Target names the resource that the route speaks of; its zero value
	// means none, and a Target without ID means the collection.
	Target Target
	// Cost is how many units the request takes from each limit; 0 means 1.
	Cost int64
}

// Target names a resource: its type ("key", "scenario", "simulation",
// "tenant", …) and its id.
type Target struct {
	Type string
	ID   string
}

// Resource is what is known of a Target that exists.
type Resource struct {
	Type        string
	ID          string
	TenantID    string
	Environment Environment
}

// Question is what a policy is asked about. It is passed by value and holds
// nothing of its own, so that asking costs nothing; a policy that needs the
// whole document calls Input. What it points to must not be changed, and the
// request must not be kept beyond the call.
type Question struct {
	Request   *Request
	Principal *Principal
	Resource  *Resource // nil: the route names none, or it does not exist
}

// Input is a Question as a document. The JSON names are the names that Rego
// sees under "input"; policies/schema/input.json describes them.
type Input struct {
	Key      InputKey       `json:"key"`
	Tenant   InputTenant    `json:"tenant"`
	Request  InputRequest   `json:"request"`
	Resource *InputResource `json:"resource"` // null: none, or it does not exist
}

// InputKey is the API key of the request. The secret and its digest are no
// part of it.
type InputKey struct {
	ID          string         `json:"id"`
	Name        string         `json:"name"`
	Environment string         `json:"environment"` // "live" or "test"
	RateLimit   int64          `json:"rate_limit"`  // requests per hour
	Scopes      []string       `json:"scopes"`
	Metadata    map[string]any `json:"metadata"`
	CreatedAt   string         `json:"created_at"`           // RFC 3339, UTC
	ExpiresAt   string         `json:"expires_at,omitempty"` // RFC 3339, UTC; absent: never
}

// InputTenant is the tenant of the key.
type InputTenant struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// InputRequest is the request itself.
type InputRequest struct {
	ID       string            `json:"id"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Segments []string          `json:"segments"`
	Route    string            `json:"route"` // "" if no route matched
	Query    map[string]string `json:"query"`
	Headers  map[string]string `json:"headers"`
	Size     int64             `json:"size"` // bytes
	IP       string            `json:"ip"`
	// Time is the minute in which the request arrived, in nanoseconds since
	// 1970 UTC, which is what Rego's time functions take. Whole minutes let
	// equal requests share a decision.
	Time int64 `json:"time"`
	// ResourceType is the type of resource the route speaks of, "" if none.
	ResourceType string `json:"resource_type"`
}

// InputResource is the existing resource that the route names.
type InputResource struct {
	Type        string `json:"type"`
	ID          string `json:"id"`
	TenantID    string `json:"tenant_id"`
	Environment string `json:"environment"`
}
