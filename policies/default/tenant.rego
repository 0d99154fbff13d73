package twyn

# METADATA
# title: Tenant isolation
# description: |
#   A key reaches the resources of its own tenant and no others. Operators are
#   not held to it on the operators' resources, which are about other tenants
#   by their nature; on everything else they are.
deny contains {"code": "tenant_isolation", "message": message} if {
	input.resource.tenant_id != input.tenant.id
	not operating
	message := concat("", ["Access denied: ", input.resource.type, " belongs to different tenant"])
}

# METADATA
# description: An operator at work on one of the operators' resources.
operating if {
	operator
	input.resource.type in operators_resources
}
