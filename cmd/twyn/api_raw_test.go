package main_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends the bytes of a request as they are and reads one answer. A
// connection that is closed without an answer gives status 0.
func (s *testServer) raw(t testing.TB, request string) *answer {
	t.Helper()
	secrets.addAll([]byte(request))
	connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(s.BaseURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	if err := connection.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		t.Fatal(err)
	}
	// A server that refuses early may close before it has read everything.
	_, _ = io.WriteString(connection, request)
	method, _, _ := strings.Cut(request, " ")
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err == nil && response.StatusCode == http.StatusContinue {
		response, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	if err != nil {
		return &answer{t: t}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	secrets.addAll(body)
	return &answer{t: t, status: response.StatusCode, header: response.Header, body: body}
}

// copyTo reads a body.
func copyTo(w io.Writer, response *http.Response) (int64, error) { return io.Copy(w, response.Body) }
