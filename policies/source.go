package policies

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Bounds of a directory of policies. They are far above what people write and
// keep a directory that is not one from filling the memory.
const (
	maxFiles      = 1000
	maxFileBytes  = 4 << 20
	maxTotalBytes = 16 << 20
	maxDirDepth   = 16
)

// sources are the files of a set, read but not understood.
type sources struct {
	modules []file // .rego
	tests   []file // _test.rego
	data    []file // data.json, data.yaml, data.yml
}

// file is one file.
type file struct {
	path    string // slash-separated, below the root
	name    string // what problems call it
	content []byte
}

// directory reads the files of a set.
type directory struct {
	fsys fs.FS
	root string // Options.Root
}

// read returns the files that make a set, in the order of their paths. Names
// that start with a dot are passed over, as are all files of other kinds.
func (d directory) read() (*sources, error) {
	paths, err := d.list()
	if err != nil {
		return nil, err
	}
	src := &sources{}
	total := 0
	for _, p := range paths {
		f := file{path: p, name: path.Join(d.root, p)}
		if f.content, err = d.readFile(p); err != nil {
			return nil, err
		}
		if total += len(f.content); total > maxTotalBytes {
			return nil, newCompileError(Problem{File: d.root, Message: fmt.Sprintf("files of more than %d bytes in all", maxTotalBytes)})
		}
		switch {
		case strings.HasSuffix(p, "_test.rego"):
			src.tests = append(src.tests, f)
		case strings.HasSuffix(p, ".rego"):
			src.modules = append(src.modules, f)
		default:
			src.data = append(src.data, f)
		}
	}
	return src, nil
}

// readFile reads a file that is not too large.
func (d directory) readFile(name string) ([]byte, error) {
	f, err := d.fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	defer func() { _ = f.Close() }()
	content, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading policies: %s: %w", name, err)
	}
	if len(content) > maxFileBytes {
		return nil, newCompileError(Problem{File: path.Join(d.root, name), Message: fmt.Sprintf("file of more than %d bytes", maxFileBytes)})
	}
	return content, nil
}

// list returns the paths of the files that make a set, sorted.
//
// It follows symbolic links, to directories too, because that is how a
// Kubernetes config map is laid out: the links are visible, what they lead to
// is in a directory whose name starts with a dot.
func (d directory) list() ([]string, error) {
	paths, err := d.walk(nil, ".", 0)
	if err != nil {
		return nil, err
	}
	slices.Sort(paths)
	return paths, nil
}

// walk adds the sources in dir and below it to paths.
func (d directory) walk(paths []string, dir string, depth int) ([]string, error) {
	if depth > maxDirDepth {
		return nil, newCompileError(Problem{File: path.Join(d.root, dir), Message: fmt.Sprintf("directories nested more than %d deep", maxDirDepth)})
	}
	entries, err := fs.ReadDir(d.fsys, dir)
	if err != nil {
		return nil, fmt.Errorf("listing policies: %w", err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		name := path.Join(dir, entry.Name())
		isDir, isFile, err := d.follow(name, entry)
		switch {
		case err != nil:
			return nil, err
		case isDir:
			if paths, err = d.walk(paths, name, depth+1); err != nil {
				return nil, err
			}
		case isFile && isSource(entry.Name()):
			if paths = append(paths, name); len(paths) > maxFiles {
				return nil, newCompileError(Problem{File: d.root, Message: fmt.Sprintf("more than %d files", maxFiles)})
			}
		}
	}
	return paths, nil
}

// follow tells what an entry is, or leads to. A link that leads nowhere is
// neither, unless its name is one of a source.
func (d directory) follow(name string, entry fs.DirEntry) (isDir, isFile bool, err error) {
	if entry.Type()&fs.ModeSymlink == 0 {
		return entry.IsDir(), entry.Type().IsRegular(), nil
	}
	info, err := fs.Stat(d.fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !isSource(entry.Name()):
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("following a link in policies: %w", err)
	default:
		return info.IsDir(), info.Mode().IsRegular(), nil
	}
}

// isSource reports whether a file of that name is part of a set.
func isSource(name string) bool {
	return strings.HasSuffix(name, ".rego") || name == "data.json" || name == "data.yaml" || name == "data.yml"
}
