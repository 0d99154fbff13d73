package twyn_test

import data.twyn

# A request that every rule is content with; the tests spoil one thing each.
request := {
	"key": {"environment": "live", "rate_limit": 1000, "scopes": ["*"]},
	"tenant": {"id": "ten_acme"},
	"request": {"method": "GET", "resource_type": "simulation"},
	"resource": {"type": "simulation", "tenant_id": "ten_acme", "environment": "live"},
}

changed(changes) := object.union(request, changes)

reasons(asked) := list if {
	list := twyn.decision.reasons with input as asked
}

codes(asked) := [reason.code | some reason in reasons(asked)]

test_allowed if {
	decision := twyn.decision with input as request
	decision == {"allow": true, "reasons": [], "limits": [{
		"name": "key",
		"limit": 1000,
		"window_seconds": 3600,
		"algorithm": "fixed_window",
		"scope": "key",
	}]}
}

test_denied_without_input if {
	not twyn.allow with twyn.deny as {{"code": "any", "message": "Any."}}
}

test_reasons_in_order_of_precedence if {
	codes(changed({
		"key": {"environment": "test", "scopes": []},
		"request": {"resource_type": "tenant"},
		"resource": {"type": "simulation", "tenant_id": "ten_other", "environment": "live"},
	})) == ["tenant_isolation", "environment", "operator_only", "scope_missing"]
}

test_further_reasons_follow_in_their_own_order if {
	twyn.reasons == [
		{"code": "scope_missing", "message": "C"},
		{"code": "before", "message": "B"},
		{"code": "frozen", "message": "A"},
		{"code": "frozen", "message": "B"},
	] with twyn.deny as {
		{"code": "frozen", "message": "B"},
		{"code": "before", "message": "B"},
		{"code": "frozen", "message": "A"},
		{"code": "scope_missing", "message": "C"},
	}
}

test_reason_without_code_still_denies if {
	twyn.reasons == [{"message": "Only."}] with twyn.deny as {{"message": "Only."}}
	not twyn.allow with twyn.deny as {{"message": "Only."}}
}
