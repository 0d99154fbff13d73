package policies

import (
	"bytes"
	"maps"
	"slices"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff returns what changes from one set of files to another, as a unified diff
// of each file that differs, by path.
func Diff(from, to map[string]string) map[string]string {
	changes := map[string]string{}
	paths := slices.Concat(slices.Collect(maps.Keys(from)), slices.Collect(maps.Keys(to)))
	for _, path := range paths {
		before, inFrom := from[path]
		after, inTo := to[path]
		if before == after && inFrom == inTo {
			continue
		}
		oldName, newName := "a/"+path, "b/"+path
		if !inFrom {
			oldName = "/dev/null"
		}
		if !inTo {
			newName = "/dev/null"
		}
		text := diff.Diff(oldName, []byte(before), newName, []byte(after))
		// The library begins with a line of its own, which no patch has.
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok && bytes.HasPrefix(text, []byte("diff ")) {
			text = rest
		}
		changes[path] = string(text)
	}
	return changes
}
