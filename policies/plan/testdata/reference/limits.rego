package reference

default plan := "free"

plan := data.reference.tenants[input.tenant.id].plan

# The limits of the tenant's plan, and what the key itself may do.
limits contains limit if {
	some tier in data.reference.plans[plan]
	limit := object.union(tier, {"scope": "tenant"})
}

limits contains {"name": "key", "limit": input.key.rate_limit, "window_seconds": 3600, "algorithm": "fixed_window", "scope": "key"}

limits contains {"name": "writes", "limit": ceil(input.key.rate_limit / 10), "window_seconds": 60, "algorithm": "token_bucket", "scope": "key"} if {
	action == "write"
}
