package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/twyn/twyn/engine/quota"
)

// Config holds what an Engine is made of. All fields but Recorders and Logger
// are required.
type Config struct {
	Keys      Keys
	Resources Resources
	Policy    Policy
	Ledger    quota.Ledger
	// Recorders learn of every decision, in this order.
	Recorders []Recorder
	// NewID makes the id of a decision taken at a time; ids sort by time.
	NewID func(at time.Time) string
	// Logger gets a line for each policy that fails to judge; nil: none.
	Logger *slog.Logger
}

// Engine decides requests. It is safe for concurrent use.
type Engine struct {
	keys      Keys
	resources Resources
	policy    Policy
	ledger    quota.Ledger
	recorders []Recorder
	newID     func(at time.Time) string
	logger    *slog.Logger
}

// New returns an engine made of the parts in cfg.
func New(cfg Config) (*Engine, error) {
	if cfg.Keys == nil || cfg.Resources == nil || cfg.Policy == nil || cfg.Ledger == nil || cfg.NewID == nil {
		return nil, errors.New("engine: Keys, Resources, Policy, Ledger and NewID are required")
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		keys: cfg.Keys, resources: cfg.Resources, policy: cfg.Policy, ledger: cfg.Ledger,
		recorders: cfg.Recorders, newID: cfg.NewID, logger: logger,
	}, nil
}

// Decide takes one request through the order of checks. A denial is a
// Decision with a nil error. An error means that no decision was reached
// (errors.Is ErrUnavailable: a store is away) and is never an allow; nothing
// was consumed and nothing is recorded then.
func (e *Engine) Decide(ctx context.Context, r *Request) (Decision, error) {
	d := Decision{ID: e.newID(r.At), At: r.At}
	for _, step := range [...]func(*Engine, context.Context, *Request, *Decision) error{
		(*Engine).identify,
		(*Engine).checkTenant,
		(*Engine).locate,
		(*Engine).judge,
	} {
		if err := step(e, ctx, r, &d); err != nil {
			return Decision{ID: d.ID, At: d.At}, err
		}
		if d.Effect != "" {
			break
		}
	}
	for _, recorder := range e.recorders {
		recorder.Record(ctx, r, &d)
	}
	return d, nil
}

// identify finds the principal. The work is the same for every credential that
// fails: one digest, one comparison in constant time.
func (e *Engine) identify(ctx context.Context, r *Request, d *Decision) error {
	digest, reason := present(r)
	var identity *Identity
	if reason == "" {
		found, err := e.keys.FindKey(ctx, digest)
		switch {
		case errors.Is(err, ErrNotFound):
			reason = ReasonKeyUnknown
		case err != nil:
			return fmt.Errorf("finding the API key: %w", err)
		default:
			identity = found
		}
	}
	if identity == nil {
		identity = &nobody
	}
	if same := subtle.ConstantTimeCompare(identity.Digest[:], digest[:]) == 1; !same && reason == "" {
		reason = ReasonKeyUnknown
	}
	if reason == "" {
		reason = identity.standing(r.At)
	}
	if reason != "" {
		d.decide(Unauthenticated, Reason{reason, "Invalid or missing API key"})
		return nil
	}
	d.Principal = &identity.Principal
	return nil
}

// nobody stands in for the identity of a credential that has none. It is never
// written to.
var nobody Identity

// present reads the credential of a request: its digest, and why it cannot be
// a key if it cannot.
func present(r *Request) (Digest, string) {
	c := r.Credential
	long := len(c) > MaxCredentialBytes
	if long {
		c = c[:MaxCredentialBytes]
	}
	_, wellFormed := ParseCredential(c)
	digest := c.Digest()
	switch {
	case r.Credentials > 1:
		return digest, ReasonKeyRepeated
	case r.Credentials == 0 || c == "":
		return digest, ReasonKeyAbsent
	case long || !wellFormed:
		return digest, ReasonKeyMalformed
	default:
		return digest, ""
	}
}

// standing tells why the identity may not act at a time; "" if it may.
func (i *Identity) standing(at time.Time) string {
	switch {
	case !i.Key.Active:
		return ReasonKeyDisabled
	case ended(i.Key.ExpiresAt, at), ended(i.NotAfter, at):
		return ReasonKeyExpired
	default:
		return ""
	}
}

func ended(end, at time.Time) bool { return !end.IsZero() && !at.Before(end) }

// checkTenant denies whatever a disabled tenant asks, before and regardless of
// the policy.
func (e *Engine) checkTenant(ctx context.Context, r *Request, d *Decision) error {
	if d.Principal.Tenant.Active {
		return nil
	}
	d.decide(Deny, Reason{ReasonTenantDisabled, "Access denied: tenant is disabled"})
	e.peek(ctx, r, d, nil)
	return nil
}

