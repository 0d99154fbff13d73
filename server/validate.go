package server

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/server/api"
)

// This file judges what a client sent, field by field, and collects all that
// is wrong instead of stopping at the first. Types and sentences are those of
// pydantic, which the API's clients know.

// form collects what is wrong with one request.
type form struct {
	errors []api.FieldError
}

// place leads to a field: "body", then names and list indices.
type place struct {
	parent *place
	step   any // string or int
}

func (p *place) at(step any) *place { return &place{p, step} }

func (p *place) loc() []any {
	var loc []any
	for ; p != nil; p = p.parent {
		loc = append(loc, p.step)
	}
	slices.Reverse(loc)
	return loc
}

func (f *form) fail(at *place, kind, msg string) {
	f.errors = append(f.errors, api.FieldError{Loc: at.loc(), Msg: msg, Type: kind})
}

// err returns all that is wrong as a 422, or nil.
func (f *form) err() error {
	if len(f.errors) == 0 {
		return nil
	}
	return &apiError{status: fiber.StatusUnprocessableEntity, body: api.Invalid{Detail: f.errors}}
}

// presence says whether a field must be there.
type presence uint8

const (
	required presence = iota
	optional          // may be absent; null means the same
	settable          // may be absent; null is not a value
	nullable          // may be absent; null is a value of its own
)

// fields reads the members of one object. A nil *fields reads nothing.
type fields struct {
	form *form
	at   *place
	of   *value
	read []string
}

// object returns the members of v, which must be an object.
func (f *form) object(v *value, at *place) *fields {
	if v.kind != kindObject {
		f.fail(at, "model_attributes_type", "Input should be a valid dictionary or object to extract fields from")
		return nil
	}
	return &fields{form: f, at: at, of: v}
}

// done refuses every member that was not asked for.
func (o *fields) done() {
	if o == nil {
		return
	}
	for _, name := range o.of.names {
		if !slices.Contains(o.read, name) {
			o.form.fail(o.at.at(name), "extra_forbidden", "Extra inputs are not permitted")
		}
	}
}

// take returns a member and whether there is one to look at.
func (o *fields) take(name string, need presence) (*value, *place, bool) {
	if o == nil {
		return nil, nil, false
	}
	o.read = append(o.read, name)
	at := o.at.at(name)
	v, ok := o.of.get(name)
	switch {
	case !ok && need == required:
		o.form.fail(at, "missing", "Field required")
	case ok && v.kind == kindNull && need == optional:
		ok = false
	}
	return v, at, ok
}

// text reads a string of min to max characters.
func (o *fields) text(name string, need presence, shortest, longest int) (string, bool) {
	v, at, ok := o.take(name, need)
	return v.asText(o, at, ok, shortest, longest)
}

func (v *value) asText(o *fields, at *place, ok bool, shortest, longest int) (string, bool) {
	if !ok {
		return "", false
	}
	if v.kind != kindString {
		o.form.fail(at, "string_type", "Input should be a valid string")
		return "", false
	}
	return v.text, o.form.checkText(at, v.text, shortest, longest)
}

// checkText holds a string to its length and to what the stores can keep.
func (f *form) checkText(at *place, s string, shortest, longest int) bool {
	switch n := utf8.RuneCountInString(s); {
	case n < shortest:
		f.fail(at, "string_too_short", "String should have at least "+count(shortest, "character"))
	case n > longest:
		f.fail(at, "string_too_long", "String should have at most "+count(longest, "character"))
	case strings.ContainsRune(s, 0):
		f.fail(at, "value_error", "Value error, NUL characters are not permitted")
	default:
		return true
	}
	return false
}

// count says how many, in the right number.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

// integer reads a whole number, written as one, from least to most.
func (o *fields) integer(name string, need presence, least, most int64) (int64, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return 0, false
	}
	if v.kind != kindNumber || strings.ContainsAny(v.text, ".eE") {
		o.form.fail(at, "int_type", "Input should be a valid integer")
		return 0, false
	}
	return o.form.checkInteger(at, v.text, least, most)
}

// checkInteger holds digits to bounds, also those that no int64 can hold.
func (f *form) checkInteger(at *place, digits string, least, most int64) (int64, bool) {
	n, err := strconv.ParseInt(digits, 10, 64) // beyond int64 n is its nearest end
	switch {
	case n < least:
		f.fail(at, "greater_than_equal", fmt.Sprintf("Input should be greater than or equal to %d", least))
	case n > most, err != nil:
		f.fail(at, "less_than_equal", fmt.Sprintf("Input should be less than or equal to %d", most))
	default:
		return n, true
	}
	return 0, false
}

// number reads a finite number.
func (o *fields) number(name string, need presence) (float64, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return 0, false
	}
	if v.kind != kindNumber {
		o.form.fail(at, "float_type", "Input should be a valid number")
		return 0, false
	}
	if !storableNumber(v.text) {
		o.form.fail(at, "finite_number", "Input should be a finite number")
		return 0, false
	}
	n, err := strconv.ParseFloat(v.text, 64)
	return n, err == nil
}

