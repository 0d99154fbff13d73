// Package private runs a PostgreSQL of twyn's own, for a machine on which
// nobody has set one up: `twyn serve` without DATABASE_URL, the commands beside
// it, and the tests.
//
// # Sharing
//
// Any number of processes may use one data directory. Three files in it carry
// the agreement, all by flock, which the kernel releases however a process
// ends:
//
//   - postgres.lock is held while a process starts, joins or leaves, so that
//     these happen one at a time.
//   - postgres.users is held shared by every process that uses the cluster. The
//     one that leaves last stops it.
//   - postgres.running is held by the postmaster and all its children, which
//     inherit it, and by initdb. Whoever can lock it knows that no process of
//     the cluster is left, which a process id in a file cannot tell.
//
// # Layout
//
// The cluster lives in DataDir/postgres: the data, the socket's directory and
// the log. Started as root, it runs as another user; if that user cannot reach
// DataDir, DataDir/postgres is a symbolic link to a directory that it can reach.
// Nothing in a directory that belongs to that user is written by root.
//
// # Imports
//
// The package imports the standard library and must never import a database
// driver or anything else of twyn.
package private

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Role is the role that URL logs in as. It owns Database and may create roles
// and databases; it is no superuser.
const Role = "twyn"

// Database is the database that URL names.
const Database = "twyn"

// The files in DataDir beside the cluster itself.
const (
	clusterName  = "postgres"
	lockName     = "postgres.lock"
	usersName    = "postgres.users"
	runningName  = "postgres.running"
	passwordName = "postgres.password"
)

// Options say where the cluster lives.
type Options struct {
	// DataDir is the directory that holds the cluster; it is made if it does
	// not exist.
	DataDir string
	// Logger hears what is done and why; nil: nobody does.
	Logger *slog.Logger
	// Fast trades every promise about a machine that crashes for speed. It
	// is for tests only, and acts in the process that starts the server.
	Fast bool
}

// Cluster is one process's use of a private PostgreSQL.
type Cluster struct {
	site     *site
	url      string
	socket   string // directory
	users    *os.File
	stopLog  func()
	stopping sync.Mutex
	stopped  bool
}

// Start joins the PostgreSQL of opts.DataDir, or makes and starts it if it is
// not there or not running. It returns when the server accepts connections or
// ctx ends. The errors that a user can do something about are
// NotInstalledError, VersionError, UnreachableError and ServerError.
func Start(ctx context.Context, opts Options) (_ *Cluster, err error) {
	s, err := newSite(opts)
	if err != nil {
		return nil, err
	}
	turn, err := acquire(ctx, s.path(lockName), syscall.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer release(turn)
	users, err := acquire(ctx, s.path(usersName), syscall.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			release(users)
		}
	}()
	at, err := s.joinOrLaunch(ctx)
	if err != nil {
		return nil, err
	}
	return &Cluster{
		site:    s,
		url:     at.url(),
		socket:  at.socket,
		users:   users,
		stopLog: s.boundLogs(),
	}, nil
}

// URL returns a connection string for the database twyn as the role twyn. It
// holds the password.
func (c *Cluster) URL() string { return c.url }

// Stop leaves the cluster, and if no other process uses it, stops the server
// and waits until it is gone or ctx ends. The server has been told to stop then
// and will. A second Stop does nothing.
func (c *Cluster) Stop(ctx context.Context) error {
	c.stopping.Lock()
	defer c.stopping.Unlock()
	if c.stopped {
		return nil
	}
	c.stopped = true
	c.stopLog()
	defer release(c.users)
	turn, err := acquire(ctx, c.site.path(lockName), syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	defer release(turn)
	last, err := tryLock(c.users, syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	if !last {
		c.site.log.Debug("left PostgreSQL running for other processes", "data_dir", c.site.dataDir)
		return nil
	}
	if err := c.site.shutdown(ctx); err != nil {
		return fmt.Errorf("stopping PostgreSQL: %w", err)
	}
	removeTemporarySocket(c.socket)
	c.site.log.Info("PostgreSQL stopped", "data_dir", c.site.dataDir)
	return nil
}

// site is a data directory and what is known about the cluster in it.
type site struct {
	dataDir string // absolute, without symbolic links
	log     *slog.Logger
	fast    bool
}

func newSite(opts Options) (*site, error) {
	if opts.DataDir == "" {
		return nil, fmt.Errorf("starting PostgreSQL: no data directory given")
	}
	s := &site{log: opts.Logger, fast: opts.Fast}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	dir, err := filepath.Abs(opts.DataDir)
	if err != nil {
		return nil, fmt.Errorf("finding the data directory: %w", err)
	}
	if err := makeDirectory(dir, directoryMode()); err != nil {
		return nil, fmt.Errorf("making the data directory: %w", err)
	}
	if s.dataDir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, fmt.Errorf("finding the data directory: %w", err)
	}
	return s, nil
}

// directoryMode is the mode of directories above the cluster. Root's must let
// the cluster's user through; what they hold is closed by its own mode.
func directoryMode() os.FileMode {
	if os.Geteuid() == 0 {
		return 0o711
	}
	return 0o700
}

func (s *site) path(name string) string { return filepath.Join(s.dataDir, name) }

// endpoint is where a running server is reached.
type endpoint struct {
	socket   string // directory
	password string
}

func (e endpoint) url() string {
	query := url.Values{"host": {e.socket}, "sslmode": {"disable"}}.Encode()
	u := url.URL{
		Scheme: "postgres",
		User:   url.UserPassword(Role, e.password),
		Path:   "/" + Database,
		// libpq reads %20 as a space but not the plus sign.
		RawQuery: strings.ReplaceAll(query, "+", "%20"),
	}
	return u.String()
}
