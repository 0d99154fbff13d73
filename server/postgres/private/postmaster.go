package private

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// abandonWait is how long a server that did not become ready may take to
	// stop.
	abandonWait = 10 * time.Second
	// answerWait is how long a live server may take to answer.
	answerWait = 5 * time.Second
)

// joinOrLaunch finds the running server, waits for one that is starting or
// stopping, or launches it. Its caller holds the lock postgres.lock.
func (s *site) joinOrLaunch(ctx context.Context) (endpoint, error) {
	running, err := openLock(s.path(runningName))
	if err != nil {
		return endpoint{}, err
	}
	// Closing, unlike unlocking, leaves the lock to a server that inherited it.
	defer func() { _ = running.Close() }()
	var at endpoint
	tries := 0
	err = poll(ctx, func() (bool, error) {
		if tries++; tries == 2 {
			s.log.Info("waiting for the PostgreSQL that is starting or stopping", "data_dir", s.dataDir)
		}
		free, err := tryLock(running, syscall.LOCK_EX)
		if err != nil {
			return false, err
		}
		if free {
			at, err = s.launch(ctx, running)
			return true, err
		}
		pm, err := s.postmaster()
		if err != nil || !pm.ready || !pm.answers(ctx) {
			return false, err
		}
		at.socket = pm.socket
		at.password, err = s.readPassword()
		s.log.Debug("joined the running PostgreSQL", "data_dir", s.dataDir)
		return true, err
	})
	if err != nil {
		return endpoint{}, fmt.Errorf("starting PostgreSQL in %s: %w", s.dataDir, err)
	}
	return at, nil
}

// launcher is what is needed to run programs on a cluster that is not running.
type launcher struct {
	*site
	account account
	in      installation
	home    string
	running *os.File
}

// launch starts the server, on new data if there is none. Its caller holds
// running, so no process of the cluster is left.
func (s *site) launch(ctx context.Context, running *os.File) (endpoint, error) {
	a, err := clusterAccount(s.data())
	if err != nil {
		return endpoint{}, err
	}
	major, err := majorVersion(s.data())
	if err != nil {
		return endpoint{}, err
	}
	in, err := systemSearch().choose(ctx, s.data(), major)
	if err != nil {
		return endpoint{}, err
	}
	home, err := s.prepareHome(ctx, a, in)
	if err != nil {
		return endpoint{}, err
	}
	l := &launcher{site: s, account: a, in: in, home: home, running: running}
	if major == 0 {
		err = l.initialise(ctx)
	} else if err = s.clearStale(ctx); err == nil {
		err = l.ensurePassword(ctx)
	}
	if err != nil {
		return endpoint{}, err
	}
	socket, err := prepareSocket(ctx, a, in, home)
	if err != nil {
		return endpoint{}, err
	}
	password, err := s.readPassword()
	if err == nil {
		err = l.serve(ctx, socket)
	}
	if err != nil {
		removeTemporarySocket(socket)
		return endpoint{}, err
	}
	s.log.Info("PostgreSQL started", "data_dir", s.dataDir, "version", in.major, "user", a.name)
	return endpoint{socket: socket, password: password}, nil
}

// serve starts the postmaster and waits until it accepts connections. The
// postmaster outlives this process.
func (l *launcher) serve(ctx context.Context, socket string) error {
	if err := l.boundLog(); err != nil {
		return err
	}
	log, start, err := l.openLog()
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := l.account.command(context.WithoutCancel(ctx), l.home, l.running, l.in.program("postgres"), l.settings(socket)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("running postgres: %w", err)
	}
	ended := make(chan struct{})
	var outcome error
	go func() {
		defer close(ended)
		outcome = cmd.Wait()
	}()
	err = poll(ctx, func() (bool, error) {
		select {
		case <-ended:
			return false, &ServerError{Program: "postgres", Log: l.logSince(start), Err: outcome}
		default:
		}
		pm, err := l.postmaster()
		return err == nil && pm.ready && pm.answers(ctx), err
	})
	if err != nil {
		abandon(cmd, ended)
	}
	return err
}

// abandon stops a server that did not become ready, so that the next start
// need not wait for it.
func abandon(cmd *exec.Cmd, ended <-chan struct{}) {
	_ = cmd.Process.Signal(os.Interrupt)
	wait := time.NewTimer(abandonWait)
	defer wait.Stop()
	select {
	case <-ended:
	case <-wait.C:
	}
}

