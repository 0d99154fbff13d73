package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/twyn/twyn/server/api"
)

// PolicyRefusedError is the answer to policies that cannot go live: everything
// that is wrong with them.
type PolicyRefusedError struct {
	Problems []api.PolicyError
}

// Error names each problem on a line of its own.
func (e *PolicyRefusedError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		if lines[i] = p.Msg; p.File != "" {
			lines[i] = fmt.Sprintf("%s:%d:%d: %s", p.File, p.Row, p.Col, p.Msg)
		}
	}
	return "policies refused: " + strings.Join(lines, "\n")
}

// PushPolicy hands in the texts of files by path.
func (c *Client) PushPolicy(ctx context.Context, files map[string]string, message string) (revision api.PolicyRevision, err error) {
	body, err := json.Marshal(map[string]any{"files": files, "message": message})
	if err != nil {
		return revision, fmt.Errorf("writing policies: %w", err)
	}
	err = c.send(ctx, http.MethodPost, "/v1/policies", "application/json", body, &revision)
	return revision, err
}

// PushBundle hands in an OPA bundle.
func (c *Client) PushBundle(ctx context.Context, bundle []byte, message string) (revision api.PolicyRevision, err error) {
	path := "/v1/policies"
	if message != "" {
		path += "?" + url.Values{"message": {message}}.Encode()
	}
	err = c.send(ctx, http.MethodPost, path, "application/gzip", bundle, &revision)
	return revision, err
}

// ActivatePolicy makes a revision live.
func (c *Client) ActivatePolicy(ctx context.Context, revision string) (live api.LivePolicy, err error) {
	err = c.send(ctx, http.MethodPost, "/v1/policies/"+url.PathEscape(revision)+"/activate", "", nil, &live)
	return live, err
}

// RollbackPolicy makes the previous revision live again, in place of the given
// one, or of whatever is live for "".
func (c *Client) RollbackPolicy(ctx context.Context, revision string) (live api.LivePolicy, err error) {
	path := "/v1/policies/rollback"
	if revision != "" {
		path = "/v1/policies/" + url.PathEscape(revision) + "/rollback"
	}
	err = c.send(ctx, http.MethodPost, path, "", nil, &live)
	return live, err
}

// EvaluatePolicy asks a revision about an input.
func (c *Client) EvaluatePolicy(ctx context.Context, revision string, input json.RawMessage, explain bool) (e api.PolicyEvaluation, err error) {
	body, err := json.Marshal(map[string]any{"input": input, "explain": explain})
	if err != nil {
		return e, fmt.Errorf("writing an input: %w", err)
	}
	err = c.send(ctx, http.MethodPost, "/v1/policies/"+url.PathEscape(revision)+"/evaluate", "application/json", body, &e)
	return e, err
}

// PolicyFiles returns the texts of a revision's files by path.
func (c *Client) PolicyFiles(ctx context.Context, revision string) (map[string]string, error) {
	path := "/v1/policies/" + url.PathEscape(revision)
	var shown api.PolicyRevision
	if err := c.get(ctx, path, nil, &shown); err != nil {
		return nil, err
	}
	files := make(map[string]string, len(shown.Files))
	for _, name := range shown.Files {
		parts := strings.Split(name, "/")
		for i := range parts {
			parts[i] = url.PathEscape(parts[i])
		}
		var file api.PolicyFile
		if err := c.get(ctx, path+"/files/"+strings.Join(parts, "/"), nil, &file); err != nil {
			return nil, err
		}
		files[name] = file.Text
	}
	return files, nil
}

// send asks for something to be done and reads the answer.
func (c *Client) send(ctx context.Context, method, path, contentType string, body []byte, to any) error {
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	request.Header["X-API-Key"] = []string{c.key}
	request.Header.Set("Accept", "application/json")
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("asking the server: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	if response.StatusCode/100 != 2 {
		return refusal(response, answer)
	}
	if err := json.Unmarshal(answer, to); err != nil {
		return fmt.Errorf("reading the server's answer: %w", err)
	}
	return nil
}

// refusal is the error for an answer that is no success.
func refusal(response *http.Response, answer []byte) error {
	if response.StatusCode == http.StatusUnprocessableEntity {
		var refused api.PolicyRefused
		if json.Unmarshal(answer, &refused) == nil && len(refused.Detail) > 0 {
			return &PolicyRefusedError{Problems: refused.Detail}
		}
	}
	return &Error{
		Status: response.StatusCode, Detail: detail(response.StatusCode, answer), DecisionID: response.Header.Get("X-Decision-Id"),
	}
}
