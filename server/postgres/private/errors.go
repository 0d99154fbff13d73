package private

import (
	"fmt"
	"strings"
)

// NotInstalledError means that the machine has no PostgreSQL server programs.
// Its message says what to install.
type NotInstalledError struct {
	// Searched lists where they were looked for.
	Searched []string
}

// Error says what to install.
func (e *NotInstalledError) Error() string {
	return fmt.Sprintf(`no PostgreSQL server (programs initdb and postgres, version %d or newer) in %s; install it and try again:
  Debian, Ubuntu: sudo apt-get install postgresql
  Fedora:         sudo dnf install postgresql-server
  Alpine:         sudo apk add postgresql
  macOS:          brew install postgresql@17
or set DATABASE_URL to use a server that is running elsewhere`, oldestMajor, strings.Join(e.Searched, ", "))
}

// VersionError means that the cluster was made by a major version of PostgreSQL
// that is no longer on the machine; no other version can read it.
type VersionError struct {
	Dir  string // the cluster's data
	Want int    // its major version
	Have []int  // the major versions on the machine
}

// Error names the version to install.
func (e *VersionError) Error() string {
	return fmt.Sprintf("the data in %s was written by PostgreSQL %d, but this machine has only %v; install PostgreSQL %d, or move the directory away to begin with an empty database",
		e.Dir, e.Want, e.Have, e.Want)
}

// UnreachableError means that the user who runs the server, because root may
// not, is kept out of a directory or program.
type UnreachableError struct {
	User string
	Path string
}

// Error names the user and the path.
func (e *UnreachableError) Error() string {
	return fmt.Sprintf("PostgreSQL does not run as root, and user %s cannot reach %s; let the user pass, or choose another data directory", e.User, e.Path)
}

// ServerError means that a program of PostgreSQL failed.
type ServerError struct {
	Program string
	// Log is the end of what the program said.
	Log string
	Err error
}

// Error has the end of the program's log.
func (e *ServerError) Error() string {
	return fmt.Sprintf("%s failed: %v: %s", e.Program, e.Err, e.Log)
}

// Unwrap returns how the program ended.
func (e *ServerError) Unwrap() error { return e.Err }
