package engine_test

import (
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/twyn/twyn"

// TestImports holds packages to their floor: what they must not reach, directly
// or not. Lint sees direct imports only.
func TestImports(t *testing.T) {
	t.Parallel()
	leaf := func(dep string) bool {
		return outside(dep) || dep == "net/http" || dep == "database/sql"
	}
	for _, floor := range []struct {
		packages string
		why      string
		refused  func(dep string) bool
	}{
		{
			"engine/clock engine/quota engine engine/enginetest", "the engine speaks no HTTP and no SQL and knows no policy language",
			func(dep string) bool {
				own := strings.HasPrefix(dep, module+"/engine") || strings.HasPrefix(dep, "pgregory.net/rapid")
				return leaf(dep) && !own
			},
		},
		{"server/api migrations server/postgres/private", "a leaf stands on the standard library alone", func(dep string) bool {
			return leaf(dep) && !strings.HasPrefix(dep, module+"/server") && !strings.HasPrefix(dep, module+"/migrations")
		}},
		{"policies", "policies know the engine and OPA, no store and no server", func(dep string) bool {
			return dep == "database/sql" || reaches(dep, module+"/server", module+"/migrations", "github.com/gofiber", "github.com/valyala/fasthttp")
		}},
		{"server/postgres", "the store serves no HTTP and judges nothing", func(dep string) bool {
			return reaches(dep, module+"/policies", module+"/server/api", "github.com/gofiber", "github.com/valyala/fasthttp", "github.com/open-policy-agent")
		}},
		{"server", "the server sees stores and policies through interfaces", func(dep string) bool {
			return reaches(dep, module+"/policies", module+"/migrations", module+"/server/postgres", "github.com/jmoiron/sqlx", "github.com/lib/pq", "github.com/open-policy-agent")
		}},
		{"cmd/twyn", "the binary holds no test code", func(dep string) bool {
			return reaches(dep, module+"/engine/enginetest", module+"/server/postgres/pgtest", "github.com/pb33f", "pgregory.net/rapid", "github.com/rogpeppe/go-internal/testscript")
		}},
	} {
		for pkg := range strings.FieldsSeq(floor.packages) {
			for dep := range strings.FieldsSeq(dependencies(t, module+"/"+pkg)) {
				if floor.refused(dep) {
					t.Errorf("%s reaches %s: %s", pkg, dep, floor.why)
				}
			}
		}
	}
}

// dependencies lists what a package reaches, itself included.
func dependencies(t *testing.T, pkg string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pkg).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pkg, err)
	}
	return string(out)
}

// outside reports whether a package is not of the standard library. What the
// standard library vendors is its own.
func outside(dep string) bool {
	host, _, _ := strings.Cut(dep, "/")
	return strings.Contains(host, ".")
}

// reaches reports whether dep is one of the packages or lies beneath one.
func reaches(dep string, packages ...string) bool {
	for _, p := range packages {
		if dep == p || strings.HasPrefix(dep, p+"/") {
			return true
		}
	}
	return false
}