// locate looks up the resource that the route names. One that does not exist
// is left to the route's handler.
func (e *Engine) locate(ctx context.Context, r *Request, d *Decision) error {
	if r.Target.ID == "" {
		return nil
	}
	resource, err := e.resources.FindResource(ctx, r.Target)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("finding %s: %w", r.Target.Type, err)
	}
	d.Resource = &resource
	return nil
}

// judge asks the policy and, if it allows, the limits.
func (e *Engine) judge(ctx context.Context, r *Request, d *Decision) error {
	judgement, err := e.policy.Judge(ctx, Question{Request: r, Principal: d.Principal, Resource: d.Resource})
	d.Revision = judgement.Revision
	if err != nil {
		e.logger.LogAttrs(ctx, slog.LevelError, "policy failed, request denied",
			slog.String("request_id", r.ID), slog.String("decision_id", d.ID), slog.String("revision", d.Revision),
			slog.String("tenant_id", d.Principal.Tenant.ID), slog.String("route", r.Route), slog.Any("error", err))
		d.decide(Deny, policyFailure(err))
		e.peek(ctx, r, d, nil)
		return nil
	}
	if !judgement.Allow {
		d.decide(Deny, judgement.Reasons...)
		e.peek(ctx, r, d, judgement.Limits)
		return nil
	}
	return e.reserve(ctx, r, d, &judgement)
}

// policyFailure is the reason of a request whose policy failed.
func policyFailure(err error) Reason {
	if errors.Is(err, ErrPolicyTimeout) {
		return Reason{ReasonPolicyTimeout, "Access denied: the policy took too long"}
	}
	return Reason{ReasonPolicyError, "Access denied: the policy could not be evaluated"}
}

// reserve takes the request's cost from every limit or from none.
func (e *Engine) reserve(ctx context.Context, r *Request, d *Decision, judgement *Judgement) error {
	claims := claim(r, d.Principal, judgement.Limits)
	d.Limits = make([]quota.Verdict, len(claims))
	admitted, err := e.ledger.Reserve(ctx, r.At, claims, d.Limits)
	switch {
	case errors.Is(err, quota.ErrUnavailable):
		return fmt.Errorf("reserving from the limits: %w: %w", ErrUnavailable, err)
	case err != nil:
		return fmt.Errorf("reserving from the limits: %w", err)
	case !admitted:
		t := d.Tightest()
		d.decide(Throttle, Reason{ReasonRateLimited, fmt.Sprintf("limit %q of %d per %s is used up", t.Name, t.Limit, t.Window)})
	default:
		d.Effect = Allow
		d.Reasons = allowed
	}
	return nil
}

// allowed is the reason of every allow. It is never written to.
var allowed = []Reason{{ReasonAllowed, "allowed"}}

// peek shows a denied client where its limits stand. What cannot be read is
// left out: the request is denied either way.
func (e *Engine) peek(ctx context.Context, r *Request, d *Decision, limits []PolicyLimit) {
	claims := claim(r, d.Principal, limits)
	verdicts := make([]quota.Verdict, len(claims))
	if err := e.ledger.Peek(ctx, r.At, claims, verdicts); err == nil {
		d.Limits = verdicts
	}
}

// decide sets the effect and why; a decision is never without a reason.
func (d *Decision) decide(effect Effect, reasons ...Reason) {
	d.Effect = effect
	d.Reasons = reasons
	if len(reasons) == 0 {
		d.Reasons = []Reason{{ReasonDenied, "Access denied"}}
	}
}

// claim turns the limits of a policy into claims on counters. Without any, the
// key's own rate limit applies: no request is ever without a limit.
func claim(r *Request, p *Principal, limits []PolicyLimit) []quota.Claim {
	if len(limits) == 0 {
		limits = []PolicyLimit{{Scope: PerKey, Limit: quota.Limit{
			Name: "key", Limit: p.Key.RateLimit, Window: time.Hour, Algorithm: quota.FixedWindow,
		}}}
	}
	claims := make([]quota.Claim, len(limits))
	for i := range limits {
		l := &limits[i]
		claims[i] = quota.Claim{
			TenantID: p.Tenant.ID, Subject: l.subject(p), Limit: l.Limit, Cost: max(r.Cost, 1) * max(l.Cost, 1),
		}
	}
	return claims
}

// subject names who counts together under the limit. Key ids, tenant ids and
// environments cannot be mistaken for one another.
func (l *PolicyLimit) subject(p *Principal) string {
	switch l.Scope {
	case PerTenant:
		return p.Tenant.ID
	case PerEnvironment:
		return string(p.Key.Environment)
	default:
		return p.Key.ID
	}
}
