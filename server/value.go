package server

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// kind is the type of a JSON value.
type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// value is one JSON value.
type value struct {
	kind  kind
	text  string   // a string, decoded; a number or a bool as it was written
	items []value  // the elements of an array, the values of an object
	names []string // the names of an object, one for each item
}

// get returns the member of an object.
func (v *value) get(name string) (*value, bool) {
	if i := slices.Index(v.names, name); i >= 0 {
		return &v.items[i], true
	}
	return nil, false
}

// depth is how deep arrays and objects nest; 0 for anything else.
func (v *value) depth() int {
	if v.kind != kindArray && v.kind != kindObject {
		return 0
	}
	deepest := 0
	for i := range v.items {
		deepest = max(deepest, v.items[i].depth())
	}
	return deepest + 1
}

// plain returns the value as encoding/json would, numbers as they were
// written.
func (v *value) plain() any {
	switch v.kind {
	case kindBool:
		return v.text == "true"
	case kindNumber:
		return json.Number(v.text)
	case kindString:
		return v.text
	case kindArray:
		list := make([]any, len(v.items))
		for i := range v.items {
			list[i] = v.items[i].plain()
		}
		return list
	case kindObject:
		return v.object()
	default:
		return nil
	}
}

// object returns the members of an object.
func (v *value) object() map[string]any {
	members := make(map[string]any, len(v.items))
	for i := range v.items {
		members[v.names[i]] = v.items[i].plain()
	}
	return members
}

// appendTo appends the value as compact JSON.
func (v *value) appendTo(b []byte) []byte {
	switch v.kind {
	case kindNull:
		return append(b, "null"...)
	case kindBool, kindNumber:
		return append(b, v.text...)
	case kindString:
		return appendString(b, v.text)
	default:
		return v.appendItems(b)
	}
}

// appendItems appends an array or an object.
func (v *value) appendItems(b []byte) []byte {
	start, end := byte('['), byte(']')
	if v.kind == kindObject {
		start, end = '{', '}'
	}
	b = append(b, start)
	for i := range v.items {
		if i > 0 {
			b = append(b, ',')
		}
		if v.kind == kindObject {
			b = append(appendString(b, v.names[i]), ':')
		}
		b = v.items[i].appendTo(b)
	}
	return append(b, end)
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}

// storableNumber reports whether every store can keep a number exactly enough: it is
// finite as a float64 and not written absurdly long.
func storableNumber(text string) bool {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) || len(text) > 64 {
		return false
	}
	i := strings.IndexAny(text, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(text[i+1:])
	return err == nil && -308 <= exponent && exponent <= 308
}
