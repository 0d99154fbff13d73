package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
)

// rig is an engine over a directory and a ledger in memory.
type rig struct {
	*engine.Engine
	directory *directory
	ledger    quota.Ledger
	log       *log
}

func newRig(t testing.TB, policy engine.Policy, ledger quota.Ledger) *rig {
	t.Helper()
	if ledger == nil {
		memory, err := quota.NewMemory(quota.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ledger = memory
	}
	r := &rig{directory: newDirectory(), ledger: ledger, log: new(log)}
	var err error
	r.Engine, err = engine.New(engine.Config{
		Keys: r.directory, Resources: r.directory, Policy: policy, Ledger: ledger,
		Recorders: []engine.Recorder{r.log}, NewID: engine.NewDecisionID,
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ask is a request with a credential, one second after the start.
func ask(credential engine.Credential) *engine.Request {
	return &engine.Request{ID: "req", At: start.Add(time.Second), Credential: credential, Credentials: 1, Method: "GET", Path: "/v1/keys", Route: "/v1/keys"}
}

func TestDecideIdentifies(t *testing.T) {
	r := newRig(t, policyFunc(isolation), nil)
	good := r.directory.add(t, "acme", nil)
	disabled := r.directory.add(t, "acme", func(i *engine.Identity) { i.Key.Active = false })
	expired := r.directory.add(t, "acme", func(i *engine.Identity) { i.Key.ExpiresAt = start.Add(time.Second) })
	lasting := r.directory.add(t, "acme", func(i *engine.Identity) { i.Key.ExpiresAt = start.Add(time.Second + 1) })
	rotated := r.directory.add(t, "acme", func(i *engine.Identity) { i.NotAfter = start })
	for _, tc := range []struct {
		name       string
		credential engine.Credential
		times      int
		want       string
	}{
		{"good", good, 1, engine.ReasonAllowed},
		{"expires in a nanosecond", lasting, 1, engine.ReasonAllowed},
		{"absent", "", 0, engine.ReasonKeyAbsent},
		{"empty", "", 1, engine.ReasonKeyAbsent},
		{"repeated", good, 2, engine.ReasonKeyRepeated},
		{"malformed", "hunter2", 1, engine.ReasonKeyMalformed},
		{"upper case", engine.Credential(strings.ToUpper(string(good))), 1, engine.ReasonKeyMalformed},
		{"long", engine.Credential(strings.Repeat("x", 513)), 1, engine.ReasonKeyMalformed},
		{"good with a long tail", good + engine.Credential(strings.Repeat("0", 512)), 1, engine.ReasonKeyMalformed},
		{"unknown", engine.Credential("twyn_live_" + strings.Repeat("f", 64)), 1, engine.ReasonKeyUnknown},
		{"other environment", engine.Credential(strings.Replace(string(good), "live", "test", 1)), 1, engine.ReasonKeyUnknown},
		{"disabled", disabled, 1, engine.ReasonKeyDisabled},
		{"expired", expired, 1, engine.ReasonKeyExpired},
		{"rotated away", rotated, 1, engine.ReasonKeyExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			request := ask(tc.credential)
			request.Credentials = tc.times
			d, err := r.Decide(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			if d.Reason().Code != tc.want {
				t.Fatalf("reason %q, want %q", d.Reason().Code, tc.want)
			}
			if denied := tc.want != engine.ReasonAllowed; denied {
				if d.Effect != engine.Unauthenticated || d.Principal != nil || d.Limits != nil {
					t.Errorf("a stranger learns of a key: %+v", d)
				}
				if d.Reason().Message != "Invalid or missing API key" {
					t.Errorf("message %q tells causes apart", d.Reason().Message)
				}
			} else if !d.Allowed() || d.Principal.Tenant.ID != "acme" {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestDecideDenies(t *testing.T) {
	limits := []engine.PolicyLimit{{Limit: quota.Limit{Name: "plan", Limit: 7, Window: time.Minute, Algorithm: quota.FixedWindow}, Scope: engine.PerTenant}}
	says := func(j engine.Judgement, err error) engine.Policy {
		return policyFunc(func(context.Context, engine.Question) (engine.Judgement, error) { return j, err })
	}
	for _, tc := range []struct {
		name   string
		policy engine.Policy
		key    func(*engine.Identity)
		want   engine.Reason
		limit  string
	}{
		{"by rule", says(engine.Judgement{Reasons: []engine.Reason{{Code: "frozen", Message: "Frozen."}}, Limits: limits}, nil), nil, engine.Reason{Code: "frozen", Message: "Frozen."}, "plan"},
		{"without a reason", says(engine.Judgement{}, nil), nil, engine.Reason{Code: "denied", Message: "Access denied"}, "key"},
		{"by an error", says(engine.Judgement{Allow: true}, errors.New("boom")), nil, engine.Reason{Code: "policy_error", Message: "Access denied: the policy could not be evaluated"}, "key"},
		{"by the clock", says(engine.Judgement{Allow: true}, fmt.Errorf("evaluating: %w", engine.ErrPolicyTimeout)), nil, engine.Reason{Code: "policy_timeout", Message: "Access denied: the policy took too long"}, "key"},
		{"a disabled tenant", says(engine.Judgement{Allow: true}, nil), func(i *engine.Identity) { i.Tenant.Active = false }, engine.Reason{Code: "tenant_disabled", Message: "Access denied: tenant is disabled"}, "key"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, tc.policy, nil)
			d, err := r.Decide(t.Context(), ask(r.directory.add(t, "acme", tc.key)))
			if err != nil {
				t.Fatal(err)
			}
			if d.Effect != engine.Deny || d.Reason() != tc.want {
				t.Errorf("got %s %+v", d.Effect, d.Reasons)
			}
			if len(d.Limits) != 1 || d.Limits[0].Name != tc.limit || d.Limits[0].Remaining != d.Limits[0].Limit {
				t.Errorf("a refused request shows %+v, want all of limit %q", d.Limits, tc.limit)
			}
		})
	}
}

func TestDecideResources(t *testing.T) {
	r := newRig(t, policyFunc(isolation), nil)
	credential := r.directory.add(t, "acme", nil)
	own, foreign := engine.Target{Type: "key", ID: "own"}, engine.Target{Type: "key", ID: "foreign"}
	r.directory.resources[own] = engine.Resource{Type: "key", ID: "own", TenantID: "acme"}
	r.directory.resources[foreign] = engine.Resource{Type: "key", ID: "foreign", TenantID: "other"}
	for target, want := range map[engine.Target]engine.Effect{own: engine.Allow, foreign: engine.Deny, {Type: "key", ID: "none"}: engine.Allow, {Type: "key"}: engine.Allow} {
		request := ask(credential)
		request.Target = target
		d, err := r.Decide(t.Context(), request)
		if err != nil || d.Effect != want {
			t.Errorf("%+v: %s, %v; want %s", target, d.Effect, err, want)
		}
	}
}

// TestDecideUnknown: where the answer cannot be known, there is no decision.
func TestDecideUnknown(t *testing.T) {
	for _, tc := range []struct {
		name   string
		ledger quota.Ledger
		err    error
	}{
		{"directory", nil, fmt.Errorf("connecting: %w", engine.ErrUnavailable)},
		{"ledger", brokenLedger{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, policyFunc(isolation), tc.ledger)
			credential := r.directory.add(t, "acme", nil)
			r.directory.err = tc.err
			d, err := r.Decide(t.Context(), ask(credential))
			if !errors.Is(err, engine.ErrUnavailable) || d.Allowed() || d.Effect != "" {
				t.Errorf("got %+v, %v", d, err)
			}
			if len(r.log.decisions) != 0 {
				t.Error("what was not decided was recorded")
			}
		})
	}
}

func TestDecideThrottles(t *testing.T) {
	r := newRig(t, policyFunc(isolation), nil)
	credential := r.directory.add(t, "acme", func(i *engine.Identity) { i.Key.RateLimit = 5 })
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			d, err := r.Decide(context.Background(), ask(credential))
			switch {
			case err != nil:
				t.Error(err)
			case d.Allowed():
				passed.Add(1)
			case d.Effect != engine.Throttle || d.Reason().Code != engine.ReasonRateLimited || d.RetryAfter() <= 0 || d.RetryAfter() > time.Hour:
				t.Errorf("got %+v", d)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 5 {
		t.Errorf("%d of a limit of 5 passed", passed.Load())
	}
	later := ask(credential)
	later.At = start.Add(time.Hour + time.Second)
	if d, err := r.Decide(t.Context(), later); err != nil || !d.Allowed() {
		t.Errorf("the next window: %+v, %v", d, err)
	}
}

// TestDecideSeveralLimits: who is refused by one limit uses nothing of another.
func TestDecideSeveralLimits(t *testing.T) {
	limit := func(name string, n int64, scope engine.LimitScope) engine.PolicyLimit {
		return engine.PolicyLimit{Limit: quota.Limit{Name: name, Limit: n, Window: time.Hour, Algorithm: quota.FixedWindow}, Scope: scope}
	}
	r := newRig(t, policyFunc(func(context.Context, engine.Question) (engine.Judgement, error) {
		return engine.Judgement{Allow: true, Limits: []engine.PolicyLimit{limit("own", 2, engine.PerKey), limit("shared", 3, engine.PerTenant)}}, nil
	}), nil)
	first, second := r.directory.add(t, "acme", nil), r.directory.add(t, "acme", nil)
	var got []string
	for _, credential := range []engine.Credential{first, first, first, second, second} {
		d, err := r.Decide(t.Context(), ask(credential))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %d %d", d.Effect, d.Limits[0].Remaining, d.Limits[1].Remaining))
	}
	want := []string{"allow 1 2", "allow 0 1", "throttle 0 1", "allow 1 0", "throttle 1 0"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestDecideRecords(t *testing.T) {
	r := newRig(t, policyFunc(isolation), nil)
	credential := r.directory.add(t, "acme", nil)
	for _, c := range []engine.Credential{credential, "hunter2"} {
		d, err := r.Decide(t.Context(), ask(c))
		if err != nil {
			t.Fatal(err)
		}
		if last := r.log.decisions[len(r.log.decisions)-1]; last.ID != d.ID || last.Effect != d.Effect {
			t.Errorf("recorded %+v, decided %+v", last, d)
		}
	}
}

// TestSecretsPrintRedacted: however a request is printed, its credential and
// the digest of it are not.
func TestSecretsPrintRedacted(t *testing.T) {
	credential := engine.Credential("twyn_live_" + strings.Repeat("5ec2e7", 10) + "5ec2")
	digest := credential.Digest()
	identity := engine.Identity{Digest: digest}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, value := range []any{ask(credential), *ask(credential), credential, &credential, digest, identity, &identity} {
			printed := fmt.Sprintf(format, value)
			if strings.Contains(printed, "5ec2e7") || strings.Contains(printed, fmt.Sprintf("%x", [32]byte(digest))) || strings.Contains(printed, fmt.Sprint([32]byte(digest))) {
				t.Errorf("%s of %T shows the secret", format, value)
			}
		}
	}
}

func TestTightest(t *testing.T) {
	verdict := func(name string, admitted bool, limit, remaining int64, wait time.Duration) quota.Verdict {
		return quota.Verdict{Name: name, Admitted: admitted, Limit: limit, Remaining: remaining, RetryAfter: wait}
	}
	for _, tc := range []struct {
		want     string
		verdicts []quota.Verdict
	}{
		{"smaller share", []quota.Verdict{verdict("larger share", true, 10, 5, 0), verdict("smaller share", true, 1000, 400, 0)}},
		{"refusing", []quota.Verdict{verdict("admitting", true, 10, 0, 0), verdict("refusing", false, 10, 3, time.Second)}},
		{"longest wait", []quota.Verdict{verdict("short", false, 10, 0, time.Second), verdict("longest wait", false, 10, 0, time.Minute)}},
	} {
		d := engine.Decision{Effect: engine.Throttle, Limits: tc.verdicts}
		if got := d.Tightest().Name; got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
	if (&engine.Decision{}).Tightest() != nil {
		t.Error("a decision without limits has a tightest one")
	}
}

func TestScopes(t *testing.T) {
	for _, tc := range []struct {
		have engine.Scopes
		want string
		ok   bool
	}{
		{engine.Scopes{"*"}, "keys:read", true},
		{engine.Scopes{"*"}, "tenants:read", false},
		{engine.Scopes{"*"}, "*", true},
		{engine.Scopes{"keys:*"}, "keys:write", true},
		{engine.Scopes{"keys:*"}, "*", false},
		{engine.Scopes{"keys:read"}, "keys:*", false},
		{engine.Scopes{"keys:read"}, "keys:write", false},
		{engine.Scopes{"tenants:*"}, "tenants:write", true},
		{nil, "keys:read", false},
	} {
		if got := tc.have.Covers(tc.want); got != tc.ok {
			t.Errorf("%v covers %q: %t", tc.have, tc.want, got)
		}
	}
	if lacking, ok := (engine.Scopes{"keys:read"}).CoversAll(engine.Scopes{"keys:read", "keys:write"}); ok || lacking != "keys:write" {
		t.Errorf("got %q, %t", lacking, ok)
	}
}

func FuzzParseCredential(f *testing.F) {
	for _, seed := range []string{"", "twyn_", "twyn_live_", "twyn_live_" + strings.Repeat("0", 64), "twyn_test_" + strings.Repeat("f", 64), "twyn_prod_" + strings.Repeat("0", 64), "twyn_live_" + strings.Repeat("G", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		env, ok := engine.ParseCredential(engine.Credential(s))
		if !ok {
			return
		}
		if len(s) != len("twyn_live_")+64 || !env.Valid() || !strings.HasPrefix(s, "twyn_"+string(env)+"_") || s != strings.ToLower(s) {
			t.Errorf("%q was accepted as a key of %q", s, env)
		}
	})
}

// BenchmarkDecide is a cached key and one limit under a policy that costs
// nothing: what the engine itself adds.
func BenchmarkDecide(b *testing.B) {
	r := newRig(b, policyFunc(isolation), nil)
	credential := r.directory.add(b, "acme", func(i *engine.Identity) { i.Key.RateLimit = engine.MaxRateLimit })
	cache := newCache(b, r.directory, 1000)
	e, err := engine.New(engine.Config{Keys: cache, Resources: r.directory, Policy: policyFunc(isolation), Ledger: r.ledger, NewID: engine.NewDecisionID})
	if err != nil {
		b.Fatal(err)
	}
	request := ask(credential)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Decide(b.Context(), request); err != nil {
			b.Fatal(err)
		}
	}
}
