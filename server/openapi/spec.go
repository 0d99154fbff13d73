package openapi

import (
	"encoding/json"
	"fmt"
	"strings"
)

// The parts of OpenAPI that the page shows, as they stand in the document.

type spec struct {
	Info struct {
		Title, Version, Summary, Description string
	}
	Servers    []server
	Tags       []struct{ Name, Description string }
	Paths      map[string]pathItem
	Components struct {
		Parameters map[string]parameter
		Headers    map[string]header
		Responses  map[string]response
		Schemas    map[string]*schema
		Examples   map[string]example
	}
}

type server struct{ URL, Description string }

type pathItem struct {
	Parameters                    []parameter
	Servers                       []server
	Get, Put, Post, Patch, Delete *operation
}

type operation struct {
	OperationID, Summary, Description string

	Tags        []string
	Parameters  []parameter
	RequestBody *struct {
		Required bool
		Content  map[string]media
	}
	Responses map[string]response
	Security  *[]json.RawMessage
}

type parameter struct {
	Ref                   string `json:"$ref"`
	Name, In, Description string
	Required              bool
	Schema                *schema
}

type response struct {
	Ref         string `json:"$ref"`
	Description string
	Headers     map[string]header
	Content     map[string]media
}

type header struct {
	Ref         string `json:"$ref"`
	Description string
	Required    bool
	Schema      *schema
}

type media struct {
	Schema   *schema
	Examples map[string]example
}

type example struct {
	Ref     string `json:"$ref"`
	Summary string
	Value   json.RawMessage
}

// schema is the subset of JSON Schema that the document uses for its fields.
type schema struct {
	Ref         string `json:"$ref"`
	Description string
	Type        oneOrMany
	Format      string
	Pattern     string
	Enum        []string
	Const       json.RawMessage
	Default     json.RawMessage
	Minimum     json.Number
	Maximum     json.Number
	MinLength   json.Number
	MaxLength   json.Number
	MaxItems    json.Number
	Items       *schema
	Properties  map[string]*schema
	Required    []string
	OneOf       []*schema

	AdditionalProperties *additional
}

// additional is additionalProperties: a schema, or false.
type additional struct{ *schema }

// UnmarshalJSON accepts a schema or a boolean.
func (a *additional) UnmarshalJSON(data []byte) error {
	if data[0] != '{' {
		return nil
	}
	return json.Unmarshal(data, &a.schema)
}

// oneOrMany is a type: a name or a list of names.
type oneOrMany []string

// UnmarshalJSON accepts a string or a list of strings.
func (t *oneOrMany) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(t))
	}
	*t = make([]string, 1)
	return json.Unmarshal(data, &(*t)[0])
}

// follow returns what a reference to a component leads to.
func follow[T any](ref string, components map[string]T) (T, error) {
	name := refName(ref)
	found, ok := components[name]
	if !ok {
		return found, fmt.Errorf("%s leads nowhere", ref)
	}
	return found, nil
}

// refName returns the last part of a reference.
func refName(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }
