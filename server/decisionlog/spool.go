package decisionlog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

const (
	lockName   = "lock"
	segmentExt = ".seg"
	dirPrefix  = "process-"
)

// spool is the directory of one process: segments in the order in which they
// were begun, the last of which may still grow.
type spool struct {
	dir  string
	lock *os.File

	mu       sync.Mutex
	segments []*segment
	active   *os.File // the last segment's; nil: it does not grow any more
	next     int      // the number of the next segment
}

// segment is a file of records.
type segment struct {
	path string
	size int64 // what is whole and may be read; under the spool's lock
	read int64 // what the store has; the shipper's own
}

// withDirLock runs f while no other process makes or adopts a directory.
func withDirLock(root string, f func() error) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return fmt.Errorf("making the directory of the decision log: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(root, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // Below the user's own data directory.
	if err != nil {
		return fmt.Errorf("opening the lock of the decision log: %w", err)
	}
	defer func() { _ = lock.Close() }()
	if err := flock(lock, syscall.LOCK_EX); err != nil {
		return fmt.Errorf("locking the decision log: %w", err)
	}
	return f()
}

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// newSpool makes a directory for this process.
func newSpool(root string) (s *spool, err error) {
	err = withDirLock(root, func() error {
		dir, err := os.MkdirTemp(root, dirPrefix)
		if err != nil {
			return fmt.Errorf("making a directory for decisions: %w", err)
		}
		s, err = lockSpool(dir)
		return err
	})
	return s, err
}

// lockSpool takes a directory that nobody holds; nil if somebody does.
func lockSpool(dir string) (*spool, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // Below the user's own data directory.
	if err != nil {
		return nil, fmt.Errorf("opening the lock of a directory of decisions: %w", err)
	}
	if err := flock(lock, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, nil //nolint:nilnil // Held by a living process, which is no error.
		}
		return nil, fmt.Errorf("locking a directory of decisions: %w", err)
	}
	return &spool{dir: dir, lock: lock}, nil
}

// adopt takes the directories of processes that have died. An error tells of
// those that it could not look into.
func adopt(root string) (adopted []*spool, err error) {
	err = withDirLock(root, func() error {
		entries, err := os.ReadDir(root)
		if err != nil {
			return fmt.Errorf("looking for left decisions: %w", err)
		}
		var errs []error
		for _, entry := range entries {
			if !entry.IsDir() || !strings.HasPrefix(entry.Name(), dirPrefix) {
				continue
			}
			s, err := lockSpool(filepath.Join(root, entry.Name()))
			if err == nil && s != nil {
				if err = s.scan(); err == nil {
					adopted = append(adopted, s)
				} else {
					err = errors.Join(err, s.lock.Close())
				}
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	return adopted, err
}

// scan lists the segments that are in the directory.
func (s *spool) scan() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("looking for left decisions: %w", err)
	}
	for _, entry := range entries {
		number, ok := strings.CutSuffix(entry.Name(), segmentExt)
		if _, err := strconv.ParseUint(number, 10, 32); !ok || err != nil || !entry.Type().IsRegular() {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return fmt.Errorf("looking for left decisions: %w", err)
		}
		s.segments = append(s.segments, &segment{path: filepath.Join(s.dir, entry.Name()), size: info.Size()})
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return strings.Compare(a.path, b.path) })
	return nil
}

// bytes is what the segments take on disk.
func (s *spool) bytes() (sum int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.segments {
		sum += g.size
	}
	return sum
}

// append writes whole frames to the active segment, or to a new one if there is
// none or it has reached most bytes. It returns by how much the disk is fuller.
// What could not be written whole is cut off again.
func (s *spool) append(frames []byte, most int64) (grown int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active != nil && s.last().size >= most {
		s.seal()
	}
	if s.active == nil {
		path := filepath.Join(s.dir, fmt.Sprintf("%08d%s", s.next, segmentExt))
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // Below the user's own data directory.
		if err != nil {
			return 0, fmt.Errorf("beginning a segment: %w", err)
		}
		s.next++
		s.active = f
		s.segments = append(s.segments, &segment{path: path})
		frames = append([]byte(magic), frames...)
	}
	g := s.last()
	if _, err := s.active.WriteAt(frames, g.size); err != nil {
		err = fmt.Errorf("writing a segment: %w", err)
		if cut := s.active.Truncate(g.size); cut != nil {
			err = errors.Join(err, cut)
		}
		if g.size == 0 {
			err = errors.Join(err, s.drop(g))
		} else {
			s.seal()
		}
		return 0, err
	}
	g.size += int64(len(frames))
	return int64(len(frames)), nil
}

func (s *spool) last() *segment { return s.segments[len(s.segments)-1] }

// seal ends the active segment.
func (s *spool) seal() {
	if s.active != nil {
		_ = s.active.Close() // All that was written is with the system already.
		s.active = nil
	}
}

// oldest returns the first segment and how much of it may be read; nil if there
// is none.
func (s *spool) oldest() (g *segment, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.segments) == 0 {
		return nil, 0
	}
	return s.segments[0], s.segments[0].size
}

// finish deletes a segment that the store has, unless it has grown. It returns
// by how much the disk is emptier.
func (s *spool) finish(g *segment) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.read < g.size {
		return 0, nil
	}
	return g.size, s.drop(g)
}

// drop deletes a segment.
func (s *spool) drop(g *segment) error {
	if s.active != nil && s.last() == g {
		s.seal()
	}
	s.segments = slices.DeleteFunc(s.segments, func(other *segment) bool { return other == g })
	if err := os.Remove(g.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("deleting a segment: %w", err)
	}
	return nil
}

// close gives the directory back: it is deleted if it is empty, and left to the
// next process, synced, if it is not.
func (s *spool) close() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active != nil {
		if err = s.active.Sync(); err != nil {
			err = fmt.Errorf("syncing a segment: %w", err)
		}
		s.seal()
	}
	if len(s.segments) == 0 {
		_ = os.Remove(filepath.Join(s.dir, lockName))
		_ = os.Remove(s.dir) // Something else in it keeps it.
	}
	return errors.Join(err, flock(s.lock, syscall.LOCK_UN), s.lock.Close())
}
