package engine

import (
	"math/rand/v2"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// Effect is what a decision does to a request.
type Effect string

// The effects. Only Allow lets a request pass.
const (
	Allow           Effect = "allow"
	Unauthenticated Effect = "unauthenticated" // 401
	Deny            Effect = "deny"            // 403
	Throttle        Effect = "throttle"        // 429
)

// Reason says why: a stable code for programs and a sentence for people.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// The reason codes the engine gives itself; policies add their own. They are
// published in docs/order-of-checks.md and never change their meaning.
const (
	ReasonAllowed        = "allowed"
	ReasonKeyAbsent      = "key_absent"
	ReasonKeyRepeated    = "key_repeated"
	ReasonKeyMalformed   = "key_malformed"
	ReasonKeyUnknown     = "key_unknown"
	ReasonKeyDisabled    = "key_disabled"
	ReasonKeyExpired     = "key_expired"
	ReasonTenantDisabled = "tenant_disabled"
	ReasonDenied         = "denied" // a policy that denied without a reason
	ReasonPolicyError    = "policy_error"
	ReasonPolicyTimeout  = "policy_timeout"
	ReasonRateLimited    = "rate_limited"
)

// Decision is the answer to one Request.
type Decision struct {
	// ID finds the decision in the log (X-Decision-Id).
	ID string
	// At is the request's At.
	At     time.Time
	Effect Effect
	// Reasons has at least one entry, the deciding one first.
	Reasons []Reason
	// Principal is nil if the request was not authenticated.
	Principal *Principal
	// Resource is the target if it exists, else nil.
	Resource *Resource
	// Limits has a verdict for each limit that applies, after this decision.
	// It is empty only if the request was not authenticated, or if the
	// limits' state could not be read for a request already denied.
	Limits []quota.Verdict
	// Revision names the policy that judged; "" if none was asked.
	Revision string
}

// Allowed reports whether the request may pass.
func (d *Decision) Allowed() bool { return d.Effect == Allow }

// Reason returns the deciding reason.
func (d *Decision) Reason() Reason {
	if len(d.Reasons) == 0 {
		return Reason{}
	}
	return d.Reasons[0]
}

// Tightest returns the limit that a client should look at: a refusing one
// with the longest wait before any admitting one, else the one with the
// smallest share left, ties going to the later reset. It returns nil if there
// are no limits.
func (d *Decision) Tightest() *quota.Verdict {
	var tightest *quota.Verdict
	for i := range d.Limits {
		if v := &d.Limits[i]; tightest == nil || tighter(v, tightest) {
			tightest = v
		}
	}
	return tightest
}

// RetryAfter is how long a throttled request has to wait: the longest wait of
// the limits that refused. It is 0 for every other effect.
func (d *Decision) RetryAfter() time.Duration {
	if t := d.Tightest(); t != nil && d.Effect == Throttle {
		return t.RetryAfter
	}
	return 0
}

// tighter orders verdicts by how much a client should care.
func tighter(a, b *quota.Verdict) bool {
	if a.Admitted != b.Admitted {
		return !a.Admitted
	}
	if !a.Admitted && a.RetryAfter != b.RetryAfter {
		return a.RetryAfter > b.RetryAfter
	}
	// a.Remaining/a.Limit < b.Remaining/b.Limit without dividing; the
	// products stay below 10^18.
	left, right := a.Remaining*b.Limit, b.Remaining*a.Limit
	if left != right {
		return left < right
	}
	return a.Reset.After(b.Reset)
}

// NewDecisionID makes the id of a decision: "dec_", the milliseconds since
// 1970 in 12 hexadecimal digits, so that ids sort by time and lead to the part
// of the log that holds them, and 64 random bits in 16 more.
func NewDecisionID(at time.Time) string {
	const digits = "0123456789abcdef"
	var b [4 + 12 + 16]byte
	copy(b[:], "dec_")
	ms, random := uint64(at.UnixMilli()), rand.Uint64() //nolint:gosec // Names a record; guards nothing.
	for i := 15; i >= 4; i-- {
		b[i] = digits[ms&15]
		ms >>= 4
	}
	for i := 31; i >= 16; i-- {
		b[i] = digits[random&15]
		random >>= 4
	}
	return string(b[:])
}
