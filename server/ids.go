package server

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"time"
)

// newUUID makes a UUID of version 7 (RFC 9562): the millisecond, then 74
// random bits, so that ids sort by time.
func newUUID(at time.Time, random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[6:]); err != nil {
		return "", fmt.Errorf("making a UUID: %w", err)
	}
	milli := at.UnixMilli()
	for i := range 6 {
		b[i] = byte(milli >> (40 - 8*i))
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte
	hex.Encode(text[0:8], b[0:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:36], b[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:]), nil
}

// parseUUID reads the usual form of a UUID and returns it in lower case.
func parseUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	for i := range len(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (s[i] == '-') || (!dash && unhex(s[i]) < 0) {
			return "", false
		}
	}
	return strings.ToLower(s), true
}

// newRequestID makes the id of a request whose client gave none: 96 random
// bits in hexadecimal.
func newRequestID(random io.Reader) (string, error) {
	var b [12]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("making a request id: %w", err)
	}
	var text [24]byte
	hex.Encode(text[:], b[:])
	return string(text[:]), nil
}

// validRequestID reports whether a client's X-Request-Id can be taken over:
// 1 to 128 of [A-Za-z0-9._-].
func validRequestID(id []byte) bool {
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	for _, c := range id {
		if !isDigit(c) && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}
