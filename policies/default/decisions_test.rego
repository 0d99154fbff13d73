package twyn_test

decisions_request := changed({
	"request": {"resource_type": "decision", "query": {}},
	"resource": {"type": "decision", "tenant_id": "ten_acme", "environment": "live"},
})

overseer := {"key": {"scopes": ["*", "tenants:read"]}, "tenant": {"id": "platform"}}

decision_isolation := [{
	"code": "tenant_isolation",
	"message": "Access denied: decision belongs to different tenant",
}]

test_tenant_reads_its_own_decisions if {
	codes(decisions_request) == []
	codes(object.union(decisions_request, {"resource": null})) == []
	codes(object.union(decisions_request, {"resource": null, "request": {"query": {"tenant": "ten_acme"}}})) == []
}

test_tenant_reads_no_others_decisions if {
	reasons(object.union(decisions_request, {"resource": {"tenant_id": "ten_other"}})) == decision_isolation
	reasons(object.union(decisions_request, {"resource": null, "request": {"query": {"tenant": "ten_other"}}})) == decision_isolation
}

test_tenants_scope_makes_no_overseer if {
	asked := object.union(decisions_request, {"key": {"scopes": ["*", "tenants:*"]}, "resource": {"tenant_id": "ten_other"}})
	reasons(asked) == decision_isolation
}

test_overseer_reads_every_tenants_decisions if {
	codes(object.union(decisions_request, overseer)) == []
	codes(object.union(object.union(decisions_request, overseer), {
		"resource": null,
		"request": {"query": {"tenant": "ten_acme"}},
	})) == []
}

test_operator_without_the_scope_reads_the_platforms_only if {
	operator_key := {"key": {"scopes": ["*"]}, "tenant": {"id": "platform"}}
	reasons(object.union(decisions_request, operator_key)) == decision_isolation
	codes(object.union(object.union(decisions_request, operator_key), {"resource": {"tenant_id": "platform"}})) == []
}

test_overseer_only_reads if {
	asked := object.union(object.union(decisions_request, overseer), {"request": {"method": "POST"}})
	reasons(asked) == decision_isolation
}

test_test_key_reads_test_decisions_only if {
	codes(object.union(decisions_request, {"key": {"environment": "test"}})) == ["environment"]
	codes(object.union(decisions_request, {"key": {"environment": "test"}, "resource": {"environment": "test"}})) == []
}
