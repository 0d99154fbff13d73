package twyn_test

import data.twyn

test_limit_is_the_keys_own if {
	some limit in twyn.limits with input as changed({"key": {"rate_limit": 7}})
	limit.limit == 7
}

test_denied_requests_have_limits_too if {
	decision := twyn.decision with input as changed({"key": {"scopes": []}})
	not decision.allow
	count(decision.limits) == 1
}

test_further_limits_join if {
	limits := twyn.decision.limits with input as request with twyn.limits as {{"name": "a"}, {"name": "b"}}
	limits == [{"name": "a"}, {"name": "b"}]
}
