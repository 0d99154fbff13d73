// Package postgres keeps keys, tenants, scenarios, simulations, idempotent
// answers, usage and the counters of limits in PostgreSQL. *Store implements
// every store that server and engine declare.
//
// # Two walls between tenants
//
// Every statement on a tenant's rows names the tenant, always in the form
// "tenant_id = $1". Behind that stands row-level security: connections work as
// the role twyn_server, which owns nothing and sees only the rows of the tenant
// that the transaction has named. The few statements that look across tenants
// run as twyn_system, whose rights are granted column by column. A test takes
// the first wall away from every statement and finds the second standing.
//
// # Files
//
// One noun per file. Statements are constants above the function that runs
// them. The exported method opens and commits a transaction, the unexported
// one takes it.
//
// # Errors
//
// Errors are engine.ErrNotFound, engine.ErrConflict, engine.ErrUnavailable or
// the context's own, with what was being done in front. Anything else is a
// defect. The driver's errors are never wrapped: their details hold values.
//
// # Imports
//
// The package imports engine, engine/quota, engine/clock, migrations, sqlx,
// lib/pq and goose, and must never import HTTP, OPA or the server.
package postgres
