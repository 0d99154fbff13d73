package reference

decision := {
	"allow": allow,
	"reasons": reasons,
	"limits": [limit | some limit in limits],
}

default allow := false

allow if count(deny) == 0

precedence := ["tenant_isolation", "tenant_frozen", "environment", "address", "scope_missing"]

reasons := [reason |
	some code in precedence
	some reason in deny
	reason.code == code
]
