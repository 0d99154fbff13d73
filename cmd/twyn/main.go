// Command twyn is the access-policy engine for multi-tenant APIs: the server,
// and what an operator does from a terminal.
//
// It joins everything and decides nothing: serve.go is all the wiring, top to
// bottom. Nothing may import it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // Policies name time zones; the answer must not depend on the machine.
)

// version is set by the linker.
var version = "dev"

// Exit codes. They are part of the command line's contract.
const (
	exitOK      = 0
	exitFailure = 1 // what was asked could not be done
	exitUsage   = 2 // the command line or a setting is wrong
	exitCompile = 3 // policies do not compile
	exitTests   = 4 // tests of policies failed, or cover too little
	exitLint    = 5 // lint found something in policies
)

// usageError marks an error in the command line or in a setting.
type usageError struct{ error }

// Unwrap returns the error itself.
func (e usageError) Unwrap() error { return e.error }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anything
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	root := newRoot(getenv)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var usage usageError
	var coded exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		_, _ = fmt.Fprintf(stderr, "twyn: %v\n", err)
		return exitUsage
	case errors.As(err, &coded):
		_, _ = fmt.Fprintf(stderr, "twyn: %v\n", err)
		return coded.code
	default:
		_, _ = fmt.Fprintf(stderr, "twyn: %v\n", err)
		return exitFailure
	}
}
