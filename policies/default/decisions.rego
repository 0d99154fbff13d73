package twyn

# METADATA
# title: The decision log
# description: |
#   A tenant reads its own decisions. Operators who may read tenants read those
#   of every tenant, one tenant at a time.
deny contains {"code": "tenant_isolation", "message": "Access denied: decision belongs to different tenant"} if {
	input.request.resource_type == "decision"
	input.request.query.tenant != input.tenant.id
	not overseeing
}

operating if {
	overseeing
	input.resource.type == "decision"
}

# METADATA
# description: An operator who reads the decision log.
overseeing if {
	operator
	input.request.resource_type == "decision"
	action == "read"
	covers(input.key.scopes, "tenants:read")
}
