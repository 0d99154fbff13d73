package postgres

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/twyn/twyn/engine"
)

const (
	// setTenant names the tenant whose rows the transaction may see.
	setTenant = `SELECT set_config('twyn.tenant', $1, true)`
	// setRole changes the rights of the transaction.
	setRole = `SELECT set_config('role', $1, true)`
)

// tx is a transaction whose statements all pass the store's probe.
type tx struct {
	tx    *sqlx.Tx
	store *Store
}

// access is what a transaction is for.
type access struct {
	tenantID string
	system   bool // across tenants, as twyn_system
	readOnly bool
	snapshot bool // all statements see the same state
}

// read runs f in a transaction that sees one tenant and changes nothing. f may
// run twice: it has no effect but the values it sets.
func (s *Store) read(ctx context.Context, tenantID string, f func(*tx) error) error {
	return s.run(ctx, access{tenantID: tenantID, readOnly: true}, f)
}

// list is read for several statements that have to agree with each other.
func (s *Store) list(ctx context.Context, tenantID string, f func(*tx) error) error {
	return s.run(ctx, access{tenantID: tenantID, readOnly: true, snapshot: true}, f)
}

// write runs f in a transaction that sees and changes one tenant.
func (s *Store) write(ctx context.Context, tenantID string, f func(*tx) error) error {
	return s.run(ctx, access{tenantID: tenantID}, f)
}

// readSystem is read across tenants.
func (s *Store) readSystem(ctx context.Context, f func(*tx) error) error {
	return s.run(ctx, access{system: true, readOnly: true}, f)
}

// listSystem is list across tenants.
func (s *Store) listSystem(ctx context.Context, f func(*tx) error) error {
	return s.run(ctx, access{system: true, readOnly: true, snapshot: true}, f)
}

// writeSystem is write across tenants.
func (s *Store) writeSystem(ctx context.Context, f func(*tx) error) error {
	return s.run(ctx, access{system: true}, f)
}

// run runs f in a transaction and explains its error. A pooled connection may
// have died unnoticed: whatever failed for that before it could have changed
// anything is tried once more.
func (s *Store) run(ctx context.Context, a access, f func(*tx) error) error {
	began, err := s.once(ctx, a, f)
	if err != nil && ctx.Err() == nil && lost(err) && (a.readOnly || !began) {
		began, err = s.once(ctx, a, f)
	}
	if err != nil && !began {
		return unconnected(ctx, err)
	}
	return explain(ctx, err)
}

// once runs f in one transaction. It reports whether f was begun.
func (s *Store) once(ctx context.Context, a access, f func(*tx) error) (began bool, err error) {
	o := &sql.TxOptions{ReadOnly: a.readOnly}
	if a.snapshot {
		o.Isolation = sql.LevelRepeatableRead
	}
	raw, err := s.db.BeginTxx(ctx, o)
	if err != nil {
		return false, err
	}
	// After a commit this does nothing; before it, the error that led here
	// is the one to report.
	defer func() { _ = raw.Rollback() }()
	t := &tx{tx: raw, store: s}
	if a.system {
		err = t.become(ctx, systemRole)
	} else {
		err = t.enter(ctx, a.tenantID)
	}
	if err != nil {
		return false, err
	}
	if err := f(t); err != nil {
		return true, err
	}
	return true, raw.Commit()
}

// enter names the tenant whose rows the transaction may see from here on.
func (t *tx) enter(ctx context.Context, tenantID string) error {
	if p := t.store.probe.tenant; p != nil {
		tenantID = p(tenantID)
	}
	_, err := t.tx.ExecContext(ctx, setTenant, tenantID)
	return err
}

// become changes the rights of the transaction from here on.
func (t *tx) become(ctx context.Context, role string) error {
	_, err := t.tx.ExecContext(ctx, setRole, role)
	return err
}

// one reads one row into the struct that row points to.
func (t *tx) one(ctx context.Context, row any, statement string, args ...any) error {
	return t.tx.GetContext(ctx, row, t.probed(statement), args...)
}

// all reads all rows into the slice that rows points to.
func (t *tx) all(ctx context.Context, rows any, statement string, args ...any) error {
	return t.tx.SelectContext(ctx, rows, t.probed(statement), args...)
}

// exec runs a statement and returns how many rows it changed.
func (t *tx) exec(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := t.tx.ExecContext(ctx, t.probed(statement), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// execOne runs a statement that has to change a row, or else what it names
// does not exist.
func (t *tx) execOne(ctx context.Context, statement string, args ...any) error {
	n, err := t.exec(ctx, statement, args...)
	if err == nil && n == 0 {
		return engine.ErrNotFound
	}
	return err
}

func (t *tx) probed(statement string) string {
	if p := t.store.probe.statement; p != nil {
		return p(statement)
	}
	return statement
}
