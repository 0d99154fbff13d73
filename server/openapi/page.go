package openapi

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"sync"
)

//go:embed page.html
var pageTemplate string

//go:embed page.css
var pageStyle string

// Page returns the document as one HTML page for people. It needs nothing else:
// no script, no font, no second request. Serve it with PageCSP. The bytes are
// shared; do not change them.
func Page() []byte { return page() }

// PageCSP is the Content-Security-Policy under which Page works: its own style
// and nothing else.
func PageCSP() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// page renders once; like document it can fail only in a broken build.
var page = sync.OnceValue(func() []byte {
	out, err := render(Document())
	if err != nil {
		panic(fmt.Sprintf("page of the OpenAPI document: %v", err))
	}
	return out
})

// render writes the page of an OpenAPI document.
func render(document []byte) ([]byte, error) {
	var d spec
	if err := json.Unmarshal(document, &d); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	view, err := newPageView(&d)
	if err != nil {
		return nil, err
	}
	t, err := template.New("page").Funcs(template.FuncMap{"prose": parseProse, "inline": parseInline}).Parse(pageTemplate)
	if err != nil {
		return nil, fmt.Errorf("reading the template: %w", err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, view); err != nil {
		return nil, fmt.Errorf("writing the page: %w", err)
	}
	return out.Bytes(), nil
}
