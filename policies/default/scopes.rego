package twyn

# METADATA
# description: The types of resource that routes speak of, and their names in scopes.
scopes_of := {
	"decision": "decisions",
	"key": "keys",
	"plugin": "plugins",
	"policy": "policies",
	"scenario": "scenarios",
	"simulation": "simulations",
	"tenant": "tenants",
	"trace": "traces",
}

# METADATA
# description: GET and HEAD read; every other method writes.
default action := "write"

action := "read" if input.request.method in {"GET", "HEAD"}

# METADATA
# description: The scope that the request needs; undefined if the route speaks of no resource.
required_scope := concat(":", [scopes_of[input.request.resource_type], action])

# METADATA
# title: Scopes
# description: The key has to hold the scope that the request needs.
deny contains {"code": "scope_missing", "message": message} if {
	scope := required_scope
	not covers(input.key.scopes, scope)
	message := concat("", ["Access denied: scope ", scope, " is required"])
}

# METADATA
# title: Unknown resources
# description: |
#   A type of resource that these policies have never heard of is covered by no
#   scope, not even by "*". A route without any resource ends in a 404 and
#   needs no scope.
deny contains {"code": "scope_missing", "message": message} if {
	input.request.resource_type != ""
	not scopes_of[input.request.resource_type]
	message := concat("", ["Access denied: no scope covers ", input.request.resource_type])
}

# METADATA
# title: What scopes grant
# description: |
#   True if the list of scopes grants everything that the scope grants: by "*",
#   which stands for everything that a tenant may do itself and so for no
#   operators' scope, by its own name, or by "RESOURCE:*". The server asks the
#   same question when a key makes another key.
covers(scopes, scope) if {
	"*" in scopes
	scope != "*"
	not resource_in(scope) in operators_scopes
}

covers(scopes, scope) if scope in scopes

covers(scopes, scope) if concat("", [resource_in(scope), ":*"]) in scopes

# METADATA
# description: The resource that a scope speaks of.
resource_in(scope) := split(scope, ":")[0]
