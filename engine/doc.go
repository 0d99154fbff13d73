// Package engine decides whether a request may pass.
//
// Engine.Decide is the whole of it: identify the API key, look at its tenant,
// ask the policy, reserve from every limit, record. The order is the order of
// checks that docs/order-of-checks.md publishes, each step with a stable
// reason code. The same engine serves production, answers gateways and plays
// simulations; only the ports it is given and the times it is told differ.
//
// # Errors
//
// A denial is a value: Decide returns it as a Decision with a nil error. An
// error means that no decision was reached, and no caller may treat it as an
// allow.
//
// # Imports
//
// The package knows no HTTP, no SQL, no policy language and no plugin runtime.
// It imports the standard library, engine/clock and engine/quota, and must
// never import anything else. What it needs from outside it asks for through
// the small interfaces in ports.go.
package engine
