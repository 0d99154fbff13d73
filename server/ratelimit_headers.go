package server

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// rateLimitHeaders tells the client where its limits stand: the tightest in
// X-RateLimit-*, every one in RateLimit and RateLimit-Policy
// (draft-ietf-httpapi-ratelimit-headers).
func (x *exchange) rateLimitHeaders(d *engine.Decision) {
	tightest := d.Tightest()
	if tightest == nil {
		return
	}
	var stack [256]byte // most headers fit, and then nothing is allocated
	b := stack[:0]
	x.headerBytes(headerLimit, strconv.AppendInt(b, tightest.Limit, 10))
	x.headerBytes(headerRemaining, strconv.AppendInt(b, tightest.Remaining, 10))
	x.headerBytes(headerReset, strconv.AppendInt(b, unixCeil(tightest.Reset), 10))

	for i := range d.Limits {
		b = appendItem(b, d.Limits[i].Name, ";r=", d.Limits[i].Remaining, ";t=", seconds(d.Limits[i].Reset.Sub(d.At)))
	}
	x.headerBytes(headerRateLimit, b)
	b = stack[:0]
	for i := range d.Limits {
		b = appendItem(b, d.Limits[i].Name, ";q=", d.Limits[i].Limit, ";w=", seconds(d.Limits[i].Window))
	}
	x.headerBytes(headerRateLimitPolicy, b)
}

// appendItem appends an item of a structured list: a name and two parameters.
func appendItem(b []byte, name, first string, one int64, second string, two int64) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = appendQuoted(b, name)
	b = strconv.AppendInt(append(b, first...), one, 10)
	return strconv.AppendInt(append(b, second...), two, 10)
}

// appendQuoted appends a string of RFC 9651. Characters that such a string, or
// a header, cannot hold become underscores.
func appendQuoted(b []byte, name string) []byte {
	b = append(b, '"')
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r > '~':
			b = append(b, '_')
		default:
			b = append(b, byte(r))
		}
	}
	return append(b, '"')
}

// seconds rounds up, so that a client that waits as told waits long enough.
func seconds(d time.Duration) int64 {
	return max(0, int64((d+time.Second-1)/time.Second))
}

// unixCeil is a moment in Unix seconds, rounded up.
func unixCeil(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// throttled answers a request that a limit refused.
func (x *exchange) throttled(d *engine.Decision) error {
	wait := max(1, seconds(d.RetryAfter()))
	x.header(headerRetryAfter, strconv.FormatInt(wait, 10))
	return x.json(fiber.StatusTooManyRequests, api.RateLimited{
		Error: "RATE_LIMIT_EXCEEDED", Message: "Rate limit exceeded. Try again " + waiting(wait) + ".", RetryAfter: wait,
	})
}

// waiting says when to try again, as people would and never too early. From an
// hour on it names no number; retry_after does.
func waiting(wait int64) string {
	const minute, hour = 60, 3600
	switch {
	case wait >= hour:
		return "later"
	case wait >= minute:
		return "in " + count(int((wait+minute-1)/minute), "minute")
	default:
		return "in " + count(int(wait), "second")
	}
}
