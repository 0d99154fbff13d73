package server

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// This file is about requests that fasthttp gives up on, which never reach the
// edge.

// headReceived looks at a request before its body is read. A client that asks
// whether to send a body that is too large is to hear 413, not "100 Continue".
func headReceived(head *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if head.ContentLength() > hardBodyLimit {
		head.Del(fiber.HeaderExpect)
	}
	return fasthttp.RequestConfig{} // no changes
}

// unreadable answers what fasthttp could not read as a request. The error
// itself may quote the request, so neither client nor log sees it.
func (s *Server) unreadable(fast *fasthttp.RequestCtx, err error) {
	fast.Response.Reset()
	x := s.begin(fast)
	s.metrics.inFlight.Inc()
	defer s.finish(x)
	var timeout interface{ Timeout() bool }
	var head *fasthttp.ErrSmallBuffer
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		discard(fast.Conn())
		s.fail(x, detail(fiber.StatusRequestEntityTooLarge, fmt.Sprintf("Request body is over %d bytes", hardBodyLimit)))
	case errors.As(err, &head):
		s.fail(x, detail(fiber.StatusRequestHeaderFieldsTooLarge, fmt.Sprintf("Request head is over %d bytes", readBufferSize)))
	case errors.As(err, &timeout) && timeout.Timeout():
		s.fail(x, detail(fiber.StatusRequestTimeout, "Request took too long to arrive"))
	default:
		s.fail(x, detail(fiber.StatusBadRequest, "Malformed HTTP request"))
	}
}

// How long a refused body is read, and what pause in it is its end.
const (
	discardTime  = 2 * time.Second
	discardPause = 100 * time.Millisecond
)

// discard reads what the client is still sending. To close a connection with
// unread bytes resets it, and the client would never see the answer.
func discard(conn net.Conn) {
	buffer := make([]byte, 32<<10)
	now := time.Now()
	for end := now.Add(discardTime); now.Before(end); now = time.Now() {
		if conn.SetReadDeadline(now.Add(discardPause)) != nil {
			return
		}
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}
