package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestNormalise(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		raw      string
		path     string
		segments []string
		query    []param
		err      string
	}{
		{raw: "/", path: "/"},
		{raw: "/v1/keys", path: "/v1/keys", segments: []string{"v1", "keys"}},
		{raw: "/v1/keys/", path: "/v1/keys/", segments: []string{"v1", "keys", ""}},
		{raw: "/%76%31/keys", path: "/v1/keys", segments: []string{"v1", "keys"}},
		{raw: "/v1/keys/a%20b", path: "/v1/keys/a b", segments: []string{"v1", "keys", "a b"}},
		{raw: "/v1/keys/%C3%A9+", path: "/v1/keys/é+", segments: []string{"v1", "keys", "é+"}},
		{raw: "/v1/.hidden/a..b", path: "/v1/.hidden/a..b", segments: []string{"v1", ".hidden", "a..b"}},
		{raw: "/q?a=1&b=x+y%2Bz&a=%3B&&c", path: "/q", segments: []string{"q"}, query: []param{{"a", "1"}, {"b", "x y+z"}, {"a", ";"}, {"c", ""}}},
		{raw: "/q?a=/../b?c", path: "/q", segments: []string{"q"}, query: []param{{"a", "/../b?c"}}},

		{raw: "", err: "slash"},
		{raw: "*", err: "slash"},
		{raw: "v1/keys", err: "slash"},
		{raw: "http://api.twyn.it/v1/keys", err: "slash"},
		{raw: "//v1/keys", err: "empty"},
		{raw: "/v1//keys", err: "empty"},
		{raw: "/v1/keys//", err: "empty"},
		{raw: "/./v1", err: "dot segments"},
		{raw: "/v1/../v1/keys", err: "dot segments"},
		{raw: "/v1/..", err: "dot segments"},
		{raw: "/v1/.?a", err: "dot segments"},
		{raw: "/v1/%2e%2e/keys", err: "encoded dots"},
		{raw: "/v1/a%2Eb", err: "encoded dots"},
		{raw: "/v1/.%2e", err: "encoded dots"},
		{raw: "/v1%2fkeys", err: "encoded slashes"},
		{raw: "/v1%5Ckeys", err: "encoded backslashes"},
		{raw: `/v1\keys`, err: "backslashes"},
		{raw: "/v1/keys;a=b", err: "semicolons"},
		{raw: "/v1/keys%3bb", err: "encoded semicolons"},
		{raw: "/v1/keys%252e", err: "encoded delimiters"},
		{raw: "/v1/keys%3Fa", err: "encoded delimiters"},
		{raw: "/v1/keys%23a", err: "encoded delimiters"},
		{raw: "/v1/keys#a", err: "fragment"},
		{raw: "/v1/keys?a#b", err: "fragment"},
		{raw: "/v1/%00", err: "control"},
		{raw: "/v1/%0a", err: "control"},
		{raw: "/v1/%7f", err: "control"},
		{raw: "/v1/%C2%85", err: "control"},
		{raw: "/v1/\x00", err: "control"},
		{raw: "/v1/\t", err: "control"},
		{raw: "/v1/keys HTTP/1.1", err: "spaces"},
		{raw: "/v1/%", err: "percent"},
		{raw: "/v1/%2", err: "percent"},
		{raw: "/v1/%zz", err: "percent"},
		{raw: "/v1/\xff", err: "UTF-8"},
		{raw: "/v1/%ff", err: "UTF-8"},
		{raw: "/v1/keys?a=%ff", err: "UTF-8"},
		{raw: "/v1/keys?a=%00", err: "control"},
		{raw: "/v1/keys?a=%", err: "percent"},
		{raw: "/v1/keys?%=a", err: "percent"},
		{raw: "/v1/keys?a=1;b=2", err: "semicolons"},
	} {
		t.Run(tt.raw, func(t *testing.T) {
			t.Parallel()
			got, err := normalise([]byte(tt.raw))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("normalise = %+v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if err != nil || got.path != tt.path || !slices.Equal(got.segments, tt.segments) || !slices.Equal(got.query, tt.query) {
				t.Errorf("normalise = %+v, %v; want %q %q %q", got, err, tt.path, tt.segments, tt.query)
			}
		})
	}
}

// FuzzNormalise holds every accepted target to the one form: nothing that two
// readers could read differently, and nothing left to decode.
func FuzzNormalise(f *testing.F) {
	for _, seed := range []string{
		"/", "/v1/keys?limit=1", "//admin", "/v1/%2e%2e/keys", "/%2F", "/a;b", "/%00", "http://h/p", "/%25%32%65", "/v1/é?x=%C3%A9&y=+",
		"/\xff", "/a/./b", "/a%20b/", "/?a=b&a=c&&=", "*", "/%", "/a\\b",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := normalise(raw)
		if err != nil {
			return
		}
		path := got.path
		if path == "" || path[0] != '/' || !utf8.ValidString(path) || strings.ContainsAny(path, `\;%?#`) ||
			strings.Contains(path, "//") || strings.ContainsFunc(path, unicode.IsControl) {
			t.Fatalf("normalise(%q) lets %q through", raw, path)
		}
		for _, segment := range got.segments {
			if segment == "." || segment == ".." {
				t.Fatalf("normalise(%q) lets the segment %q through", raw, segment)
			}
		}
		if path != "/"+strings.Join(got.segments, "/") {
			t.Fatalf("normalise(%q): segments %q are not the path %q", raw, got.segments, path)
		}
		again, err := normalise([]byte(strings.ReplaceAll(path, " ", "%20")))
		if err != nil || again.path != path || !slices.Equal(again.segments, got.segments) {
			t.Fatalf("normalise(%q) = %q, and that again = %q, %v", raw, path, again.path, err)
		}
		for _, p := range got.query {
			if text := fmt.Sprint(p); !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
				t.Fatalf("normalise(%q) lets the parameter %q through", raw, p)
			}
		}
	})
}
