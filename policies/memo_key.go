package policies

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
)

// memoKey is room for a key. Its methods write a value at n and return where the
// next one goes: n stays in a register, which in a struct it would not. Every
// value has a form that tells where it ends, so what follows cannot be mistaken
// for a part of it. Once something did not fit or has no form, n is tooLong and
// stays so.
type memoKey []byte

const tooLong = 1 << 30

func (k memoKey) byte(n int, c byte) int {
	if n >= len(k) {
		return tooLong
	}
	k[n] = c
	return n + 1
}

func (k memoKey) integer(n int, v int64) int { return k.uint64(n, uint64(v)) }

func (k memoKey) uint64(n int, v uint64) int {
	if n > len(k)-8 {
		return tooLong
	}
	binary.LittleEndian.PutUint64(k[n:n+8], v)
	return n + 8
}

func (k memoKey) boolean(n int, v bool) int {
	if v {
		return k.byte(n, 1)
	}
	return k.byte(n, 0)
}

// longLen marks a length that takes two bytes more.
const longLen = 0xff

// length writes a length, of a string or a list.
func (k memoKey) length(n, length int) int {
	switch {
	case length < longLen:
		return k.byte(n, byte(length))
	case length > len(k):
		return tooLong
	default:
		return k.byte(k.byte(k.byte(n, longLen), byte(length>>8)), byte(length))
	}
}

func (k memoKey) string(n int, s string) int {
	if len(s) >= longLen || n >= len(k)-len(s) {
		return k.longString(n, s)
	}
	k[n] = byte(len(s))
	return n + 1 + copy(k[n+1:], s)
}

// longString writes any string.
func (k memoKey) longString(n int, s string) int {
	if n = k.length(n, len(s)); n > len(k)-len(s) {
		return tooLong
	}
	return n + copy(k[n:], s)
}

func (k memoKey) strings(n int, list []string) int {
	n = k.length(n, len(list))
	for i := range list {
		if n == tooLong {
			break
		}
		n = k.string(n, list[i])
	}
	return n
}

// field writes what a map has under a name, if anything.
func (k memoKey) field(n int, m map[string]string, name string) int {
	value, present := m[name]
	if n = k.boolean(n, present); present {
		n = k.string(n, value)
	}
	return n
}

// fields writes a map in the order of its names.
func (k memoKey) fields(n int, m map[string]string) int {
	if len(m) > maxFields {
		return tooLong
	}
	var names [maxFields]string
	sorted := names[:0]
	for name := range m {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	n = k.length(n, len(sorted))
	for _, name := range sorted {
		n = k.string(k.string(n, name), m[name])
	}
	return n
}

// Types of values in a key.
const (
	isNull byte = iota
	isFalse
	isTrue
	isFloat
	isNumber
	isString
	isArray
	isObject
)

// value writes a value that JSON was decoded to, behind its type. Values of other
// types have no form.
func (k memoKey) value(n int, value any, depth int) int {
	if depth == 0 || n == tooLong {
		return tooLong
	}
	switch v := value.(type) {
	case nil:
		return k.byte(n, isNull)
	case bool:
		if v {
			return k.byte(n, isTrue)
		}
		return k.byte(n, isFalse)
	case float64:
		return k.uint64(k.byte(n, isFloat), math.Float64bits(v))
	case json.Number:
		return k.string(k.byte(n, isNumber), string(v))
	case string:
		return k.string(k.byte(n, isString), v)
	case []any:
		n = k.length(k.byte(n, isArray), len(v))
		for i := range v {
			if n == tooLong {
				break
			}
			n = k.value(n, v[i], depth-1)
		}
		return n
	case map[string]any:
		return k.object(k.byte(n, isObject), v, depth)
	default:
		return tooLong
	}
}

// object writes an object in the order of its names.
func (k memoKey) object(n int, object map[string]any, depth int) int {
	if len(object) > maxFields {
		return tooLong
	}
	var names [maxFields]string
	sorted := names[:0]
	for name := range object {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	n = k.length(n, len(sorted))
	for _, name := range sorted {
		n = k.value(k.string(n, name), object[name], depth-1)
	}
	return n
}
