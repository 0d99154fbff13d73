package twyn

# METADATA
# title: The key's own limit
# description: |
#   Every key has a rate limit per hour, in a window that opens with its first
#   request. Further rules of this name add further limits, all of which a
#   request has to pass. A limit has a name, unique in its scope; limit, the
#   units that window_seconds admit; an algorithm ("fixed_window",
#   "sliding_window" or "token_bucket"); and a scope that says who counts
#   together ("key", "environment" or "tenant"). It may have a burst, the
#   capacity of a token bucket, and a cost, the units that this request takes.
limits contains {
	"name": "key",
	"limit": input.key.rate_limit,
	"window_seconds": 3600,
	"algorithm": "fixed_window",
	"scope": "key",
}
