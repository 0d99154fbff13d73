package policies_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
)

// schema is the part of JSON Schema that the input's uses.
type schema struct {
	Type                 any                `json:"type"`
	Description          string             `json:"description"`
	Properties           map[string]*schema `json:"properties"`
	AdditionalProperties any                `json:"additionalProperties"`
	Required             []string           `json:"required"`
	Items                *schema            `json:"items"`
}

func inputSchema(t testing.TB) *schema {
	t.Helper()
	s := &schema{}
	if err := json.Unmarshal(policies.InputSchema(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// kind returns the type, without the null that a pointer may be.
func (s *schema) kind() string {
	switch kind := s.Type.(type) {
	case string:
		return kind
	case []any:
		if len(kind) == 2 && kind[1] == "null" {
			name, _ := kind[0].(string)
			return name
		}
	}
	return ""
}

// TestSchemaDescribesTheInput holds engine.Input and the schema to each other:
// each field has its property, each property its field, and the types agree.
func TestSchemaDescribesTheInput(t *testing.T) {
	t.Parallel()
	compareStruct(t, "input", reflect.TypeFor[engine.Input](), inputSchema(t))
}

func compareStruct(t *testing.T, path string, typ reflect.Type, s *schema) {
	t.Helper()
	if s.AdditionalProperties != false {
		t.Errorf("%s: schema allows properties that it does not describe", path)
	}
	known := map[string]bool{}
	for i := range typ.NumField() {
		field := typ.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		known[name] = true
		property := s.Properties[name]
		if property == nil {
			t.Errorf("%s.%s is not in the schema", path, name)
			continue
		}
		if required := slices.Contains(s.Required, name); required == strings.Contains(options, "omitempty") {
			t.Errorf("%s.%s: required is %t in the schema, not so in the struct", path, name, required)
		}
		if property.Description == "" {
			t.Errorf("%s.%s has no description", path, name)
		}
		compareType(t, path+"."+name, field.Type, property)
	}
	for name := range s.Properties {
		if !known[name] {
			t.Errorf("%s.%s is in the schema only", path, name)
		}
	}
	for _, name := range s.Required {
		if !known[name] {
			t.Errorf("%s.%s is required and unknown", path, name)
		}
	}
}

func compareType(t *testing.T, path string, typ reflect.Type, s *schema) {
	t.Helper()
	_, nullable := s.Type.([]any)
	if nullable != (typ.Kind() == reflect.Pointer) {
		t.Errorf("%s: null is %t in the schema, not so in the struct", path, nullable)
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	want := ""
	switch typ.Kind() {
	case reflect.Struct:
		want = "object"
		compareStruct(t, path, typ, s)
	case reflect.Map:
		want = "object"
		if element, ok := s.AdditionalProperties.(map[string]any); typ.Elem().Kind() == reflect.String && (!ok || element["type"] != "string") {
			t.Errorf("%s: schema does not say that its values are strings", path)
		}
	case reflect.Slice:
		want = "array"
		if s.Items == nil {
			t.Errorf("%s: schema does not say of what", path)
		} else {
			compareType(t, path+"[]", typ.Elem(), s.Items)
		}
	case reflect.String:
		want = "string"
	case reflect.Int64:
		want = "integer"
	default:
		t.Errorf("%s: %s in an input", path, typ)
	}
	if got := s.kind(); got != want {
		t.Errorf("%s: type is %q in the schema, want %q", path, got, want)
	}
}
