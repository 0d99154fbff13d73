// Package migrations holds the database's schema as SQL files in goose's
// format, embedded in the binary and applied by server/postgres.
//
// In production they only go forward. Each has a down all the same, which the
// tests of server/postgres take every migration through. A file that has been
// released is never changed; what it got wrong the next one puts right.
//
// # Roles
//
// Nothing below assumes a superuser. Whoever migrates owns the database and
// may create roles; twyn_server and twyn_system are made by the first
// migration and granted to the one who migrates. They belong to the cluster,
// not to the database, so no down drops them.
//
// Row-level security is forced, on the owner too: a migration that moves data
// of a tenant table must lift it for its own transaction (ALTER TABLE … NO
// FORCE ROW LEVEL SECURITY, and back).
//
// The package imports the standard library and must never import anything
// else.
package migrations

import "embed"

// FS holds the migrations, named NNNNN_noun.sql.
//
//go:embed *.sql
var FS embed.FS
