// Package plan evaluates Rego policies many times faster than OPA's interpreter.
//
// OPA's compiler can turn a policy into a plan: a small imperative program in an
// intermediate representation (package ir of OPA), made for its WebAssembly
// target. Compile asks OPA for the plan of one entry point and turns each of its
// statements into a Go closure that works on a frame of locals, with constants,
// and rules that depend on nothing, evaluated once. Program.Eval runs them: no
// goroutine, no JSON, few allocations. Built-in functions are OPA's own.
//
// The interpreter stays the authority. What is not known to give the same result
// is an *UnsupportedError of Compile, which says where it stands, and the caller
// interprets that policy: "with" on anything but input, built-in functions that
// depend on the clock, the network or chance, and a few constructs where plans
// and the interpreter differ. OPA's own test cases, and fuzzing against the
// interpreter, hold the rest to it.
//
// # Errors
//
// Evaluation is strict: an error of a built-in function is an error of the
// evaluation, as with rego.StrictBuiltinErrors(true), and so are conflicts, such
// as a rule with two values. These are *topdown.Error with OPA's codes. The
// interpreter may skip what cannot matter to a result any more, by an index or
// once a rule has its value, where the compiled policy still evaluates it. It
// then has a value where the compiled policy has an error; never the other way
// around. A caller that wants exactly what the interpreter says asks it when Eval
// returns a *topdown.Error, unless topdown.IsCancel holds for it.
//
// An evaluation whose context ends returns a *topdown.Error for which
// topdown.IsCancel holds, within microseconds, or within one call of a built-in
// function. One that goes over Options.MaxSteps or MaxBytes returns a
// *BudgetError. A panic is an error that wraps ErrPanic. No value that comes with
// an error may be used, and no error is an allow.
//
// # Concurrency
//
// A Program and Data never change after they are made and may be used by many
// goroutines. Each evaluation has a machine of its own, which is pooled.
//
// # Imports
//
// The package imports the standard library and OPA, nothing else: what a
// decision is, and what policies may do, is not its business.
package plan
