package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"

	"github.com/twyn/twyn/engine"
)

// known are the errors that say enough already.
var known = [...]error{
	engine.ErrNotFound, engine.ErrConflict, engine.ErrUnavailable, context.Canceled, context.DeadlineExceeded,
}

// explain turns an error of the driver into one of the package's. What the
// driver says is repeated, its details, which hold values, are not.
func explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	// A statement that was cancelled fails in many ways, all of which mean
	// that the caller has gone.
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, sentinel := range known {
		if errors.Is(err, sentinel) {
			return err
		}
	}
	var refused *pq.Error
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return engine.ErrNotFound
	case errors.As(err, &refused):
		return explainCode(refused)
	case lost(err):
		return fmt.Errorf("%w: %s", engine.ErrUnavailable, err) //nolint:errorlint // The driver's errors stay inside.
	default:
		return err
	}
}

// unconnected is explain for an error that came before any statement of the
// caller's: whatever its reason, the answer is not known.
func unconnected(ctx context.Context, err error) error {
	err = explain(ctx, err)
	if err == nil || ctx.Err() != nil || errors.Is(err, engine.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %s", engine.ErrUnavailable, err) //nolint:errorlint // No connection is not "not found".
}

// explainCode maps an error that PostgreSQL itself gave.
func explainCode(refused *pq.Error) error {
	what := refused.Message
	if refused.Constraint != "" {
		// The message of a constraint may hold values, its name does not.
		what = "constraint " + refused.Constraint
	}
	what = fmt.Sprintf("%s (%s)", what, refused.Code)
	switch {
	case refused.Code == pqerror.UniqueViolation:
		return fmt.Errorf("%w: %s", engine.ErrConflict, what)
	case refused.Code == pqerror.ForeignKeyViolation:
		// Nothing deletes what others need, so it is what a row points at
		// that does not exist.
		return fmt.Errorf("%w: %s", engine.ErrNotFound, what)
	case away(refused):
		return fmt.Errorf("%w: %s", engine.ErrUnavailable, what)
	default:
		return errors.New(what)
	}
}

// away reports whether PostgreSQL refused because of its own state, so that
// the same statement may succeed later.
func away(refused *pq.Error) bool {
	switch refused.Code {
	case pqerror.QueryCanceled, // The statement timeout; a cancelled context is found out before.
		pqerror.LockNotAvailable, pqerror.ReadOnlySQLTransaction, pqerror.InvalidCatalogName,
		pqerror.AdminShutdown, pqerror.CrashShutdown, pqerror.CannotConnectNow, pqerror.DatabaseDropped,
		pqerror.IdleInTransactionSessionTimeout, pqerror.IdleSessionTimeout:
		return true
	}
	switch refused.Code.Class() {
	case "08", // connection exception
		"28", // invalid authorization: the password was changed, say
		"40", // transaction rollback: serialization, deadlock
		"53", // insufficient resources: connections, disk, memory
		"58": // system error
		return true
	}
	return false
}

// lost reports whether an error means that the connection is gone.
func lost(err error) bool {
	var network net.Error
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network)
}
