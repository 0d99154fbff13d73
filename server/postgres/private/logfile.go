package private

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	logName = "postgres.log"
	// maxLog is how large the server's log may be when it is looked at, in
	// bytes. The part before it is kept once, as postgres.log.1.
	maxLog = 8 << 20
	// maxTail is how much of a log an error quotes, in bytes.
	maxTail = 2 << 10

	boundInterval = time.Minute
)

func (s *site) logPath() string { return filepath.Join(s.path(clusterName), logName) }

// openLog opens the server's log at its end, which it returns as well. The
// server appends, so that the log can be cut under it.
func (s *site) openLog() (*os.File, int64, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND | syscall.O_NOFOLLOW
	f, err := os.OpenFile(s.logPath(), flags, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("opening the server's log: %w", err)
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		_ = f.Close()
		return nil, 0, fmt.Errorf("opening the server's log: %w", err)
	}
	return f, end, nil
}

// logSince returns what the server logged after start, or the end of it.
func (s *site) logSince(start int64) string {
	f, err := os.Open(s.logPath())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	if end, err := f.Seek(0, io.SeekEnd); err == nil && end-start > maxTail {
		start = end - maxTail
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(io.LimitReader(f, maxTail))
	if err != nil {
		return err.Error()
	}
	return tail(text)
}

func tail(text []byte) string {
	if len(text) > maxTail {
		text = text[len(text)-maxTail:]
	}
	return strings.TrimSpace(string(text))
}

// boundLogs looks after the size of the server's log until it is told to stop.
// Every process that uses the cluster does, since any may outlive the others.
func (s *site) boundLogs() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(boundInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := s.boundLogInTurn(); err != nil {
					s.log.Warn("cannot bound PostgreSQL's log", "error", err)
				}
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// boundLogInTurn bounds the log unless another process holds postgres.lock;
// then the next tick will do.
func (s *site) boundLogInTurn() error {
	turn, err := openLock(s.path(lockName))
	if err != nil {
		return err
	}
	defer release(turn)
	if free, err := tryLock(turn, syscall.LOCK_EX); err != nil || !free {
		return err
	}
	return s.boundLog()
}

// boundLog moves the contents of a log that has grown too large to
// postgres.log.1, in place of what was there. Its caller holds postgres.lock.
func (s *site) boundLog() error {
	log, err := os.OpenFile(s.logPath(), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bounding the server's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	info, err := log.Stat()
	if err != nil || info.Size() <= maxLog {
		return err
	}
	old, err := os.OpenFile(s.logPath()+".1", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("bounding the server's log: %w", err)
	}
	// Of a log that grew by gigabytes in a minute only the end is worth
	// its place.
	_, err = log.Seek(-maxLog, io.SeekEnd)
	if err == nil {
		_, err = io.Copy(old, io.LimitReader(log, maxLog))
	}
	if err = errors.Join(err, old.Close(), log.Truncate(0)); err != nil {
		return fmt.Errorf("bounding the server's log: %w", err)
	}
	return nil
}
