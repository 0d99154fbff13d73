package engine

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"
)

// Bounds of an API key's settings, from the HTTP contract.
const (
	DefaultRateLimit   = 1000
	MaxRateLimit       = 1_000_000
	MaxCredentialBytes = 512
	secretHexLen       = 64
)

// Key is an API key as the engine sees it: everything but the secret.
// A Key that came out of a port is shared between requests; do not change it.
type Key struct {
	ID          string
	TenantID    string
	Name        string
	Environment Environment
	Active      bool
	RateLimit   int64 // requests per hour
	Scopes      Scopes
	Metadata    map[string]any
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: never
	LastUsedAt  time.Time // zero: never
	UsageCount  int64
}

// Principal is who a request comes from: the authenticated key and its tenant.
type Principal struct {
	Key    *Key
	Tenant *Tenant
}

// Digest is the SHA-256 of an API key's secret. Only digests are stored. Like
// the secret it must not reach a log, an answer or a record, so it prints as
// a redaction.
type Digest [sha256.Size]byte

// Credential is an API key as a client presented it. It prints, logs and
// marshals as a redaction, so that no formatting of a request can leak it.
type Credential string

const redacted = "[redacted]"

// Digest returns the SHA-256 of the credential.
func (c Credential) Digest() Digest { return sha256.Sum256([]byte(c)) }

// String returns a redaction.
func (Credential) String() string { return redacted }

// GoString returns a redaction.
func (Credential) GoString() string { return redacted }

// Format writes a redaction for every verb.
func (Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a redaction.
func (Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a redaction.
func (Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Format writes a redaction for every verb.
func (Digest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a redaction.
func (Digest) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a redaction.
func (Digest) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// NewCredential makes the secret of an API key in the default format
// twyn_{live|test}_{64 lower-case hex}: 256 bits from random, which outside
// tests is crypto/rand.Reader.
func NewCredential(random io.Reader, env Environment) (Credential, error) {
	var b [secretHexLen / 2]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("making an API key: %w", err)
	}
	return Credential("twyn_" + string(env) + "_" + hex.EncodeToString(b[:])), nil
}

// NewKeyID makes the public name of an API key: "key_" and 24 lower-case
// letters and digits, 120 bits from crypto/rand.
func NewKeyID() string { return "key_" + strings.ToLower(rand.Text()[:24]) }

// NewTenantID makes the name of a tenant: "ten_" and 24 lower-case letters and
// digits, 120 bits from crypto/rand.
func NewTenantID() string { return "ten_" + strings.ToLower(rand.Text()[:24]) }

// ParseCredential reports the environment that a credential in the default
// format names, and whether it is in that format at all.
func ParseCredential(c Credential) (Environment, bool) {
	rest, ok := strings.CutPrefix(string(c), "twyn_")
	if !ok {
		return "", false
	}
	name, secret, ok := strings.Cut(rest, "_")
	env := Environment(name)
	if !ok || !env.Valid() || len(secret) != secretHexLen {
		return "", false
	}
	for i := range len(secret) {
		if c := secret[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", false
		}
	}
	return env, true
}
