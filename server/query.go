package server

import (
	"slices"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// parameters reads the query of one request.
type parameters struct {
	form *form
	of   []param
	read []string
}

// parameters returns the query parameters of the request.
func (x *exchange) parameters(f *form) *parameters { return &parameters{form: f, of: x.target.query} }

// done refuses every parameter that was not asked for.
func (p *parameters) done() {
	for i, q := range p.of {
		if !slices.Contains(p.read, q.name) && indexParam(p.of, q.name) == i {
			p.form.fail(queryPlace(q.name), "extra_forbidden", "Extra inputs are not permitted")
		}
	}
}

func queryPlace(name string) *place { return &place{&place{nil, "query"}, name} }

func indexParam(query []param, name string) int {
	return slices.IndexFunc(query, func(q param) bool { return q.name == name })
}

// take returns a parameter and whether there is one; a repeated one is wrong.
func (p *parameters) take(name string) (string, *place, bool) {
	p.read = append(p.read, name)
	at := queryPlace(name)
	i := indexParam(p.of, name)
	if i < 0 {
		return "", at, false
	}
	if indexParam(p.of[i+1:], name) >= 0 {
		p.form.fail(at, "value_error", "Value error, parameter should be given once")
		return "", at, false
	}
	return p.of[i].value, at, true
}

// integer reads a whole number, or returns the default.
func (p *parameters) integer(name string, otherwise, least, most int64) int64 {
	s, at, ok := p.take(name)
	if !ok {
		return otherwise
	}
	digits := s
	if len(digits) > 1 && digits[0] == '-' {
		digits = digits[1:]
	}
	if digits == "" || slices.ContainsFunc([]byte(digits), func(c byte) bool { return !isDigit(c) }) {
		p.form.fail(at, "int_parsing", "Input should be a valid integer, unable to parse string as an integer")
		return otherwise
	}
	n, _ := p.form.checkInteger(at, s, least, most)
	return n
}

// text reads a string of 1 to longest characters; "" if absent.
func (p *parameters) text(name string, longest int) string {
	s, at, ok := p.take(name)
	if !ok || !p.form.checkText(at, s, 1, longest) {
		return ""
	}
	return s
}

// choice reads one of the options; "" if absent.
func (p *parameters) choice(name string, options ...string) string {
	s, at, ok := p.take(name)
	if ok && !slices.Contains(options, s) {
		p.form.failChoice(at, options)
	}
	return s
}

// moment reads an RFC 3339 timestamp; zero if absent.
func (p *parameters) moment(name string) time.Time {
	s, at, ok := p.take(name)
	if !ok {
		return time.Time{}
	}
	moment, _ := p.form.checkMoment(at, s)
	return moment
}

// uuid reads a UUID in lower case; "" if absent.
func (p *parameters) uuid(name string) string {
	s, at, ok := p.take(name)
	if !ok {
		return ""
	}
	id, ok := parseUUID(s)
	if !ok {
		p.form.fail(at, "uuid_parsing", "Input should be a valid UUID")
	}
	return id
}

// page reads limit and offset.
func (p *parameters) page(otherwise, most int64) engine.Page {
	return engine.Page{
		Limit:  int(p.integer("limit", otherwise, 1, most)),
		Offset: int(p.integer("offset", 0, 0, api.MaxListOffset)),
	}
}

// page reads limit and offset, for lists that take nothing else.
func (x *exchange) page() (engine.Page, error) {
	f := &form{}
	p := x.parameters(f)
	page := p.page(api.DefaultListLimit, api.MaxListLimit)
	p.done()
	return page, f.err()
}

// noParameters refuses every query parameter.
func (x *exchange) noParameters() error {
	f := &form{}
	x.parameters(f).done()
	return f.err()
}

// list shows a page of a collection.
func list[T, Shown any](items []T, total int, page engine.Page, show func(*T) Shown) api.List[Shown] {
	shown := make([]Shown, len(items))
	for i := range items {
		shown[i] = show(&items[i])
	}
	return api.List[Shown]{Items: shown, Total: total, Limit: page.Limit, Offset: page.Offset}
}
