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