// settings are the postmaster's arguments. They stand here and not in
// postgresql.conf so that a new version of twyn brings them to old data.
func (l *launcher) settings(socket string) []string {
	args := []string{"-D", filepath.Join(l.home, dataName)}
	set := func(pairs ...string) {
		for _, pair := range pairs {
			args = append(args, "-c", pair)
		}
	}
	set("listen_addresses=", "port=5432", "unix_socket_directories="+socket, "unix_socket_permissions=0700",
		"password_encryption=scram-sha-256", "timezone=UTC", "log_timezone=UTC", "cluster_name=twyn",
		// Everything goes to the log that boundLog bounds. Terse errors
		// without their statement keep rows and their digests out of it.
		"logging_collector=off", "log_destination=stderr", "log_line_prefix=%m [%p] ", "log_checkpoints=off",
		"log_error_verbosity=terse", "log_min_error_statement=panic")
	// A commit is handed to the system before it is answered in either case,
	// so only a crash of the whole machine tells the two apart.
	set("synchronous_commit=on")
	if l.fast {
		set("max_connections=500", "fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "max_wal_size=256MB")
	} else {
		set("max_connections=200", "fsync=on", "full_page_writes=on")
	}
	return args
}

// shutdown stops the server and waits until no process of it is left. Its
// caller holds the lock postgres.lock.
func (s *site) shutdown(ctx context.Context) error {
	running, err := openLock(s.path(runningName))
	if err != nil {
		return err
	}
	defer release(running)
	var told postmaster
	err = poll(ctx, func() (bool, error) {
		free, err := tryLock(running, syscall.LOCK_EX)
		if free || err != nil {
			return free, err
		}
		pm, err := s.postmaster()
		// That its socket answers proves that the process id is not stale.
		// ctx may have ended already; the server is told all the same.
		if err != nil || pm.pid <= 1 || pm.pid == told.pid || !pm.answers(context.WithoutCancel(ctx)) {
			return false, err
		}
		if err := syscall.Kill(pm.pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
			return false, fmt.Errorf("signalling process %d: %w", pm.pid, err)
		}
		told = pm
		return false, nil
	})
	if err == nil {
		removeTemporarySocket(told.socket)
	}
	return err
}

// clearStale removes what a killed server left behind. PostgreSQL would do so
// too, but is misled if another process has got the same process id since, as
// happens whenever a container is restarted.
func (s *site) clearStale(ctx context.Context) error {
	pm, err := s.postmaster()
	if err != nil || pm.answers(ctx) {
		return err // a server that was started by hand; PostgreSQL will say so
	}
	removeTemporarySocket(pm.socket)
	err = os.Remove(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("clearing up after a killed server: %w", err)
	}
	return nil
}

// postmaster is what a server says of itself in postmaster.pid.
type postmaster struct {
	pid    int
	socket string // directory
	ready  bool
}

// postmaster reads postmaster.pid. Its zero value means that there is none, or
// that it is not complete.
func (s *site) postmaster() (postmaster, error) {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if errors.Is(err, fs.ErrNotExist) {
		return postmaster{}, nil
	}
	if err != nil {
		return postmaster{}, fmt.Errorf("looking for the running server: %w", err)
	}
	return parsePostmaster(string(text)), nil
}

// parsePostmaster knows the lines of the file: process id, data directory,
// start time, port, socket directory, listen address, shared memory, status.
func parsePostmaster(text string) postmaster {
	const pidLine, socketLine, statusLine = 0, 4, 7
	lines := strings.Split(text, "\n")
	if len(lines) <= socketLine {
		return postmaster{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(lines[pidLine]))
	if err != nil || pid <= 1 {
		return postmaster{} // 0 and below would signal whole process groups
	}
	return postmaster{
		pid:    pid,
		socket: lines[socketLine],
		ready:  len(lines) > statusLine && strings.TrimSpace(lines[statusLine]) == "ready",
	}
}

// answers reports whether a live server stands behind the socket. It asks for
// TLS, as every client may before it logs in, and takes any reply, so a server
// that is just dying does not count.
func (p postmaster) answers(ctx context.Context) bool {
	if p.socket == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(p.socket, socketFile))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	sslRequest := [...]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	if _, err := conn.Write(sslRequest[:]); err != nil {
		return false
	}
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}
