package private

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// superuser is the role that initdb makes. It has no password, and so, by
// pg_hba.conf, no way in; only `postgres --single` acts for it.
const superuser = "postgres"

// orphanWait is how long the children of a program that was stopped may keep
// its output open.
const orphanWait = 5 * time.Second

// initialise makes the cluster's data with the role and the database twyn. The
// data gets its name last, so that half-made data is never taken for whole.
func (l *launcher) initialise(ctx context.Context) error {
	if err := removeUnfinished(l.home); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(l.home, initPrefix)
	if err != nil {
		return fmt.Errorf("making new data: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // nothing once it is renamed
	if err := l.account.own(dir); err != nil {
		return err
	}
	l.log.Info("making a new database cluster", "dir", l.home, "user", l.account.name, "version", l.in.major)
	args := []string{
		"--pgdata=" + dir, "--username=" + superuser, "--encoding=UTF8", "--locale=C", "--data-checksums",
		"--auth-local=scram-sha-256", "--auth-host=reject", "--no-instructions",
	}
	if l.fast {
		args = append(args, "--no-sync")
	}
	if err := l.run(ctx, "", "initdb", args...); err != nil {
		return err
	}
	const create = "CREATE ROLE " + Role + " LOGIN CREATEROLE CREATEDB\nCREATE DATABASE " + Database + " OWNER " + Role + "\n"
	if err := l.single(ctx, dir, create); err != nil {
		return err
	}
	if err := l.resetPassword(ctx, dir); err != nil {
		return err
	}
	if err := os.Rename(dir, filepath.Join(l.home, dataName)); err != nil {
		return fmt.Errorf("naming the new data: %w", err)
	}
	return syncDirectory(l.home)
}

// ensurePassword gives the role a new password if the file with its password
// is gone. A cut between the two steps leaves no file, and so is made good by
// the next start.
func (l *launcher) ensurePassword(ctx context.Context) error {
	_, err := os.Lstat(l.path(passwordName))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.log.Warn("the database's password file is gone; setting a new password", "file", l.path(passwordName))
	return l.resetPassword(ctx, l.data())
}

// resetPassword gives the role a random password and keeps it in a file. The
// server must not be running.
func (l *launcher) resetPassword(ctx context.Context, dir string) error {
	password, salt := rand.Text(), make([]byte, 16)
	_, _ = rand.Read(salt) // never fails
	verifier, err := scramVerifier(password, salt)
	if err != nil {
		return err
	}
	if err := l.single(ctx, dir, "ALTER ROLE "+Role+" PASSWORD '"+verifier+"'\n"); err != nil {
		return err
	}
	return l.writePassword(password)
}

// scramVerifier is what PostgreSQL stores of a password, so that neither the
// server nor its log ever sees the password itself (RFC 5802 and 7677).
func scramVerifier(password string, salt []byte) (string, error) {
	const iterations = 4096
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("deriving the database's password: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt), encode(stored[:]), encode(mac("Server Key"))), nil
}

// writePassword replaces the password file as a whole.
func (s *site) writePassword(password string) error {
	f, err := os.CreateTemp(s.dataDir, passwordName+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing the database's password: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // nothing once it is renamed
	_, err = f.WriteString(password + "\n")
	err = errors.Join(err, giveToOwner(f, s.dataDir), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), s.path(passwordName))
	}
	if err != nil {
		return fmt.Errorf("writing the database's password: %w", err)
	}
	return syncDirectory(s.dataDir)
}

func (s *site) readPassword() (string, error) {
	text, err := os.ReadFile(s.path(passwordName))
	if err != nil {
		return "", fmt.Errorf("reading the database's password: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// majorVersion returns the major version that made the data, or 0 if there is
// no data yet.
func majorVersion(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "PG_VERSION")) //nolint:gosec // the cluster's own file
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("reading the cluster's version: %w", err)
	}
	return major, nil
}

// single runs statements, one to a line, as the superuser without a server.
func (l *launcher) single(ctx context.Context, dir, statements string) error {
	// A failing statement is not written to the log: it may hold a verifier.
	args := []string{"--single", "-D", dir, "-c", "exit_on_error=on", "-c", "log_min_error_statement=panic"}
	if l.fast {
		args = append(args, "-c", "fsync=off")
	}
	return l.run(ctx, statements, "postgres", append(args, superuser)...)
}

// run runs a program of PostgreSQL to its end.
func (l *launcher) run(ctx context.Context, input, program string, args ...string) error {
	cmd := l.account.command(ctx, l.home, l.running, l.in.program(program), args...)
	cmd.Stdin = strings.NewReader(input)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.WaitDelay = orphanWait
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("running %s: %w", program, ctx.Err())
	case errors.As(err, &exit):
		return &ServerError{Program: program, Log: tail(output.Bytes()), Err: err}
	default:
		return fmt.Errorf("running %s: %w", program, err)
	}
}

// syncDirectory makes a rename in dir outlast a crash of the machine.
func syncDirectory(dir string) error {
	f, err := os.Open(dir) //nolint:gosec // a directory that this package made
	if err != nil {
		return fmt.Errorf("syncing a directory: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing a directory: %w", err)
	}
	return nil
}
