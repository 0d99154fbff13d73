package twyn_test

import data.twyn

operators_request := changed({
	"key": {"scopes": ["*", "tenants:*"]},
	"tenant": {"id": "platform"},
	"request": {"resource_type": "tenant"},
	"resource": {"type": "tenant", "tenant_id": "ten_acme", "environment": ""},
})

test_operator if {
	codes(operators_request) == []
}

test_operator_needs_the_scope if {
	codes(object.union(operators_request, {"key": {"scopes": ["*"]}})) == ["scope_missing"]
}

test_scope_makes_no_operator if {
	reasons(object.union(operators_request, {"tenant": {"id": "ten_acme"}})) == [{
		"code": "operator_only",
		"message": "Access denied: operators only",
	}]
}

test_tenant_does_not_reach_operators_resources if {
	every type in ["tenant", "policy"] {
		codes(changed({"request": {"resource_type": type}, "resource": null})) == ["operator_only", "scope_missing"]
	}
}

test_stranger_does_not_reach_a_tenant if {
	codes(object.union(operators_request, {"tenant": {"id": "ten_other"}})) == ["tenant_isolation", "operator_only"]
}

test_scopes_of_operators_resources if {
	twyn.operators_scopes == {twyn.scopes_of[type] | some type in twyn.operators_resources}
}

test_test_key_is_no_operator if {
	reasons(object.union(operators_request, {"key": {"environment": "test", "scopes": ["*", "tenants:*"]}})) == [{
		"code": "environment",
		"message": "Access denied: tenant belongs to the live environment",
	}]
}

test_test_key_of_the_platform_works_elsewhere if {
	codes(changed({
		"key": {"environment": "test"},
		"tenant": {"id": "platform"},
		"resource": {"tenant_id": "platform", "environment": "test"},
	})) == []
}
