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

// open connects to the server's database as its owner.
func (s *testServer) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	// One connection, on which row-level security is an error where it would
	// hide a row: a test that sees nothing must not pass.
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(t.Context(), "SET row_security = off"); err != nil {
		t.Fatal(err)
	}
	return db
}

// queryInt returns one number.
func (s *testServer) queryInt(t testing.TB, query string, arguments ...any) int {
	t.Helper()
	db := s.open(t)
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRowContext(t.Context(), query, arguments...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// execute changes the database behind the server's back.
func (s *testServer) execute(t testing.TB, statement string, arguments ...any) {
	t.Helper()
	db := s.open(t)
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), statement, arguments...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// dump returns every row of every table of the product, sorted.
func (s *testServer) dump(t testing.TB) []string {
	t.Helper()
	db := s.open(t)
	defer func() { _ = db.Close() }()
	var dump []string
	for _, table := range strs(t, db, `SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%'`) {
		for _, row := range strs(t, db, fmt.Sprintf("SELECT to_jsonb(t)::text FROM %q t", table)) {
			dump = append(dump, table+" "+row)
		}
	}
	slices.Sort(dump)
	return dump
}

// strs runs a query of one text column.
func strs(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query)
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
