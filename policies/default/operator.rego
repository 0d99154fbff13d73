package twyn

# METADATA
# description: The types of resource that only operators reach.
operators_resources := {"policy", "tenant"}

# METADATA
# description: The names of those resources in scopes.
operators_scopes := {"policies", "tenants"}

# METADATA
# description: The keys of the platform tenant are the operators'.
operator if input.tenant.id == "platform"

# METADATA
# title: Operators only
# description: |
#   Whatever its scopes say, a key of another tenant does not reach the
#   operators' resources.
deny contains {"code": "operator_only", "message": "Access denied: operators only"} if {
	input.request.resource_type in operators_resources
	not operator
}

# METADATA
# title: Operators at work are live
# description: |
#   The operators' resources decide about live traffic, so a test key of the
#   platform tenant does not reach them.
deny contains {"code": "environment", "message": message} if {
	input.request.resource_type in operators_resources
	operator
	input.key.environment != "live"
	message := concat("", ["Access denied: ", input.request.resource_type, " belongs to the live environment"])
}
