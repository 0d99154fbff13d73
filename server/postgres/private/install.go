package private

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// oldestMajor is the oldest major version of PostgreSQL that has every option
// that is used here.
const oldestMajor = 14

// installation is a directory with the server's programs.
type installation struct {
	dir   string
	major int
}

func (i installation) program(name string) string { return filepath.Join(i.dir, name) }

// search says where to look for installations.
type search struct {
	path     string   // as the environment variable PATH
	patterns []string // globs of directories
}

// systemSearch looks where the systems' packages put the programs: PATH, then
// Debian and Ubuntu, PostgreSQL's own packages for Fedora, Alpine, Homebrew.
func systemSearch() search {
	return search{
		path: os.Getenv("PATH"),
		patterns: []string{
			"/usr/lib/postgresql/*/bin",
			"/usr/pgsql-*/bin",
			"/usr/libexec/postgresql*",
			"/opt/homebrew/opt/postgresql*/bin",
			"/usr/local/opt/postgresql*/bin",
		},
	}
}

// installations lists what is there: first what PATH has, then the others from
// the highest version down.
func (s search) installations(ctx context.Context) []installation {
	var first, others []installation
	for _, dir := range filepath.SplitList(s.path) {
		if i, ok := inspect(ctx, dir); ok {
			first = append(first, i)
			break
		}
	}
	for _, pattern := range s.patterns {
		dirs, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, dir := range dirs {
			if i, ok := inspect(ctx, dir); ok {
				others = append(others, i)
			}
		}
	}
	slices.SortStableFunc(others, func(a, b installation) int { return b.major - a.major })
	return append(first, others...)
}

// choose returns the installation to use for a cluster in dir that was made by
// major version want, or for a new one if want is 0.
func (s search) choose(ctx context.Context, dir string, want int) (installation, error) {
	all := s.installations(ctx)
	if err := ctx.Err(); err != nil {
		return installation{}, err // and so nothing was found
	}
	if len(all) == 0 {
		return installation{}, &NotInstalledError{Searched: append([]string{"PATH"}, s.patterns...)}
	}
	have := make([]int, 0, len(all))
	for _, i := range all {
		if want == 0 || i.major == want {
			return i, nil
		}
		have = append(have, i.major)
	}
	return installation{}, &VersionError{Dir: dir, Want: want, Have: have}
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect reports whether dir, or the directory that its programs are links
// into, holds an installation that can be used.
func inspect(ctx context.Context, dir string) (installation, bool) {
	if !filepath.IsAbs(dir) {
		return installation{}, false // a relative PATH entry is not to be trusted
	}
	dirs := []string{dir}
	// initdb looks for its sibling programs and their data beside itself.
	if target, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil {
		dirs = []string{filepath.Dir(target), dir}
	}
	for _, dir := range dirs {
		i := installation{dir: dir}
		if !executable(i.program("initdb")) || !executable(i.program("postgres")) {
			continue
		}
		out, err := exec.CommandContext(ctx, i.program("postgres"), "--version").Output() //nolint:gosec // the program found
		if err != nil {
			continue
		}
		match := versionLine.FindSubmatch(out)
		if match == nil {
			continue
		}
		if i.major, err = strconv.Atoi(string(match[1])); err == nil && i.major >= oldestMajor {
			return i, true
		}
	}
	return installation{}, false
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
