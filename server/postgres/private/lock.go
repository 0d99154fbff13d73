package private

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollInterval is how often a condition is looked at that nothing announces.
const pollInterval = 10 * time.Millisecond

// poll calls done until it returns true or an error, or ctx ends. It calls it
// at least once.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// acquire opens a lock file and locks it, waiting until ctx ends. The wait is
// a poll because a blocked flock cannot be cancelled.
func acquire(ctx context.Context, path string, how int) (*os.File, error) {
	f, err := openLock(path)
	if err != nil {
		return nil, err
	}
	err = poll(ctx, func() (bool, error) { return tryLock(f, how) })
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("waiting for %s: %w", path, err)
	}
	return f, nil
}

// openLock opens a lock file, making it if need be.
func openLock(path string) (*os.File, error) {
	const flags = os.O_RDWR | os.O_CREATE | syscall.O_NOFOLLOW
	f, err := os.OpenFile(path, flags, 0o600) //nolint:gosec // the path is below the user's own data directory
	if err != nil {
		return nil, fmt.Errorf("opening a lock file: %w", err)
	}
	if err := giveToOwner(f, filepath.Dir(path)); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// tryLock locks f if that is possible at once.
func tryLock(f *os.File, how int) (bool, error) {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("locking %s: %w", f.Name(), err)
		}
	}
}

// release unlocks and closes f. The explicit unlock ends the lock even if a
// process that is just being started still holds a copy of the descriptor.
func release(f *os.File) {
	_ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	_ = f.Close()
}

// giveToOwner hands a file that root just made to the owner of the directory it
// is in, so that a command run with sudo does not shut that user out.
func giveToOwner(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	file, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at %s: %w", f.Name(), err)
	}
	above, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	have, want := owner(file), owner(above)
	if have.uid != 0 || want.uid == 0 {
		return nil
	}
	if err := f.Chown(int(want.uid), int(want.gid)); err != nil {
		return fmt.Errorf("giving %s to its user: %w", f.Name(), err)
	}
	return nil
}
