// Package openapi holds the OpenAPI document of the API and the page that
// shows it to people.
//
// openapi.yaml is written by hand and is the contract: tests hold every answer
// of the server to it. The package imports the standard library and a YAML
// reader, and must never import the server, which serves what it returns.
package openapi

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	"sigs.k8s.io/yaml"
)

//go:embed openapi.yaml
var source []byte

// Document returns the OpenAPI 3.1 document as canonical JSON: sorted keys, no
// needless space, a newline at its end. The bytes are shared; do not change
// them.
func Document() []byte { return document() }

// document converts once. The source is embedded and tests convert it, so that
// an error here is a broken build, never a matter of the running program.
var document = sync.OnceValue(func() []byte {
	out, err := convert(source)
	if err != nil {
		panic(fmt.Sprintf("openapi.yaml: %v", err))
	}
	return out
})

// convert turns a YAML document into canonical JSON. Merge keys are resolved;
// a key that occurs twice is an error.
func convert(source []byte) ([]byte, error) {
	out, err := yaml.YAMLToJSONStrict(source)
	if err != nil {
		return nil, fmt.Errorf("reading YAML: %w", err)
	}
	var value any
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("reading JSON: %w", err)
	}
	var canonical bytes.Buffer
	encoder := json.NewEncoder(&canonical)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("writing JSON: %w", err)
	}
	return canonical.Bytes(), nil
}
