package server

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/gofiber/fiber/v2"
)

// header is the name of a response header as it goes over the wire. fasthttp
// would change its case.
type header string

const (
	headerRequestID          header = "X-Request-Id"
	headerDecisionID         header = "X-Decision-Id"
	headerLimit              header = "X-RateLimit-Limit"
	headerRemaining          header = "X-RateLimit-Remaining"
	headerReset              header = "X-RateLimit-Reset"
	headerRateLimit          header = "RateLimit"
	headerRateLimitPolicy    header = "RateLimit-Policy"
	headerRetryAfter         header = "Retry-After"
	headerAllow              header = "Allow"
	headerAuthenticate       header = "WWW-Authenticate"
	headerReplayed           header = "Idempotency-Replayed"
	headerContentTypeOptions header = "X-Content-Type-Options"
	headerCacheControl       header = "Cache-Control"
	headerSecurityPolicy     header = "Content-Security-Policy"
)

const (
	mediaJSON = "application/json"
	mediaHTML = "text/html; charset=utf-8"
)

// header sets a response header.
func (x *exchange) header(name header, value string) {
	x.fast.Response.Header.SetCanonical([]byte(name), []byte(value))
}

// headerBytes sets a response header to a copy of value.
func (x *exchange) headerBytes(name header, value []byte) {
	x.fast.Response.Header.SetCanonical([]byte(name), value)
}

// send answers with a JSON body, which is not copied.
func (x *exchange) send(status int, body []byte) {
	response := &x.fast.Response
	response.SetStatusCode(status)
	response.Header.SetContentType(mediaJSON)
	response.SetBodyRaw(body)
}

// json answers with v.
func (x *exchange) json(status int, v any) error {
	body, err := encode(v)
	if err != nil {
		return err
	}
	x.send(status, body)
	return nil
}

// noContent answers 204.
func (x *exchange) noContent() error {
	x.fast.Response.SetStatusCode(fiber.StatusNoContent)
	x.fast.Response.Header.SetNoDefaultContentType(true)
	return nil
}

// encode writes an answer as JSON, with <, > and & as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("writing the answer: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
