package api

// Tenant is a tenant as operators see it.
type Tenant struct {
	TenantID  string `json:"tenant_id"`
	Name      string `json:"name"`
	IsActive  bool   `json:"is_active"`
	CreatedAt Time   `json:"created_at"`
}

// TenantCreated answers the creation of a tenant: the tenant, and its first
// key with the secret, which is shown once.
type TenantCreated struct {
	TenantID  string `json:"tenant_id"`
	Name      string `json:"name"`
	KeyID     string `json:"key_id"`
	APIKey    string `json:"api_key"`
	IsActive  bool   `json:"is_active"`
	CreatedAt Time   `json:"created_at"`
}
