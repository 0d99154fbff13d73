package twyn

# METADATA
# description: Everything passes but what somebody denies.
decision := {"allow": count(deny) == 0, "reasons": [reason | some reason in deny], "limits": []}

# METADATA
# description: Strangers are not served.
deny contains {"code": "stranger", "message": "Access denied: stranger"} if {
	input.tenant.id == data.strangers[_]
}
