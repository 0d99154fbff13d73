package server

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This file reads JSON strictly (RFC 8259 with unique names, valid Unicode and
// nothing after the value) into values that validate.go judges. encoding/json
// would take the last of two equal names, mend broken Unicode and stop at the
// first wrong type; here a client is told all that is wrong at once.

// Bounds that keep a small body from becoming a large value.
const (
	maxJSONDepth  = 32
	maxJSONValues = 200_000
)

// syntaxError says where and why a body is not JSON. It becomes a 400.
type syntaxError struct {
	offset int // bytes from the start of the body
	what   string
}

// Error says it in words for the client; it quotes nothing from the body.
func (e *syntaxError) Error() string {
	return fmt.Sprintf("Malformed JSON at byte %d: %s", e.offset, e.what)
}

// parseJSON reads a body that is one JSON value.
func parseJSON(body []byte) (value, error) {
	if !utf8.Valid(body) {
		return value{}, &syntaxError{invalidAt(body), "not UTF-8"}
	}
	p := parser{text: string(body)}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return value{}, err
	}
	p.space()
	if p.pos < len(p.text) {
		return value{}, p.fail("something follows the value")
	}
	return v, nil
}

func invalidAt(b []byte) int {
	at := 0
	for at < len(b) {
		r, size := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}

// parser reads JSON by recursive descent. text is valid UTF-8.
type parser struct {
	text   string
	pos    int
	values int
}

func (p *parser) fail(what string) error { return &syntaxError{p.pos, what} }

// next is the next byte, 0 at the end.
func (p *parser) next() byte {
	if p.pos < len(p.text) {
		return p.text[p.pos]
	}
	return 0
}

func (p *parser) space() {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *parser) value(depth int) (value, error) {
	if p.values++; p.values > maxJSONValues {
		return value{}, p.fail("too many values")
	}
	switch c := p.next(); {
	case c == '{' || c == '[':
		if depth == maxJSONDepth {
			return value{}, p.fail("nested too deeply")
		}
		return p.collection(c == '{', depth+1)
	case c == '"':
		s, err := p.string()
		return value{kind: kindString, text: s}, err
	case c == '-' || isDigit(c):
		return p.number()
	}
	for _, word := range [...]value{{kind: kindBool, text: "true"}, {kind: kindBool, text: "false"}, {kind: kindNull, text: "null"}} {
		if strings.HasPrefix(p.text[p.pos:], word.text) {
			p.pos += len(word.text)
			return word, nil
		}
	}
	return value{}, p.fail("a value is expected")
}

// collection reads an object or an array.
func (p *parser) collection(object bool, depth int) (value, error) {
	v, end := value{kind: kindArray}, byte(']')
	if object {
		v.kind, end = kindObject, '}'
	}
	seen := map[string]bool{}
	p.pos++
	p.space()
	if p.next() == end {
		p.pos++
		return v, nil
	}
	for {
		if object {
			name, err := p.name(seen)
			if err != nil {
				return value{}, err
			}
			v.names = append(v.names, name)
		}
		item, err := p.value(depth)
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
		p.space()
		switch p.next() {
		case ',':
			p.pos++
			p.space()
		case end:
			p.pos++
			return v, nil
		default:
			return value{}, p.fail("a comma or the end of the list is expected")
		}
	}
}

// name reads the name of a member, and the colon.
func (p *parser) name(seen map[string]bool) (string, error) {
	if p.next() != '"' {
		return "", p.fail("a name in quotes is expected")
	}
	start := p.pos
	name, err := p.string()
	if err != nil {
		return "", err
	}
	if seen[name] {
		return "", &syntaxError{start, "a name occurs twice in one object"}
	}
	seen[name] = true
	p.space()
	if p.next() != ':' {
		return "", p.fail("a colon is expected")
	}
	p.pos++
	p.space()
	return name, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func (p *parser) digits() bool {
	start := p.pos
	for isDigit(p.next()) {
		p.pos++
	}
	return p.pos > start
}

func (p *parser) number() (value, error) {
	start := p.pos
	if p.next() == '-' {
		p.pos++
	}
	whole := p.pos
	ok := p.digits() && (p.text[whole] != '0' || p.pos == whole+1)
	if ok && p.next() == '.' {
		p.pos++
		ok = p.digits()
	}
	if c := p.next(); ok && (c == 'e' || c == 'E') {
		p.pos++
		if c = p.next(); c == '+' || c == '-' {
			p.pos++
		}
		ok = p.digits()
	}
	if !ok {
		return value{}, &syntaxError{start, "not a number"}
	}
	return value{kind: kindNumber, text: p.text[start:p.pos]}, nil
}

// string reads a string in quotes and decodes it.
func (p *parser) string() (string, error) {
	p.pos++
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] >= ' ' && p.text[p.pos] != '"' && p.text[p.pos] != '\\' {
		p.pos++
	}
	if p.next() == '"' { // nothing to decode
		p.pos++
		return p.text[start : p.pos-1], nil
	}
	decoded := []byte(p.text[start:p.pos])
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			p.pos++
			return string(decoded), nil
		case c < ' ':
			return "", p.fail("a control character in a string must be escaped")
		case c == '\\':
			r, err := p.escape()
			if err != nil {
				return "", err
			}
			decoded = utf8.AppendRune(decoded, r)
		default:
			decoded = append(decoded, c)
			p.pos++
		}
	}
	return "", p.fail("a string does not end")
}

// escape reads one escape sequence, or two that make one character together.
func (p *parser) escape() (rune, error) {
	start := p.pos
	p.pos++
	c := p.next()
	p.pos++
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 && c != 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return 0, &syntaxError{start, "an unknown escape"}
	}
	r, ok := p.hex4()
	if ok && utf16.IsSurrogate(r) {
		if ok = strings.HasPrefix(p.text[p.pos:], `\u`); ok {
			p.pos += 2
			low, _ := p.hex4() // 0 is no surrogate
			r = utf16.DecodeRune(r, low)
			ok = r != utf8.RuneError
		}
	}
	if !ok {
		return 0, &syntaxError{start, "a malformed escape"}
	}
	return r, nil
}

// hex4 reads four hexadecimal digits.
func (p *parser) hex4() (rune, bool) {
	if p.pos+4 > len(p.text) {
		return 0, false
	}
	r := rune(0)
	for range 4 {
		digit := unhex(p.text[p.pos])
		if digit < 0 {
			return 0, false
		}
		r = r<<4 | rune(digit)
		p.pos++
	}
	return r, true
}
