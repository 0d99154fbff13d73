package openapi_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/twyn/twyn/server/openapi"
)

// TestPageWorksUnderItsPolicy: the style is the one whose digest the policy
// names, and nothing on the page asks for more.
func TestPageWorksUnderItsPolicy(t *testing.T) {
	t.Parallel()
	page := string(openapi.Page())
	styles := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindAllStringSubmatch(page, -1)
	if len(styles) != 1 {
		t.Fatalf("%d style elements; want 1", len(styles))
	}
	sum := sha256.Sum256([]byte(styles[0][1]))
	if digest := base64.StdEncoding.EncodeToString(sum[:]); !strings.Contains(openapi.PageCSP(), "style-src 'sha256-"+digest+"';") {
		t.Errorf("%s does not allow the page's style, sha256-%s", openapi.PageCSP(), digest)
	}
	if bad := regexp.MustCompile(`(?i)<script|<img|<link|<iframe|<form| style=| on[a-z]+=|javascript:|url\(|@import`).FindString(page); bad != "" {
		t.Errorf("the page holds %q, which its policy forbids", bad)
	}
	if bad := regexp.MustCompile(`(?i)(src|href)="[a-z]+:`).FindString(page); bad != "" {
		t.Errorf("the page leads elsewhere: %q", bad)
	}
}

// TestPageLinks: every link inside the page arrives, and no id occurs twice.
func TestPageLinks(t *testing.T) {
	t.Parallel()
	page := string(openapi.Page())
	ids := make(map[string]bool)
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(page, -1) {
		if ids[m[1]] || m[1] == "" || strings.ContainsAny(m[1], " %") {
			t.Errorf("id %q is not a unique name", m[1])
		}
		ids[m[1]] = true
	}
	links := regexp.MustCompile(`href="#([^"]*)"`).FindAllStringSubmatch(page, -1)
	for _, m := range links {
		if !ids[m[1]] {
			t.Errorf("a link leads to #%s, which is not there", m[1])
		}
	}
	if len(links) == 0 {
		t.Error("the page has no links")
	}
}

// TestPageShowsEverything: every path, operation, parameter, shape and error
// of the document is on the page.
func TestPageShowsEverything(t *testing.T) {
	t.Parallel()
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string
		}
		Components struct {
			Parameters                  map[string]struct{ Name string }
			Headers, Responses, Schemas map[string]json.RawMessage
		}
	}
	// Path items hold lists beside their operations; those decode as nothing.
	if err := json.Unmarshal(withoutLists(t, openapi.Document()), &document); err != nil {
		t.Fatal(err)
	}
	page := string(openapi.Page())
	want := func(text string) {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not show %s", text)
		}
	}
	for path, operations := range document.Paths {
		want(path)
		for _, o := range operations {
			want(`id="` + o.OperationID + `"`)
		}
	}
	for _, p := range document.Components.Parameters {
		want("<code>" + p.Name + "</code>")
	}
	for name := range document.Components.Headers {
		want("<code>" + name + "</code>")
	}
	for name := range document.Components.Responses {
		want(`id="error-` + name + `"`)
	}
	for name := range document.Components.Schemas {
		want(`id="schema-` + name + `"`)
	}
}

// withoutLists drops the lists of path items ("parameters", "servers").
func withoutLists(t *testing.T, data []byte) []byte {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	for _, item := range document["paths"].(map[string]any) {
		delete(item.(map[string]any), "parameters")
		delete(item.(map[string]any), "servers")
	}
	out, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
