package twyn_test

import data.twyn

test_friend if {
	twyn.decision.allow with input as {"tenant": {"id": "ten_friend"}}
}

test_stranger if {
	not twyn.decision.allow with input as {"tenant": {"id": "ten_stranger"}}
}
