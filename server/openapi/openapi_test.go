package openapi_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/twyn/twyn/server/openapi"
)

var update = flag.Bool("update", false, "write the version of a changed document into testdata/versions")

// versionsFile has a line for each published version of the document: the
// version and the SHA-256 of its canonical JSON. Lines are only ever added.
const versionsFile = "testdata/versions"

// TestVersion refuses a changed document under an old version.
func TestVersion(t *testing.T) {
	t.Parallel()
	var document struct{ Info struct{ Version string } }
	if err := json.Unmarshal(openapi.Document(), &document); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(openapi.Document())
	version, digest := document.Info.Version, hex.EncodeToString(sum[:])

	published, err := os.ReadFile(versionsFile)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for line := range strings.Lines(string(published)) {
		name, known, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == version && known != digest {
			t.Fatalf("openapi.yaml has changed since version %s: change info.version, then run this test with -update", version)
		}
		last = name
	}
	if last == version {
		return
	}
	if !*update {
		t.Fatalf("version %s is not the last line of %s: run this test with -update", version, versionsFile)
	}
	published = fmt.Appendf(published, "%s %s\n", version, digest)
	if err := os.WriteFile(versionsFile, published, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestDocumentIsValid holds the document to the OpenAPI 3.1 specification.
func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	document := parse(t)
	v, errs := validator.NewValidator(document)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	if ok, errs := v.ValidateDocument(); !ok {
		for _, err := range errs {
			t.Errorf("%s: %s: %v", err.Message, err.Reason, err.SchemaValidationErrors)
		}
	}
}

// TestExamplesFitTheirSchemas: an example that the document itself would
// refuse teaches the wrong thing.
func TestExamplesFitTheirSchemas(t *testing.T) {
	t.Parallel()
	model, err := parse(t).BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	schemas := schema_validation.NewSchemaValidator(config.WithFormatAssertions())
	checked := 0
	check := func(where string, content *v3.MediaType) {
		for name, example := range content.Examples.FromOldest() {
			var value any
			if err := example.Value.Decode(&value); err != nil {
				t.Errorf("%s: example %s: %v", where, name, err)
				continue
			}
			if ok, errs := schemas.ValidateSchemaObject(content.Schema.Schema(), value); !ok {
				t.Errorf("%s: example %s: %v", where, name, errs[0].SchemaValidationErrors)
			}
			checked++
		}
	}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		for method, operation := range item.GetOperations().FromOldest() {
			if operation.RequestBody != nil {
				for _, content := range operation.RequestBody.Content.FromOldest() {
					check(method+" "+path+" body", content)
				}
			}
			for code, response := range operation.Responses.Codes.FromOldest() {
				for _, content := range response.Content.FromOldest() {
					check(method+" "+path+" "+code, content)
				}
			}
		}
	}
	if checked == 0 {
		t.Error("no example was checked")
	}
}

// TestOperationsAreComplete: what every operation below /v1 must say.
func TestOperationsAreComplete(t *testing.T) {
	t.Parallel()
	model, err := parse(t).BuildV3Model()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range model.Model.Paths.PathItems.FromOldest() {
		open := !strings.HasPrefix(path, "/v1/")
		for method, operation := range item.GetOperations().FromOldest() {
			where := method + " " + path
			if operation.OperationId == "" || operation.Summary == "" || len(operation.Tags) != 1 {
				t.Errorf("%s: wants an operationId, a summary and one tag", where)
			}
			if open != (operation.Security != nil && len(operation.Security) == 0) {
				t.Errorf("%s: only routes outside /v1 are open", where)
			}
			if open {
				continue
			}
			want := []string{"400", "401", "403", "405", "413", "429", "500", "503"}
			if strings.Contains(path, "{") {
				want = append(want, "404")
			}
			if operation.RequestBody != nil {
				want = append(want, "415", "422")
			}
			for _, code := range want {
				if operation.Responses.Codes.GetOrZero(code) == nil {
					t.Errorf("%s: no answer %s", where, code)
				}
			}
		}
	}
}

// TestDocumentIsCanonical: equal documents are equal bytes.
func TestDocumentIsCanonical(t *testing.T) {
	t.Parallel()
	var value any
	if err := json.Unmarshal(openapi.Document(), &value); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	encoder := json.NewEncoder(&again)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Bytes(), openapi.Document()) {
		t.Error("the document changes when it is read and written again")
	}
}

func parse(t *testing.T) libopenapi.Document {
	t.Helper()
	document, err := libopenapi.NewDocument(openapi.Document())
	if err != nil {
		t.Fatal(err)
	}
	return document
}
