package reference

default action := "write"

action := "read" if input.request.method in {"GET", "HEAD"}

resources := {"simulation": "simulations", "scenario": "scenarios", "key": "keys", "tenant": "tenants"}

operators := {"tenants", "policies"}

required := concat(":", [resources[input.request.resource_type], action])

deny contains {"code": "scope_missing", "message": message} if {
	not granted
	message := sprintf("Access denied: scope %s is required", [required])
}

granted if required in input.key.scopes

granted if {
	some scope in input.key.scopes
	endswith(scope, ":*")
	startswith(required, trim_suffix(scope, "*"))
}

granted if {
	"*" in input.key.scopes
	not resources[input.request.resource_type] in operators
}
