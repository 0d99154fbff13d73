package reference

# A resource belongs to a tenant; others see it only if it is shared with them.
deny contains {"code": "tenant_isolation", "message": message} if {
	input.resource.tenant_id != input.tenant.id
	not shared
	message := sprintf("Access denied: %s belongs to different tenant", [input.resource.type])
}

shared if {
	some share in data.reference.shares
	share.resource == input.resource.id
	share.tenant == input.tenant.id
	input.request.method in {"GET", "HEAD"}
}

deny contains {"code": "tenant_frozen", "message": "Access denied: tenant is frozen"} if {
	data.reference.tenants[input.tenant.id].frozen == true
}
