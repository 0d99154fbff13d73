package server

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseJSON(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, tt := range []struct {
		name, body, want, err string
	}{
		{name: "object", body: ` {"a" : [1, -0.5e+3, true,false , null, "x"], "b":{}} `, want: `{"a":[1,-0.5e+3,true,false,null,"x"],"b":{}}`},
		{name: "escapes", body: `"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"`, want: `"\"\\/\u0008\u000c\u000a\u000d\u0009é😀"`},
		{name: "nul", body: `"\u0000"`, want: `"\u0000"`},
		{name: "large integer", body: `123456789012345678901234567890`, want: `123456789012345678901234567890`},
		{name: "deep", body: deep(32), want: deep(32)},
		{name: "html", body: `"<&>"`, want: `"<&>"`},

		{name: "empty", body: ``, err: "a value is expected"},
		{name: "too deep", body: deep(33), err: "nested too deeply"},
		{name: "bomb", body: strings.Repeat("[", 1<<20), err: "nested too deeply"},
		{name: "too many", body: "[" + strings.Repeat("0,", maxJSONValues) + "0]", err: "too many values"},
		{name: "trailing", body: `{}{}`, err: "byte 2: something follows"},
		{name: "trailing comma", body: `[1,]`, err: "a value is expected"},
		{name: "trailing comma in object", body: `{"a":1,}`, err: "a name in quotes"},
		{name: "no colon", body: `{"a" 1}`, err: "a colon"},
		{name: "no comma", body: `[1 2]`, err: "a comma"},
		{name: "open", body: `{"a":[`, err: "a value is expected"},
		{name: "repeated name", body: `{"a":1,"\u0061":2}`, err: "byte 7: a name occurs twice"},
		{name: "repeated name inside", body: `{"x":[{"a":1,"a":2}]}`, err: "twice"},
		{name: "open string", body: `"abc`, err: "does not end"},
		{name: "open escape", body: `"abc\`, err: "unknown escape"},
		{name: "escape", body: `"\x41"`, err: "unknown escape"},
		{name: "short escape", body: `"\u00"`, err: "malformed escape"},
		{name: "lone surrogate", body: `"\ud83d"`, err: "malformed escape"},
		{name: "lone low surrogate", body: `"\ude00\ud83d"`, err: "malformed escape"},
		{name: "control character", body: "\"a\nb\"", err: "control character"},
		{name: "not UTF-8", body: "\"\xff\"", err: "byte 1: not UTF-8"},
		{name: "byte order mark", body: "\ufeff{}", err: "a value is expected"},
		{name: "NaN", body: `NaN`, err: "a value is expected"},
		{name: "leading zero", body: `01`, err: "not a number"},
		{name: "plus", body: `+1`, err: "a value is expected"},
		{name: "point", body: `1.`, err: "not a number"},
		{name: "exponent", body: `1e`, err: "not a number"},
		{name: "comment", body: `{} // x`, err: "something follows"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v, err := parseJSON([]byte(tt.body))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("parseJSON error = %v; want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := string(v.appendTo(nil)); got != tt.want {
				t.Errorf("got %s; want %s", got, tt.want)
			}
		})
	}
}

func TestStorableNumber(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"0": true, "-1.5e10": true, "1e308": true, "12345678901234567890": true,
		"1e309": false, "1e-309": false, "1e99999999999999999999": false, strings.Repeat("1", 65): false,
	} {
		if got := storableNumber(text); got != want {
			t.Errorf("storableNumber(%q) = %v; want %v", text, got, want)
		}
	}
}

// FuzzParseJSON checks that whatever is read is JSON to encoding/json too and
// means the same, and that writing and reading it again changes nothing.
func FuzzParseJSON(f *testing.F) {
	for _, seed := range []string{
		`{"name":"x","rate_limit":5}`, `[1,2.5e3,-0,true,null,"\ud83d\ude00"]`, `{"a":{"b":[[[]]]}}`, `"\u0000"`, `{"a":1,"a":2}`, `[1,]`, `01`, `"`, "\"\xff\"", `{}x`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parseJSON(body)
		if err != nil {
			return
		}
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.UseNumber()
		var want any
		if err := decoder.Decode(&want); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", body, err)
		}
		if got := v.plain(); !reflect.DeepEqual(got, want) {
			t.Fatalf("parseJSON(%q) = %v; encoding/json reads %v", body, got, want)
		}
		text := v.appendTo(nil)
		again, err := parseJSON(text)
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%q is written as %q, which reads as %v, %v", body, text, again, err)
		}
	})
}
