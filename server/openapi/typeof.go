package openapi

import (
	"encoding/json"
	"fmt"
	"strings"
)

// typeOf puts a schema in words: "integer, 1 to 100, default 20".
func typeOf(s *schema) string {
	if s == nil {
		return ""
	}
	if s.Ref != "" {
		return refName(s.Ref)
	}
	words := []string{kindOf(s)}
	add := func(format string, values ...any) { words = append(words, fmt.Sprintf(format, values...)) }
	if s.Format != "" {
		add("%s", s.Format)
	}
	if span := between(s.Minimum, s.Maximum); span != "" {
		add("%s", span)
	}
	if span := between(s.MinLength, s.MaxLength); span != "" {
		add("%s characters", span)
	}
	if s.MaxItems != "" {
		add("at most %s", s.MaxItems)
	}
	if len(s.Enum) > 0 {
		add("one of %s", strings.Join(s.Enum, ", "))
	}
	if s.Pattern != "" && s.Format == "" {
		add("matches %s", s.Pattern)
	}
	if len(s.Default) > 0 {
		add("default %s", s.Default)
	}
	return strings.Join(words, ", ")
}

// kindOf names what a schema without its bounds is.
func kindOf(s *schema) string {
	switch {
	case len(s.Const) > 0:
		return "always " + string(s.Const)
	case s.Items != nil:
		return "list of " + typeOf(s.Items)
	case s.AdditionalProperties != nil && s.AdditionalProperties.schema != nil:
		return "object of " + typeOf(s.AdditionalProperties.schema)
	case len(s.OneOf) > 0:
		return "one of these"
	case len(s.Type) == 0:
		return "any"
	default:
		return strings.Join(s.Type, " or ")
	}
}

// linkOf names the component that a field leads to, "" if none.
func linkOf(s *schema) string {
	switch {
	case s == nil:
		return ""
	case s.Ref != "":
		return refName(s.Ref)
	case s.Items != nil:
		return linkOf(s.Items)
	case s.AdditionalProperties != nil:
		return linkOf(s.AdditionalProperties.schema)
	default:
		return ""
	}
}

// between puts two bounds in words, either of which may be missing.
func between(least, most json.Number) string {
	switch {
	case least != "" && most != "":
		return least.String() + " to " + most.String()
	case least != "":
		return "at least " + least.String()
	case most != "":
		return "at most " + most.String()
	default:
		return ""
	}
}
