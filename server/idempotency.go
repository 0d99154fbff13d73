package server

import (
	"crypto/sha256"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/server/api"
)

// idempotent reads the Idempotency-Key of a request and binds it to the
// request's body and to the answer it is about to get. It returns nil if the
// client gave no key.
func (x *exchange) idempotent(f *form) *engine.Idempotency {
	given := x.fast.Request.Header.PeekAll("Idempotency-Key")
	if len(given) == 0 {
		return nil
	}
	at := idempotencyPlace()
	key := string(given[0])
	switch {
	case len(given) > 1:
		f.fail(at, "value_error", "Value error, header should be given once")
	case key == "":
		f.fail(at, "string_too_short", "String should have at least 1 character")
	case len(key) > api.MaxIdempotencyKeyBytes:
		f.fail(at, "string_too_long", "String should have at most "+count(api.MaxIdempotencyKeyBytes, "character"))
	case !visibleASCII(key):
		f.fail(at, "value_error", "Value error, only visible ASCII characters are permitted")
	}
	return &engine.Idempotency{
		Key: key, Environment: x.principal().Key.Environment, Route: x.route.method + " " + x.route.pattern,
		Fingerprint: sha256.Sum256(x.fast.Request.Body()), CreatedAt: x.request.At, ExpiresAt: x.request.At.Add(day),
	}
}

func idempotencyPlace() *place { return &place{&place{nil, "header"}, "Idempotency-Key"} }

func visibleASCII(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// created answers a POST that made something, once its store has said whether
// the same key came before. The same body gets the earlier answer again,
// another one is a mistake of the client.
func (x *exchange) created(status int, body []byte, idem, earlier *engine.Idempotency) error {
	if earlier == nil {
		x.send(status, body)
		return nil
	}
	if idem == nil || earlier.Fingerprint != idem.Fingerprint {
		f := &form{}
		f.fail(idempotencyPlace(), "value_error", "Value error, key was used with another body")
		return f.err()
	}
	x.header(headerReplayed, "true")
	x.send(earlier.Status, earlier.Body)
	return nil
}
