package twyn_test

import data.twyn

test_friend if {
	not twyn.decision.allow with input as {"tenant": {"id": "ten_friend"}}
}
