// Package policies judges requests with policies written in Rego.
//
// Load reads a directory of policies into a Set: compiled once, prepared once,
// immutable. Set.Judge asks it for data.twyn.decision. Engine holds the Set
// that is live and implements engine.Policy; Engine.Watch replaces the Set when
// the directory changes. Default is the directory that is part of the program.
//
// # What a policy may not do
//
// A decision is a function of its input and of the files of its set. Built-in
// functions that reach the network, the environment, the clock or a source of
// randomness do not exist for policies; capabilities.go lists them. The input
// is typed: a reference to something that schema/input.json does not describe
// does not compile.
//
// # What a decision costs
//
// A Set knows which parts of the input its rules can read (footprint.go). Judge
// remembers decisions by exactly these parts (encode.go, memo.go), so it
// evaluates once for all requests that agree on them. What it does evaluate runs
// compiled, by package plan, where that is proven equal to OPA's interpreter, and
// ends after the time that Options allow (evaluator.go).
//
// # Errors
//
// Files that do not make a policy are a *CompileError, which names the place
// of each mistake. A decision that is undefined, malformed, contradictory or
// interrupted is an error of Judge, never an allow.
//
// # Concurrency
//
// Sets and Engines are safe for concurrent use. One decision is made by one
// whole Set, even while another one takes its place.
//
// # Imports
//
// The package knows OPA, the engine and its quota arithmetic. It must never
// import HTTP, SQL or the server.
package policies
