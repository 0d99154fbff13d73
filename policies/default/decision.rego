# METADATA
# title: The decision of twyn
# description: |
#   Every authenticated request is judged by data.twyn.decision. The package is
#   spread over several files; two partial sets are where further files join in:
#
#     deny contains {"code": "…", "message": "…"} if …
#         refuses the request. One reason is enough, none can be taken back.
#     limits contains {"name": "…", "limit": …, "window_seconds": …, "algorithm": "…", "scope": "…"} if …
#         adds a limit that the request has to pass.
#
#   A decision that is undefined, contradicts itself or fails is a refusal too.
package twyn

# METADATA
# title: The decision document
# description: |
#   Allow is true if nothing denies. Reasons says why not, the deciding reason
#   first. Limits holds whether or not the request is allowed.
# entrypoint: true
decision := {
	"allow": allow,
	"reasons": reasons,
	"limits": [limit | some limit in limits],
}

# METADATA
# description: Denied, unless the set of reasons to deny is known and empty.
default allow := false

allow if count(deny) == 0

# METADATA
# description: |
#   The order of the reasons below. Whose a resource is comes before what a key
#   may do, so that an answer does not tell strangers which scopes would help.
#   Codes that are not listed follow, in the order of their code and message.
precedence := ["tenant_isolation", "environment", "operator_only", "scope_missing"]

# METADATA
# description: The reasons to deny in their order of precedence.
default reasons := []

reasons := array.concat(
	[reason | some code in precedence; some reason in deny; reason.code == code],
	[reason | some reason in deny; not object.get(reason, "code", "") in precedence],
) if {
	count(deny) > 0
}
