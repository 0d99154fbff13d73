package postgres

import (
	"database/sql"

	"github.com/pressly/goose/v3"
)

// Probe makes statement replace each statement before it runs, and tenant the
// tenant that is named to row-level security; nil leaves them as they are.
func (s *Store) Probe(statement, tenant func(string) string) {
	s.probe = probe{statement: statement, tenant: tenant}
}

// DB is the store's pool.
func (s *Store) DB() *sql.DB { return s.db.DB }

// NewProvider returns what Migrate migrates with.
func NewProvider(db *sql.DB) (*goose.Provider, error) { return newProvider(db) }

// DeleteChunk is how much housekeeping deletes at once.
const DeleteChunk = deleteChunk
