package twyn_test

import data.twyn

test_own_tenant if {
	codes(request) == []
}

test_other_tenant if {
	reasons(changed({"resource": {"tenant_id": "ten_other"}})) == [{
		"code": "tenant_isolation",
		"message": "Access denied: simulation belongs to different tenant",
	}]
}

test_other_tenant_is_named_by_its_resource if {
	every type in ["key", "scenario", "plugin"] {
		some reason in reasons(changed({"resource": {"type": type, "tenant_id": "ten_other"}}))
		reason.message == sprintf("Access denied: %s belongs to different tenant", [type])
	}
}

test_no_resource_belongs_to_nobody if {
	codes(changed({"resource": null})) == []
}

test_operators_are_held_to_isolation if {
	codes(changed({"tenant": {"id": "platform"}})) == ["tenant_isolation"]
}

test_operators_at_work_are_not if {
	twyn.allow with input as operators_request
}
