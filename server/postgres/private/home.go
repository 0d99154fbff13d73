package private

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// elsewhere holds the clusters whose user cannot reach their data
	// directory.
	elsewhere = "/var/lib/twyn"

	dataName   = "data"   // PostgreSQL's own directory, below the cluster's
	socketName = "socket" // the directory of the socket, beside it
	initPrefix = "init-"  // begins the name of a data directory in the making

	socketFile = ".s.PGSQL.5432"
	// maxSocketPath is what every system allows: macOS has room for 103
	// bytes, Linux for 107.
	maxSocketPath = 103
	// temporaryPrefix begins the name of a socket directory that is not in
	// the cluster's because the path would be too long.
	temporaryPrefix = "twyn-pg-"
)

// data is where PostgreSQL's own directory is, through the symbolic link if
// there is one.
func (s *site) data() string { return filepath.Join(s.path(clusterName), dataName) }

// makeDirectory makes a directory and those above it with the given mode,
// whatever the umask is. Directories that exist stay as they are.
func makeDirectory(path string, mode os.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
		if err := makeDirectory(filepath.Dir(path), mode); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	return os.Chmod(path, mode)
}

// prepareHome makes the cluster's directory if it is not there, and returns it
// without symbolic links. It moves a new cluster elsewhere if the account
// cannot reach it.
func (s *site) prepareHome(ctx context.Context, a account, in installation) (string, error) {
	home := s.path(clusterName)
	target, err := os.Readlink(home)
	linked := err == nil
	if linked {
		if home = target; !filepath.IsAbs(home) {
			home = s.path(target)
		}
	}
	if err := makeDirectory(home, directoryMode()); err != nil {
		return "", fmt.Errorf("making the cluster's directory: %w", err)
	}
	program := in.program("postgres")
	if err := a.mustReach(ctx, "/", program, program); err != nil {
		return "", err
	}
	if ok, err := a.reaches(ctx, home, program); err != nil {
		return "", err
	} else if ok {
		return filepath.EvalSymlinks(home)
	}
	if _, err := os.Lstat(filepath.Join(home, dataName)); linked || err == nil {
		return "", &UnreachableError{User: a.name, Path: home}
	}
	return s.relocate(ctx, a, in)
}

// mustReach is reaches with an error that names blame.
func (a account) mustReach(ctx context.Context, dir, program, blame string) error {
	ok, err := a.reaches(ctx, dir, program)
	if err == nil && !ok {
		return &UnreachableError{User: a.name, Path: blame}
	}
	return err
}

// relocate replaces the cluster's empty directory by a symbolic link to one
// that the account can reach. The link comes first, so that no directory is
// ever without one.
func (s *site) relocate(ctx context.Context, a account, in installation) (string, error) {
	link := s.path(clusterName)
	if err := removeUnfinished(link); err != nil {
		return "", err
	}
	if err := os.Remove(link); err != nil {
		return "", fmt.Errorf("moving the cluster elsewhere: %w", err)
	}
	home := filepath.Join(elsewhere, "postgres-"+strings.ToLower(rand.Text()[:12]))
	if err := os.Symlink(home, link); err != nil {
		return "", fmt.Errorf("moving the cluster elsewhere: %w", err)
	}
	if err := makeDirectory(home, directoryMode()); err != nil {
		return "", fmt.Errorf("making the cluster's directory: %w", err)
	}
	if err := a.mustReach(ctx, home, in.program("postgres"), home); err != nil {
		return "", err
	}
	s.log.Info("PostgreSQL does not run as root and its user cannot reach the data directory, so the database is kept elsewhere",
		"user", a.name, "data_dir", s.dataDir, "kept_in", home, "link", link)
	return filepath.EvalSymlinks(home)
}

// removeUnfinished removes what an initdb that did not end well left in home.
func removeUnfinished(home string) error {
	entries, err := os.ReadDir(home)
	if err != nil {
		return fmt.Errorf("looking for unfinished data: %w", err)
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), initPrefix) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(home, entry.Name())); err != nil {
			return fmt.Errorf("removing unfinished data: %w", err)
		}
	}
	return nil
}

// prepareSocket makes an empty directory for the socket: in home, or, if that
// path is too long or has a character that separates addresses, a short one
// for temporary files.
func prepareSocket(ctx context.Context, a account, in installation, home string) (string, error) {
	dir := filepath.Join(home, socketName)
	if socketPathFits(dir) {
		if err := a.directory(dir); err != nil {
			return "", err
		}
		removeSocket(dir)
		return dir, nil
	}
	for _, parent := range [...]string{os.TempDir(), "/tmp"} {
		dir, err := os.MkdirTemp(parent, temporaryPrefix)
		if err != nil {
			continue
		}
		if filepath.IsAbs(dir) && socketPathFits(dir) && a.own(dir) == nil {
			if ok, err := a.reaches(ctx, dir, in.program("postgres")); ok && err == nil {
				return dir, nil
			}
		}
		_ = os.Remove(dir)
	}
	return "", fmt.Errorf("finding a short directory for PostgreSQL's socket: neither %s nor /tmp will do", os.TempDir())
}

func socketPathFits(dir string) bool {
	return len(filepath.Join(dir, socketFile)) <= maxSocketPath && !strings.ContainsAny(dir, ",\"\n")
}

// removeSocket removes a socket that no server listens on any more.
func removeSocket(dir string) {
	_ = os.Remove(filepath.Join(dir, socketFile))
	_ = os.Remove(filepath.Join(dir, socketFile+".lock"))
}

// removeTemporarySocket removes a socket's directory if it is one that
// prepareSocket made for temporary use.
func removeTemporarySocket(dir string) {
	if strings.HasPrefix(filepath.Base(dir), temporaryPrefix) {
		removeSocket(dir)
		_ = os.Remove(dir)
	}
}
