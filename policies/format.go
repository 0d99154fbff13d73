package policies

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
)

// Format returns the text of a Rego file in the one form that `opa fmt` gives
// it. What cannot be parsed is a *CompileError.
func Format(name, text string) (formatted string, err error) {
	defer recoverProblem(&err)
	if _, problems := parse([]file{{path: name, name: name, content: []byte(text)}}, ast.CapabilitiesForThisVersion()); len(problems) > 0 {
		return "", newCompileError(problems...)
	}
	out, err := format.SourceWithOpts(name, []byte(text), format.Opts{RegoVersion: ast.RegoV1})
	if err != nil {
		return "", fmt.Errorf("formatting %s: %w", name, err)
	}
	return string(out), nil
}
