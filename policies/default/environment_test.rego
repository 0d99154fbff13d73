package twyn_test

test_live_key_sees_test_resource if {
	codes(changed({"resource": {"environment": "test"}})) == []
}

test_test_key_sees_test_resource if {
	codes(changed({"key": {"environment": "test"}, "resource": {"environment": "test"}})) == []
}

test_test_key_does_not_see_live_resource if {
	reasons(changed({"key": {"environment": "test"}})) == [{
		"code": "environment",
		"message": "Access denied: simulation belongs to the live environment",
	}]
}

test_test_key_lists if {
	codes(changed({"key": {"environment": "test"}, "resource": null})) == []
}

test_unknown_environment_is_no_live_one if {
	codes(changed({"key": {"environment": ""}})) == ["environment"]
}

test_operators_resources_have_no_environment if {
	messages := [reason.message | some reason in reasons(object.union(operators_request, {"key": {"environment": "test"}}))]
	messages == ["Access denied: tenant belongs to the live environment"]
}
