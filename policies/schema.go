package policies

import (
	_ "embed"
	"fmt"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/util"
)

// inputSchema describes engine.Input. A test holds the two to each other.
//
//go:embed schema/input.json
var inputSchema []byte

// InputSchema returns the JSON Schema of a policy's input, as `opa check
// --schema` takes it.
func InputSchema() []byte { return append([]byte(nil), inputSchema...) }

// schemaSet returns the schema in the form in which OPA's type checker takes it
// for "input" as a whole.
func schemaSet() (*ast.SchemaSet, error) {
	var schema any
	if err := util.UnmarshalJSON(inputSchema, &schema); err != nil {
		return nil, fmt.Errorf("reading the schema of the input: %w", err)
	}
	set := ast.NewSchemaSet()
	set.Put(ast.SchemaRootRef, schema)
	return set, nil
}
