package policies

import (
	"embed"
	"io/fs"
)

//go:embed default/*.rego
var defaultFiles embed.FS

// Default returns the policies that are part of the program, with their tests.
// They are the ones to copy and change for a policy directory of one's own.
func Default() fs.FS {
	files, err := fs.Sub(defaultFiles, "default")
	if err != nil {
		panic("policies: embedded files without their directory: " + err.Error())
	}
	return files
}
