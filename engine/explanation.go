package engine

// Explanation is one rule that held when a decision was made: where it stands,
// what made it true, and the reason it gave.
type Explanation struct {
	// Rule is the rule's name with its package, e.g. "data.twyn.deny".
	Rule string
	// File, Row and Col are where the rule stands; Row and Col count from 1.
	File string
	Row  int
	Col  int
	// Values are the inputs, data and variables that made the rule true, by
	// the name under which the rule reads them.
	Values map[string]any
	// Code and Message are the reason the rule gave; "" if it gave none.
	Code    string
	Message string
}
