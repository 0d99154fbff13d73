package server

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

// param is one query parameter, decoded. A name may occur more than once;
// handlers refuse that.
type param struct {
	name  string
	value string
}

// target is a request target in the one form that policy, router and handlers
// see.
type target struct {
	path     string   // begins with a slash, decoded once
	segments []string // the parts of path between the slashes
	query    []param
}

// normalise reads a raw request target. It refuses every form that two readers
// could take for different paths (empty and dot segments, encoded dots and
// slashes, path parameters, an authority) and decodes the rest exactly once,
// so that the policy never judges another path than the router serves. It
// never asks net/url, which reads "//admin" as a host. The result holds
// copies; raw may be reused.
func normalise(raw []byte) (target, error) {
	text := string(raw)
	switch {
	case !utf8.ValidString(text):
		return target{}, errNotUTF8
	case strings.ContainsFunc(text, notVisible):
		return target{}, errControl
	case strings.Contains(text, "#"):
		return target{}, errors.New("a fragment is not allowed")
	case text == "" || text[0] != '/':
		return target{}, errors.New("must begin with a slash")
	}
	rawPath, rawQuery, _ := strings.Cut(text, "?")
	path, err := normalisePath(rawPath)
	if err != nil {
		return target{}, err
	}
	query, err := parseQuery(rawQuery)
	if err != nil {
		return target{}, err
	}
	return target{path: path, segments: split(path), query: query}, nil
}

// What is wrong with a request target; the client reads these.
var (
	errNotUTF8   = errors.New("not UTF-8")
	errEscape    = errors.New("malformed percent-encoding")
	errControl   = errors.New("control characters and unencoded spaces are not allowed")
	errSemicolon = errors.New("semicolons are not allowed")
)

// notVisible reports the characters that no request target may hold as they
// are. An encoded space is the one of them that may be encoded.
func notVisible(r rune) bool { return r == ' ' || unicode.IsControl(r) }

// normalisePath refuses what is ambiguous in a path and decodes the rest.
func normalisePath(raw string) (string, error) {
	switch {
	case strings.Contains(raw, "//"):
		return "", errors.New("empty path segments are not allowed")
	case strings.Contains(raw, ";"):
		return "", errSemicolon
	case strings.Contains(raw, `\`):
		return "", errors.New("backslashes are not allowed")
	}
	for segment := range strings.SplitSeq(raw[1:], "/") {
		if segment == "." || segment == ".." {
			return "", errors.New("dot segments are not allowed")
		}
	}
	return unescape(raw, false)
}

// reserved are the characters that may not hide in a path behind an escape:
// decoding them would change where the path is cut, or how often it is
// decoded.
const reserved = "./\\;?#%"

// unescape decodes percent-encoding once. In a query a plus sign is a space
// and any visible character may be encoded; in a path the reserved ones may
// not.
func unescape(s string, query bool) (string, error) {
	if !strings.ContainsAny(s, "%+") {
		return s, nil
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && query:
			c = ' '
		case c == '%':
			if i+2 >= len(s) {
				return "", errEscape
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high < 0 || low < 0 {
				return "", errEscape
			}
			c = byte(high<<4 | low)
			i += 2
			if !query && strings.IndexByte(reserved, c) >= 0 {
				return "", errors.New("encoded " + reservedName(c) + " are not allowed in a path")
			}
		}
		b.WriteByte(c)
	}
	decoded := b.String()
	switch {
	case !utf8.ValidString(decoded):
		return "", errNotUTF8
	case strings.ContainsFunc(decoded, unicode.IsControl):
		return "", errControl
	}
	return decoded, nil
}

func reservedName(c byte) string {
	switch c {
	case '.':
		return "dots"
	case '/':
		return "slashes"
	case '\\':
		return "backslashes"
	case ';':
		return "semicolons"
	default:
		return "delimiters"
	}
}

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	default:
		return -1
	}
}

// split cuts a normalised path at its slashes. "/" has no segments; a trailing
// slash leaves an empty one, because "/v1/keys/" is not "/v1/keys".
func split(path string) []string {
	if path == "/" {
		return nil
	}
	return strings.Split(path[1:], "/")
}

// parseQuery cuts a raw query into its parameters. A semicolon, which some
// readers take for a separator, must be encoded.
func parseQuery(raw string) ([]param, error) {
	if raw == "" {
		return nil, nil
	}
	if strings.ContainsRune(raw, ';') {
		return nil, errSemicolon
	}
	var query []param
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := unescape(rawName, true)
		if err != nil {
			return nil, err
		}
		value, err := unescape(rawValue, true)
		if err != nil {
			return nil, err
		}
		query = append(query, param{name, value})
	}
	return query, nil
}
