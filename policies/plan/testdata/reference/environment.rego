package reference

# Test keys see test resources only.
deny contains {"code": "environment", "message": message} if {
	input.key.environment == "test"
	input.resource.environment == "live"
	message := concat("", ["Access denied: ", input.resource.type, " belongs to the live environment"])
}

deny contains {"code": "address", "message": "Access denied: the address is not allowed"} if {
	ranges := object.get(input.key.metadata, "addresses", [])
	count(ranges) > 0
	not allowed_address(ranges, input.request.ip)
}

allowed_address(ranges, ip) if {
	some range in ranges
	startswith(ip, range)
}
