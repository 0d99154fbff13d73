package api

// KeyInfo is an API key as it is shown: everything but the secret.
type KeyInfo struct {
	KeyID       string         `json:"key_id"`
	TenantID    string         `json:"tenant_id"`
	Name        string         `json:"name"`
	Environment string         `json:"environment"`
	IsActive    bool           `json:"is_active"`
	RateLimit   int64          `json:"rate_limit"` // requests per hour
	Scopes      []string       `json:"scopes"`
	Metadata    map[string]any `json:"metadata"`
	CreatedAt   Time           `json:"created_at"`
	ExpiresAt   Time           `json:"expires_at"`   // null: never
	LastUsedAt  Time           `json:"last_used_at"` // null: never
	UsageCount  int64          `json:"usage_count"`
}

// KeyCreated answers the creation and the rotation of a key. It is the only
// answer that holds the secret, and the secret is shown once. The last three
// fields are there if the request named them.
type KeyCreated struct {
	KeyID       string         `json:"key_id"`
	APIKey      string         `json:"api_key"`
	TenantID    string         `json:"tenant_id"`
	Name        string         `json:"name"`
	RateLimit   int64          `json:"rate_limit"`
	ExpiresAt   Time           `json:"expires_at"`
	CreatedAt   Time           `json:"created_at"`
	Environment string         `json:"environment,omitempty"`
	Scopes      []string       `json:"scopes,omitempty"`
	Metadata    map[string]any `json:"metadata,omitzero"`
}

// KeyList answers GET /v1/keys. Total counts every key the caller may see.
type KeyList struct {
	Keys  []KeyInfo `json:"keys"`
	Total int       `json:"total"`
}
