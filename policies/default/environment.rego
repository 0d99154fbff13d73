package twyn

# METADATA
# title: Environments
# description: |
#   A live key sees the live and the test resources of its tenant, any other
#   key those of its own environment only. Lists are filtered by the server;
#   their requests name no resource and pass here. The operators' resources
#   have no environment.
deny contains {"code": "environment", "message": message} if {
	input.key.environment != "live"
	input.resource.environment != input.key.environment
	not input.resource.type in operators_resources
	message := concat("", [
		"Access denied: ", input.resource.type,
		" belongs to the ", input.resource.environment, " environment",
	])
}
