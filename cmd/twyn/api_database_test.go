package main_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	_ "github.com/lib/pq" // the driver
)

// behind runs statements behind the server's back, in one transaction, as the
// owner of the tables. Row-level security, which holds the owner too, is lifted
// inside the transaction, and would be an error where it still hid a row: a
// test that sees nothing must not pass.
func (s *testServer) behind(t testing.TB, do func(tx *sql.Tx)) {
	t.Helper()
	db, err := sql.Open("postgres", s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	run := func(statement string) {
		if _, err := tx.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	run("SET LOCAL row_security = off")
	walled := strs(t, tx, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relforcerowsecurity ORDER BY relname`)
	for _, table := range walled {
		run(fmt.Sprintf("ALTER TABLE %q NO FORCE ROW LEVEL SECURITY", table))
	}
	do(tx)
	for _, table := range walled {
		run(fmt.Sprintf("ALTER TABLE %q FORCE ROW LEVEL SECURITY", table))
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// queryInt returns one number.
func (s *testServer) queryInt(t testing.TB, query string, arguments ...any) int {
	t.Helper()
	var n int
	s.behind(t, func(tx *sql.Tx) {
		if err := tx.QueryRowContext(t.Context(), query, arguments...).Scan(&n); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	})
	return n
}

// execute changes one row or more.
func (s *testServer) execute(t testing.TB, statement string, arguments ...any) {
	t.Helper()
	s.behind(t, func(tx *sql.Tx) {
		result, err := tx.ExecContext(t.Context(), statement, arguments...)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		if n, err := result.RowsAffected(); err != nil || n == 0 {
			t.Fatalf("%s: changed %d rows, %v", statement, n, err)
		}
	})
}

// dump returns every row of every table of the product, sorted.
func (s *testServer) dump(t testing.TB) []string {
	t.Helper()
	var dump []string
	s.behind(t, func(tx *sql.Tx) {
		for _, table := range strs(t, tx, `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
			AND relkind IN ('r', 'p') AND NOT relispartition AND relname NOT LIKE 'goose%'`) {
			for _, row := range strs(t, tx, fmt.Sprintf("SELECT to_jsonb(t)::text FROM %q t", table)) {
				dump = append(dump, table+" "+row)
			}
		}
	})
	slices.Sort(dump)
	return dump
}

// strs runs a query of one text column.
func strs(t testing.TB, tx *sql.Tx, query string) []string {
	t.Helper()
	rows, err := tx.QueryContext(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// orderedNames lists the names of a JSON object in the order of its bytes.
func orderedNames(t testing.TB, object []byte) []string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprint(name))
	}
	return names
}
