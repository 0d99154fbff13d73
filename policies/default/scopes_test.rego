package twyn_test

import data.twyn

with_scopes(scopes, method) := changed({"key": {"scopes": scopes}, "request": {"method": method}})

test_reading_needs_read if {
	every method in ["GET", "HEAD"] {
		codes(with_scopes(["simulations:read"], method)) == []
		reasons(with_scopes(["simulations:write"], method)) == [{
			"code": "scope_missing",
			"message": "Access denied: scope simulations:read is required",
		}]
	}
}

test_the_rest_needs_write if {
	every method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"] {
		codes(with_scopes(["simulations:write"], method)) == []
		reasons(with_scopes(["simulations:read"], method)) == [{
			"code": "scope_missing",
			"message": "Access denied: scope simulations:write is required",
		}]
	}
}

test_every_action if {
	codes(with_scopes(["simulations:*"], "GET")) == []
	codes(with_scopes(["simulations:*"], "POST")) == []
	codes(with_scopes(["scenarios:*"], "GET")) == ["scope_missing"]
}

test_every_resource if {
	every type in ["key", "scenario", "simulation", "plugin", "decision", "trace"] {
		codes(changed({"request": {"resource_type": type}, "resource": null})) == []
	}
}

test_no_scopes if {
	codes(with_scopes([], "GET")) == ["scope_missing"]
}

test_no_resource_needs_no_scope if {
	codes(changed({"key": {"scopes": []}, "request": {"resource_type": ""}, "resource": null})) == []
}

test_unknown_resource if {
	reasons(changed({"request": {"resource_type": "widget"}, "resource": null})) == [{
		"code": "scope_missing",
		"message": "Access denied: no scope covers widget",
	}]
}

test_covers if {
	twyn.covers(["*"], "keys:*")
	twyn.covers(["keys:*"], "keys:*")
	twyn.covers(["*"], "keys")
	twyn.covers(["tenants:*"], "tenants:read")
	not twyn.covers(["*"], "tenants:read")
	not twyn.covers(["*"], "policies:*")
	not twyn.covers(["keys:read", "keys:write"], "keys:*")
	not twyn.covers(["keys:*"], "*")
}
