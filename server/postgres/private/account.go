package private

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the system user that owns and runs a cluster.
type account struct {
	name string
	uid  uint32
	gid  uint32
	// other tells that this process is root and the account is not.
	other bool
}

// owner returns the user that a file belongs to.
func owner(info fs.FileInfo) account {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return account{}
	}
	return account{name: "with id " + strconv.FormatUint(uint64(stat.Uid), 10), uid: stat.Uid, gid: stat.Gid}
}

// clusterAccount chooses who runs the cluster whose data is, or will be, in
// data: for an ordinary user, that user; for root, who may not, the owner of
// existing data, else the system user postgres, else nobody.
func clusterAccount(data string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "with id " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	info, err := os.Stat(data)
	if err == nil {
		a := owner(info)
		a.other = true
		return a, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return account{}, fmt.Errorf("finding the owner of %s: %w", data, err)
	}
	for _, name := range [...]string{"postgres", "nobody"} {
		if a, ok := lookup(name); ok {
			return a, nil
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody; start twyn as an ordinary user")
}

func lookup(name string) (account, bool) {
	u, err := user.Lookup(name)
	if err != nil {
		return account{}, false
	}
	uid, errUID := strconv.ParseInt(u.Uid, 10, 64)
	gid, errGID := strconv.ParseInt(u.Gid, 10, 64)
	if errUID != nil || errGID != nil || uid == 0 {
		return account{}, false
	}
	// macOS writes the ids of nobody as -2.
	return account{name: name, uid: uint32(uid), gid: uint32(gid), other: true}, true
}

// directory makes a directory that belongs to the account and is closed to all
// others but root.
func (a account) directory(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making a directory: %w", err)
	}
	return a.own(path)
}

func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	if err := os.Lchown(path, int(a.uid), int(a.gid)); err != nil {
		return fmt.Errorf("giving a directory to user %s: %w", a.name, err)
	}
	return nil
}

// command prepares a program of PostgreSQL to run as the account in dir. The
// program and its children hold the lock running until the last of them ends.
// It is a session of its own, so that a Ctrl-C on the terminal does not reach
// it, and of this process's environment, which may hold secrets and PostgreSQL
// settings meant for others, it sees next to nothing.
func (a account) command(ctx context.Context, dir string, running *os.File, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program that install.go found
	cmd.Dir = dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + filepath.Dir(program) + ":/usr/local/bin:/usr/bin:/bin"}
	for _, name := range [...]string{"LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	if running != nil {
		cmd.ExtraFiles = []*os.File{running}
	}
	keepInheritedFiles()
	return cmd
}

// reaches reports whether the account may run program and work in dir. It tries
// it, since modes alone do not tell.
func (a account) reaches(ctx context.Context, dir, program string) (bool, error) {
	if !a.other {
		return true, nil
	}
	err := a.command(ctx, dir, nil, program, "--version").Run()
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case errors.Is(err, fs.ErrPermission):
		return false, nil
	default:
		return false, fmt.Errorf("running %s as user %s in %s: %w", program, a.name, dir, err)
	}
}

// keepInheritedFiles keeps files that this process inherited, such as the pipe
// of a test harness, from the programs it starts: a server that outlives this
// process would keep them open. The files that Go opened are safe already.
func keepInheritedFiles() {
	const standard, guess = 3, 256
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		for fd := standard; fd < guess; fd++ {
			syscall.CloseOnExec(fd)
		}
		return
	}
	for _, entry := range entries {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd >= standard {
			syscall.CloseOnExec(fd)
		}
	}
}