// boolean reads true or false.
func (o *fields) boolean(name string, need presence) (is, ok bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return false, false
	}
	if v.kind != kindBool {
		o.form.fail(at, "bool_type", "Input should be a valid boolean")
		return false, false
	}
	return v.text == "true", true
}

// choice reads one of the options.
func (o *fields) choice(name string, need presence, options ...string) (string, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return "", false
	}
	if v.kind != kindString || !slices.Contains(options, v.text) {
		o.form.failChoice(at, options)
		return "", false
	}
	return v.text, true
}

func (f *form) failChoice(at *place, options []string) {
	quoted := make([]string, len(options))
	for i, option := range options {
		quoted[i] = "'" + option + "'"
	}
	list := strings.Join(quoted[:len(quoted)-1], ", ")
	f.fail(at, "enum", "Input should be "+list+" or "+quoted[len(quoted)-1])
}

// list reads an array of shortest to longest items.
func (o *fields) list(name string, need presence, shortest, longest int) ([]value, *place, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return nil, nil, false
	}
	n := len(v.items)
	switch {
	case v.kind != kindArray:
		o.form.fail(at, "list_type", "Input should be a valid list")
	case n < shortest:
		o.form.fail(at, "too_short", fmt.Sprintf("List should have at least %s after validation, not %d", count(shortest, "item"), n))
	case n > longest:
		o.form.fail(at, "too_long", fmt.Sprintf("List should have at most %s after validation, not %d", count(longest, "item"), n))
	default:
		return v.items, at, true
	}
	return nil, nil, false
}

// texts reads an array of different strings.
func (o *fields) texts(name string, need presence, fewest, most, longest int) ([]string, bool) {
	items, at, ok := o.list(name, need, fewest, most)
	if !ok {
		return nil, false
	}
	list := make([]string, 0, len(items))
	for i := range items {
		s, fine := items[i].asText(o, at.at(i), true, 1, longest)
		if fine && slices.Contains(list, s) {
			o.form.fail(at.at(i), "value_error", "Value error, items should be unique")
			fine = false
		}
		list = append(list, s)
		ok = ok && fine
	}
	return list, ok
}

// inner reads an object inside the object.
func (o *fields) inner(name string, need presence) (*fields, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return nil, false
	}
	in := o.form.object(v, at)
	return in, in != nil
}

// freeObject reads an object of the client's own making, within bounds of
// bytes (as compact JSON) and depth.
func (o *fields) freeObject(name string, need presence, maxBytes, maxDepth int) (*value, bool) {
	v, at, ok := o.take(name, need)
	if !ok {
		return nil, false
	}
	if v.kind != kindObject {
		o.form.fail(at, "dict_type", "Input should be a valid dictionary")
		return nil, false
	}
	return v, o.form.checkFree(v, at, maxBytes, maxDepth)
}

// checkFree holds JSON of the client's own making to its bounds and to what
// the stores can keep.
func (f *form) checkFree(v *value, at *place, maxBytes, maxDepth int) bool {
	before := len(f.errors)
	if depth := v.depth(); depth > maxDepth {
		f.fail(at, "value_error", fmt.Sprintf("Value error, nested %d deep, at most %d are permitted", depth, maxDepth))
	}
	if size := len(v.appendTo(nil)); size > maxBytes {
		f.fail(at, "value_error", fmt.Sprintf("Value error, %d bytes long, at most %d are permitted", size, maxBytes))
	}
	f.checkStorable(v, at)
	return len(f.errors) == before
}

// checkStorable refuses NUL characters and numbers beyond all bounds, wherever
// they are.
func (f *form) checkStorable(v *value, at *place) {
	switch v.kind {
	case kindString:
		if strings.ContainsRune(v.text, 0) {
			f.fail(at, "value_error", "Value error, NUL characters are not permitted")
		}
	case kindNumber:
		if !storableNumber(v.text) {
			f.fail(at, "finite_number", "Input should be a finite number")
		}
	case kindArray:
		for i := range v.items {
			f.checkStorable(&v.items[i], at.at(i))
		}
	case kindObject:
		for i, name := range v.names {
			if strings.ContainsRune(name, 0) {
				f.fail(at.at(name), "value_error", "Value error, NUL characters are not permitted in names")
			}
			f.checkStorable(&v.items[i], at.at(name))
		}
	case kindNull, kindBool:
	}
}

// checkMoment reads an RFC 3339 timestamp, to the microsecond, in UTC.
func (f *form) checkMoment(at *place, s string) (time.Time, bool) {
	var moment time.Time // UnmarshalText is strict where time.Parse is not
	if err := moment.UnmarshalText([]byte(s)); err != nil || moment.UTC().Year() < 1 || moment.UTC().Year() > 9999 {
		f.fail(at, "datetime_from_date_parsing", "Input should be a valid RFC 3339 datetime")
		return time.Time{}, false
	}
	return moment.UTC().Truncate(time.Microsecond), true
}
