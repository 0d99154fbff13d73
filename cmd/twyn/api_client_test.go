package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	validation "github.com/pb33f/libopenapi-validator/errors"

	"github.com/twyn/twyn/server/openapi"
)

// client speaks to a server as one API key.
type client struct {
	t      testing.TB
	server *testServer
	key    string // "": sends none
	tenant string // id, where the test knows it
}

// call is one request.
type call struct {
	method, path string
	// body is sent as it is if a string or bytes, else as JSON; nil: none.
	body any
	// header is added to, or with an empty value taken from, the usual ones.
	header map[string]string
	// bad marks a request that breaks the document on purpose: only the
	// answer is held to it.
	bad bool
}

// answer is one response.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   []byte
}

// as returns a client with an API key.
func (s *testServer) as(t testing.TB, key string) *client {
	t.Helper()
	return &client{t: t, server: s, key: key}
}

// newTenant makes a tenant through the API and returns a client with its
// first key.
func (s *testServer) newTenant(t testing.TB, name string) *client {
	t.Helper()
	var made madeTenant
	s.as(t, s.operatorKey()).post("/v1/tenants", map[string]any{"name": name}).want(http.StatusCreated).into(&made)
	return &client{t: t, server: s, key: made.APIKey, tenant: made.TenantID}
}

// with returns the same client with another key.
func (c *client) with(key string) *client {
	other := *c
	other.key = key
	return &other
}

func (c *client) get(path string) *answer {
	c.t.Helper()
	return c.do(call{method: http.MethodGet, path: path})
}

func (c *client) delete(path string) *answer {
	c.t.Helper()
	return c.do(call{method: http.MethodDelete, path: path})
}

func (c *client) post(path string, body any) *answer {
	c.t.Helper()
	return c.do(call{method: http.MethodPost, path: path, body: body})
}

func (c *client) patch(path string, body any) *answer {
	c.t.Helper()
	return c.do(call{method: http.MethodPatch, path: path, body: body})
}

func (c *client) put(path string, body any) *answer {
	c.t.Helper()
	return c.do(call{method: http.MethodPut, path: path, body: body})
}

// do sends a request, holds it and the answer to the OpenAPI document, and
// fails the test if there is no answer.
func (c *client) do(o call) *answer {
	c.t.Helper()
	a, err := c.try(o)
	if err != nil {
		c.t.Fatalf("%s %s: %v", o.method, o.path, err)
	}
	return a
}

// try is do for a server that may go away.
func (c *client) try(o call) (*answer, error) {
	c.t.Helper()
	request, err := c.request(o)
	if err != nil {
		return nil, err
	}
	var bad []string
	transport := &checkedTransport{skipRequest: o.bad || c.key == "", report: func(trouble string) { bad = append(bad, trouble) }}
	response, err := (&http.Client{Transport: transport, Timeout: startTimeout}).Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	for _, trouble := range bad {
		c.t.Errorf("%s %s, answered %d: %s\n%s", o.method, o.path, response.StatusCode, trouble, redact(body))
	}
	return &answer{t: c.t, status: response.StatusCode, header: response.Header, body: body}, nil
}

func (c *client) request(o call) (*http.Request, error) {
	var body io.Reader
	switch b := o.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	case []byte:
		body = bytes.NewReader(b)
	default:
		encoded, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(context.Background(), o.method, c.server.BaseURL+o.path, body)
	if err != nil {
		return nil, err
	}
	if c.key != "" {
		request.Header.Set("X-API-Key", c.key)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range o.header {
		if value == "" {
			request.Header.Del(name)
		} else {
			request.Header.Set(name, value)
		}
	}
	if key := request.Header.Get("X-API-Key"); key != "" {
		secrets.add(key)
	}
	return request, nil
}

// want fails the test unless the answer has the status.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("answered %d; want %d: %s", a.status, status, redact(a.body))
	}
	return a
}

// wantBody fails the test unless the answer is exactly these bytes.
func (a *answer) wantBody(status int, body string) *answer {
	a.t.Helper()
	if a.status != status || string(a.body) != body {
		a.t.Errorf("answered %d %s; want %d %s", a.status, redact(a.body), status, body)
	}
	return a
}

// wantDetail fails the test unless the answer is an error with this sentence.
func (a *answer) wantDetail(status int, sentence string) *answer {
	a.t.Helper()
	body, err := json.Marshal(map[string]string{"detail": sentence})
	if err != nil {
		a.t.Fatal(err)
	}
	return a.wantBody(status, string(body))
}

// into decodes the body.
func (a *answer) into(v any) *answer {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%v: %s", err, redact(a.body))
	}
	return a
}

