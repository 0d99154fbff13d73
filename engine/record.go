package engine

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// DecisionRecord is a decision as the decision log keeps it: what was asked,
// what was decided and why. It holds no credential and no digest.
type DecisionRecord struct {
	ID string
	At time.Time
	// TenantID is whose log the record is in: the tenant of the key, or the
	// platform's if nobody was authenticated.
	TenantID string
	// KeyID and Environment are those of the key; "" if nobody was
	// authenticated.
	KeyID       string
	Environment Environment
	RequestID   string
	Method      string
	Route       string // "" if no route matched
	Path        string
	// ResourceType is the type the route speaks of, ResourceID the id that
	// the request named, and ResourceOwner the tenant of the resource, ""
	// if there is none.
	ResourceType  string
	ResourceID    string
	ResourceOwner string
	Effect        Effect
	Reasons       []Reason
	// Limits are the verdicts of the limits, with what was left.
	Limits   []quota.Verdict
	Revision string // "" if no policy was asked
	// PluginDigest names the plugin that took part; "" if none did.
	PluginDigest string
	// Duration is from the request's arrival to its decision.
	Duration time.Duration
	// Input is the policy's input as JSON, after masking; nil if Omitted
	// says why there is none.
	Input json.RawMessage
	// Masked are the places in the record that a mask took away or changed,
	// as JSON pointers.
	Masked []string
	// Omitted says why there is no input: one of the Omitted codes, or "".
	Omitted string
}

// ErrRecordRefused means that a record can never be stored.
var ErrRecordRefused = errors.New("decision record refused")

// Why a record has no input.
const (
	OmittedMaskFailed = "mask_failed" // the masks could not be applied
	OmittedTooLarge   = "too_large"
)

// Authenticated reports whether the request came from a known key.
func (r *DecisionRecord) Authenticated() bool { return r.KeyID != "" }

// DecisionFilter selects records of a tenant's log; zero fields select
// everything. Records come newest first.
type DecisionFilter struct {
	// Environments are those of the keys that may be seen. Records of nobody
	// in particular are seen with the live ones.
	Environments []Environment
	KeyID        string
	Effect       Effect
	Reason       string // the code of any of the reasons
	Since        time.Time
	Until        time.Time // exclusive
	// Before is the id of a decision: only older ones are wanted.
	Before string
	Limit  int
}

// decisionIDLen is the length of an id that NewDecisionID makes.
const decisionIDLen = 4 + 12 + 16

// ParseDecisionID returns the time that the id of a decision holds, in whole
// milliseconds, and whether it is well formed.
func ParseDecisionID(id string) (at time.Time, ok bool) {
	if len(id) != decisionIDLen || id[:4] != "dec_" {
		return time.Time{}, false
	}
	var ms int64
	for i := 4; i < len(id); i++ {
		c := id[i]
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return time.Time{}, false
		}
		if i < 16 {
			ms = ms<<4 | int64(c)
		}
	}
	return time.UnixMilli(ms).UTC(), true
}

// DecisionIDsFrom returns the text that sorts before every id of a decision
// taken at or after a time, in whole milliseconds, and after all others.
func DecisionIDsFrom(at time.Time) string {
	const digits = "0123456789abcdef"
	b := [16]byte{'d', 'e', 'c', '_'}
	ms := uint64(max(at.UnixMilli(), 0))
	for i := 15; i >= 4; i-- {
		b[i] = digits[ms&15]
		ms >>= 4
	}
	return string(b[:])
}
