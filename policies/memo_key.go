package policies

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
)

// memoKey is a key while it is written. Every value is written in a form that
// tells where it ends, so what follows cannot be mistaken for a part of it.
type memoKey struct {
	n     int
	full  bool // what was written does not fit, or has no form
	bytes [maxKeyBytes]byte
}

// written returns the key.
func (k *memoKey) written() []byte { return k.bytes[:k.n] }

func (k *memoKey) byte(c byte) {
	if k.n == len(k.bytes) {
		k.full = true
		return
	}
	k.bytes[k.n] = c
	k.n++
}

func (k *memoKey) uint64(n uint64) {
	if k.n+8 > len(k.bytes) {
		k.full = true
		return
	}
	binary.LittleEndian.PutUint64(k.bytes[k.n:], n)
	k.n += 8
}

func (k *memoKey) integer(n int64) { k.uint64(uint64(n)) }

func (k *memoKey) boolean(v bool) {
	if v {
		k.byte(1)
	} else {
		k.byte(0)
	}
}

// length writes a length in one byte, or in three for the longer ones. What is
// longer still does not fit.
func (k *memoKey) length(n int) {
	const long = 0xff
	if n < long {
		k.byte(byte(n))
		return
	}
	if n > maxKeyBytes {
		k.full = true
		return
	}
	k.byte(long)
	k.byte(byte(n >> 8))
	k.byte(byte(n))
}

func (k *memoKey) string(s string) {
	k.length(len(s))
	if len(s) > len(k.bytes)-k.n {
		k.full = true
		return
	}
	k.n += copy(k.bytes[k.n:], s)
}

func (k *memoKey) strings(list []string) {
	k.length(len(list))
	for i := range list {
		if k.full {
			return
		}
		k.string(list[i])
	}
}

// field writes what a map has under a name, if anything.
func (k *memoKey) field(m map[string]string, name string) {
	value, present := m[name]
	if k.boolean(present); present {
		k.string(value)
	}
}

// fields writes a map in the order of its names.
func (k *memoKey) fields(m map[string]string) {
	if len(m) > maxFields {
		k.full = true
		return
	}
	var names [maxFields]string
	sorted := names[:0]
	for name := range m {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	k.length(len(sorted))
	for _, name := range sorted {
		k.string(name)
		k.string(m[name])
	}
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
func (k *memoKey) value(value any, depth int) {
	if depth == 0 || k.full {
		k.full = true
		return
	}
	switch v := value.(type) {
	case nil:
		k.byte(isNull)
	case bool:
		if v {
			k.byte(isTrue)
		} else {
			k.byte(isFalse)
		}
	case float64:
		k.byte(isFloat)
		k.uint64(math.Float64bits(v))
	case json.Number:
		k.byte(isNumber)
		k.string(string(v))
	case string:
		k.byte(isString)
		k.string(v)
	case []any:
		k.byte(isArray)
		k.length(len(v))
		for i := range v {
			if k.full {
				return
			}
			k.value(v[i], depth-1)
		}
	case map[string]any:
		k.byte(isObject)
		k.object(v, depth)
	default:
		k.full = true
	}
}

// object writes an object in the order of its names.
func (k *memoKey) object(object map[string]any, depth int) {
	if len(object) > maxFields {
		k.full = true
		return
	}
	var names [maxFields]string
	sorted := names[:0]
	for name := range object {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	k.length(len(sorted))
	for _, name := range sorted {
		k.string(name)
		k.value(object[name], depth-1)
	}
}