// fields decodes a body that is an object.
func (a *answer) fields() map[string]any {
	a.t.Helper()
	var fields map[string]any
	a.into(&fields)
	return fields
}

// redact keeps API keys out of the tests' own output.
func redact(body []byte) []byte { return apiKeyPattern.ReplaceAll(body, []byte("twyn_[redacted]")) }

// checkedTransport holds requests and answers to the OpenAPI document, and
// makes the secrets of both known.
type checkedTransport struct {
	skipRequest bool
	report      func(trouble string)
}

// transport keeps connections for all clients.
var transport = &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 2 * time.Second}

// RoundTrip sends one request.
func (c *checkedTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	v, err := contract()
	if err != nil {
		return nil, err
	}
	if !c.skipRequest {
		if ok, errs := v.ValidateHttpRequestSync(request); !ok {
			c.report("the request does not fit the document: " + explain(errs))
		}
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	secrets.addAll(body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	if trouble := checkAnswer(v, request, response, body); trouble != "" {
		c.report(trouble)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// checkAnswer holds an answer to the document. What the document cannot speak
// of, paths and methods it does not have, must still be a plain error.
func checkAnswer(v validator.Validator, request *http.Request, response *http.Response, body []byte) string {
	if response.Header.Get("X-Request-Id") == "" {
		return "no X-Request-Id"
	}
	methods := documentedMethods(request.URL.Path)
	switch {
	case request.Method == http.MethodHead:
		if len(body) > 0 {
			return "a HEAD was answered with a body"
		}
		return ""
	case len(methods) == 0:
		return checkPlainError(response.StatusCode, body)
	case !slices.Contains(methods, request.Method):
		if response.StatusCode < 400 {
			return fmt.Sprintf("%s is not in the document", request.Method)
		}
		// Whatever may be said of a wrong method may be said of this one.
		request = request.Clone(request.Context())
		request.Method, request.URL.Path = http.MethodGet, "/v1/keys/any"
	}
	if ok, errs := v.ValidateHttpResponse(request, response); !ok {
		return explain(errs)
	}
	return ""
}

// checkPlainError holds an answer on an unknown path to the form of errors.
func checkPlainError(status int, body []byte) string {
	var plain map[string]string
	if status < 400 || json.Unmarshal(body, &plain) != nil || len(plain) != 1 || plain["detail"] == "" {
		return fmt.Sprintf("answered %d on a path that is not in the document, with something else than an error", status)
	}
	return ""
}

// explain puts what a validator found on a few lines.
func explain(errs []*validation.ValidationError) string {
	var b strings.Builder
	for _, err := range errs {
		fmt.Fprintf(&b, "%s: %s", err.Message, err.Reason)
		for _, s := range err.SchemaValidationErrors {
			fmt.Fprintf(&b, "; %s %s", s.FieldPath, s.Reason)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// contract is the validator of the OpenAPI document.
var contract = sync.OnceValues(func() (validator.Validator, error) {
	document, err := libopenapi.NewDocument(openapi.Document())
	if err != nil {
		return nil, fmt.Errorf("reading the OpenAPI document: %w", err)
	}
	v, errs := validator.NewValidator(document, config.WithFormatAssertions())
	if len(errs) > 0 {
		return nil, fmt.Errorf("reading the OpenAPI document: %v", errs)
	}
	return v, nil
})

// documentedPath is a path of the OpenAPI document.
type documentedPath struct {
	template string
	pattern  *regexp.Regexp
	methods  []string
}

// documentedPaths lists the paths of the document on the API's own listener,
// fixed ones before those with parameters.
var documentedPaths = sync.OnceValue(func() []documentedPath {
	var document struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.Unmarshal(openapi.Document(), &document); err != nil {
		panic(err)
	}
	parameter := regexp.MustCompile(`\\\{[^}]*\\\}`)
	var paths []documentedPath
	delete(document.Paths, "/metrics")
	for _, template := range slices.Sorted(maps.Keys(document.Paths)) {
		p := documentedPath{template: template}
		p.pattern = regexp.MustCompile("^" + parameter.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+") + "$")
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if document.Paths[template][strings.ToLower(method)] != nil {
				p.methods = append(p.methods, method)
			}
		}
		paths = append(paths, p)
	}
	slices.SortStableFunc(paths, func(a, b documentedPath) int { return strings.Count(a.template, "{") - strings.Count(b.template, "{") })
	return paths
})

// documentedMethods lists the methods that the document knows on a path.
func documentedMethods(path string) []string {
	for _, p := range documentedPaths() {
		if p.pattern.MatchString(path) {
			return p.methods
		}
	}
	return nil
}
