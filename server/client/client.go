// Package client speaks the HTTP API from outside, for the command line.
//
// It imports server/api and the standard library, and must never import the
// server, the engine or a store: what it knows is what any client can know.
package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/twyn/twyn/server/api"
)

const (
	timeout     = 30 * time.Second
	maxAnswer   = 64 << 20
	maxErrorLen = 1 << 10
)

// Client asks one server with one API key. It is safe for concurrent use.
type Client struct {
	base string
	key  string
	http *http.Client
}

// Error is an answer that is no success.
type Error struct {
	Status int
	// Detail is what the server says, or the name of the status.
	Detail string
	// DecisionID finds the decision on the request; "" if there is none.
	DecisionID string
}

// Error says what the server said, and under which id to ask why.
func (e *Error) Error() string {
	text := fmt.Sprintf("%s (%d)", e.Detail, e.Status)
	if e.Status == http.StatusForbidden && e.DecisionID != "" {
		text += ", decision " + e.DecisionID
	}
	return text
}

// ParseURL checks the address of a server: http or https, a host, and nothing
// behind the path. Its errors do not repeat the address, which may hold a
// password by mistake.
func ParseURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", errors.New("want http://HOST:PORT or https://HOST")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("want an address without user, query and fragment")
	}
	return strings.TrimSuffix(u.String(), "/"), nil
}

// New returns a client of the server at an address. The key is sent in a header
// and appears in no error.
func New(address, key string) (*Client, error) {
	base, err := ParseURL(address)
	if err != nil {
		return nil, err
	}
	return &Client{base: base, key: key, http: &http.Client{
		Timeout: timeout,
		// A redirect would take the key to wherever it leads.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// DecisionFilter selects decisions; zero fields select everything.
type DecisionFilter struct {
	Tenant, Key, Effect, Reason, Before string
	Since, Until                        time.Time
	Limit                               int // 0: as the server sees fit
}

func (f *DecisionFilter) query() url.Values {
	q := url.Values{}
	for name, value := range map[string]string{
		"tenant": f.Tenant, "key": f.Key, "effect": f.Effect, "reason": f.Reason, "before": f.Before,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	if f.Limit > 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q
}

// Decisions lists decisions, newest first.
func (c *Client) Decisions(ctx context.Context, f DecisionFilter) (list api.DecisionList, err error) {
	err = c.get(ctx, "/v1/decisions", f.query(), &list)
	return list, err
}

// Decision returns one decision with its why.
func (c *Client) Decision(ctx context.Context, id string) (decision api.Decision, err error) {
	err = c.get(ctx, "/v1/decisions/"+url.PathEscape(id), nil, &decision)
	return decision, err
}

// get asks for a JSON document.
func (c *Client) get(ctx context.Context, path string, query url.Values, to any) error {
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	request.Header["X-API-Key"] = []string{c.key}
	request.Header.Set("Accept", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return &Error{
			Status: response.StatusCode, Detail: detail(response.StatusCode, body), DecisionID: response.Header.Get("X-Decision-Id"),
		}
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// detail finds the sentence in an error body.
func detail(status int, body []byte) string {
	var said struct {
		Detail  json.RawMessage `json:"detail"`
		Message string          `json:"message"`
	}
	if json.Unmarshal(body, &said) == nil {
		var text string
		switch {
		case json.Unmarshal(said.Detail, &text) == nil && text != "":
			return text
		case said.Message != "":
			return said.Message
		case len(said.Detail) > 0 && len(said.Detail) < maxErrorLen:
			return string(said.Detail)
		}
	}
	if name := http.StatusText(status); name != "" {
		return name
	}
	return "unknown status"
}
