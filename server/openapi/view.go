package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"slices"
	"strings"
)

// pageView is what the template shows.
type pageView struct {
	Title, Version, Summary string

	Style   template.CSS
	Prose   []block
	Groups  []groupView
	Headers []fieldView
	Errors  []responseView
	Schemas []schemaView
}

type groupView struct {
	Name, Description string
	Operations        []operationView
}

type operationView struct {
	ID, Method, Path, Server, Summary, Description string

	Open       bool
	Parameters []fieldView
	Body       *bodyView
	Responses  []responseView
}

type bodyView struct {
	Required bool
	Schema   schemaView
	Examples []exampleView
}

// responseView is an answer. One that many operations share is shown once, and
// Name leads to it.
type responseView struct {
	Code, Name, Description string

	Shared   bool
	Headers  []string
	Schema   string // name of a component
	Examples []exampleView
}

type exampleView struct{ Summary, JSON string }

// fieldView is a parameter, a header or a property.
type fieldView struct {
	Name, In, Type, Link, Description string

	Required bool
}

type schemaView struct {
	Name, Type, Description string

	Fields []fieldView
	OneOf  []schemaView
}

// newPageView turns the document into what the page shows.
func newPageView(d *spec) (*pageView, error) {
	v := &pageView{
		Title: d.Info.Title, Version: d.Info.Version, Summary: d.Info.Summary,
		Style: template.CSS(pageStyle), //nolint:gosec // Embedded in the binary, not a stranger's.
		Prose: parseProse(d.Info.Description),
	}
	for _, tag := range d.Tags {
		g := groupView{Name: tag.Name, Description: tag.Description}
		for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
			operations, err := d.viewPath(path, tag.Name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			g.Operations = append(g.Operations, operations...)
		}
		v.Groups = append(v.Groups, g)
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Headers)) {
		h := d.Components.Headers[name]
		v.Headers = append(v.Headers, fieldView{Name: name, Type: typeOf(h.Schema), Description: h.Description})
	}
	for _, name := range slices.Sorted(maps.Keys(d.Components.Responses)) {
		r, err := d.viewResponse(d.Components.Responses[name])
		if err != nil {
			return nil, fmt.Errorf("response %s: %w", name, err)
		}
		r.Name, r.Code = name, d.codeOf(name)
		v.Errors = append(v.Errors, r)
	}
	slices.SortStableFunc(v.Errors, func(a, b responseView) int { return cmp.Compare(a.Code, b.Code) })
	for _, name := range slices.Sorted(maps.Keys(d.Components.Schemas)) {
		v.Schemas = append(v.Schemas, viewSchema(name, d.Components.Schemas[name]))
	}
	return v, nil
}

// viewPath shows the operations of a path that carry a tag.
func (d *spec) viewPath(path, tag string) ([]operationView, error) {
	item := d.Paths[path]
	var views []operationView
	for _, o := range []struct {
		method    string
		operation *operation
	}{{"GET", item.Get}, {"POST", item.Post}, {"PUT", item.Put}, {"PATCH", item.Patch}, {"DELETE", item.Delete}} {
		if o.operation == nil || !slices.Contains(o.operation.Tags, tag) {
			continue
		}
		view, err := d.viewOperation(o.operation, item.Parameters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.method, err)
		}
		view.Method, view.Path = o.method, path
		if len(item.Servers) > 0 {
			view.Server = item.Servers[0].URL
		}
		views = append(views, view)
	}
	return views, nil
}

func (d *spec) viewOperation(o *operation, shared []parameter) (operationView, error) {
	view := operationView{
		ID: o.OperationID, Summary: o.Summary, Description: o.Description,
		Open: o.Security != nil && len(*o.Security) == 0,
	}
	for _, p := range slices.Concat(shared, o.Parameters) {
		if p.Ref != "" {
			var err error
			if p, err = follow(p.Ref, d.Components.Parameters); err != nil {
				return view, err
			}
		}
		view.Parameters = append(view.Parameters, fieldView{
			Name: p.Name, In: p.In, Required: p.Required, Description: p.Description, Type: typeOf(p.Schema), Link: linkOf(p.Schema),
		})
	}
	if o.RequestBody != nil {
		m := o.RequestBody.Content["application/json"]
		examples, err := d.viewExamples(m.Examples)
		if err != nil {
			return view, err
		}
		name := refName(m.Schema.Ref)
		view.Body = &bodyView{
			Required: o.RequestBody.Required, Examples: examples, Schema: viewSchema(name, d.Components.Schemas[name]),
		}
	}
	for _, code := range slices.Sorted(maps.Keys(o.Responses)) {
		r := o.Responses[code]
		name := ""
		if r.Ref != "" {
			name = refName(r.Ref)
			var err error
			if r, err = follow(r.Ref, d.Components.Responses); err != nil {
				return view, err
			}
		}
		rv, err := d.viewResponse(r)
		if err != nil {
			return view, fmt.Errorf("%s: %w", code, err)
		}
		rv.Code, rv.Name, rv.Shared = code, name, name != ""
		view.Responses = append(view.Responses, rv)
	}
	return view, nil
}

func (d *spec) viewResponse(r response) (responseView, error) {
	m := r.Content["application/json"]
	examples, err := d.viewExamples(m.Examples)
	view := responseView{Description: r.Description, Headers: slices.Sorted(maps.Keys(r.Headers)), Examples: examples}
	if m.Schema != nil && m.Schema.Ref != "" {
		view.Schema = refName(m.Schema.Ref)
	}
	return view, err
}

// codeOf finds the status of a shared response: all who use it use it for one.
func (d *spec) codeOf(name string) string {
	for _, item := range d.Paths {
		for _, o := range []*operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if o == nil {
				continue
			}
			for code, r := range o.Responses {
				if r.Ref != "" && refName(r.Ref) == name {
					return code
				}
			}
		}
	}
	return ""
}

func (d *spec) viewExamples(examples map[string]example) ([]exampleView, error) {
	var views []exampleView
	for _, name := range slices.Sorted(maps.Keys(examples)) {
		e := examples[name]
		if e.Ref != "" {
			var err error
			if e, err = follow(e.Ref, d.Components.Examples); err != nil {
				return nil, err
			}
		}
		var out bytes.Buffer
		if err := json.Indent(&out, e.Value, "", "  "); err != nil {
			return nil, fmt.Errorf("example %s: %w", name, err)
		}
		views = append(views, exampleView{Summary: e.Summary, JSON: out.String()})
	}
	return views, nil
}

// viewSchema shows a schema: required fields first, then by name.
func viewSchema(name string, s *schema) schemaView {
	view := schemaView{Name: name, Type: typeOf(s), Description: s.Description}
	for _, p := range slices.Sorted(maps.Keys(s.Properties)) {
		property := s.Properties[p]
		view.Fields = append(view.Fields, fieldView{
			Name: p, Type: typeOf(property), Link: linkOf(property), Description: property.Description,
			Required: slices.Contains(s.Required, p),
		})
	}
	slices.SortStableFunc(view.Fields, func(a, b fieldView) int {
		switch {
		case a.Required == b.Required:
			return strings.Compare(a.Name, b.Name)
		case a.Required:
			return -1
		default:
			return 1
		}
	})
	for _, one := range s.OneOf {
		view.OneOf = append(view.OneOf, viewSchema("", one))
	}
	return view
}
