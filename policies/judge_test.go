package policies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
)

func TestJudgeErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy string
		want   error
		text   string
	}{
		"undefined": {"decision := x if {\n\tx := input.key.metadata.missing\n}\n", policies.ErrUndefined, ""},
		"malformed": {"decision := 1\n", policies.ErrMalformed, "number"},
		"conflict":  {minimalRules + "\ndecision := {} if input.key.id\n", policies.ErrEvaluation, "eval_conflict_error"},
		"built-in":  {"decision := {\"allow\": count(split(input.key.metadata.text, \",\")) > 0, \"reasons\": [], \"limits\": []}\n", policies.ErrEvaluation, "policy.rego:3:"},
		"in a set":  {"decision := {\"allow\": count(deny) == 0, \"reasons\": [], \"limits\": []}\n\ndeny contains 1 if input.request.size / 0 == 1\n", policies.ErrEvaluation, "divide by zero"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := load(t, files{"policy.rego": "package twyn\n\n" + test.policy})
			input := baseInput()
			input.Key.Metadata = map[string]any{"text": 1}
			judgement, err := set.JudgeInput(t.Context(), input)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got error %v, want %v with %q", err, test.want, test.text)
			}
			if judgement.Allow || judgement.Limits != nil || judgement.Revision != set.Revision() {
				t.Errorf("got %+v beside an error", judgement)
			}
		})
	}
}

const minimalRules = `decision := {"allow": true, "reasons": [], "limits": []}
`

// TestJudgeEndsWithItsContext lets a policy run that would take minutes.
func TestJudgeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	set := load(t, files{"policy.rego": `package twyn

decision := {"allow": n > 0, "reasons": [], "limits": []}

n := count([1 | some a in numbers.range(1, 1000); some b in numbers.range(1, 1000); some c in numbers.range(1, 1000); a + b == c])
`})
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("too slow")
	started := make(chan struct{})
	go func() {
		<-started
		cancel(cause)
	}()
	close(started)
	judgement, err := set.JudgeInput(ctx, baseInput())
	if !errors.Is(err, policies.ErrEvaluation) || !errors.Is(err, cause) || judgement.Allow {
		t.Errorf("got %+v, %v, want the cause of the cancellation", judgement, err)
	}
	// A context that has ended already decides nothing either.
	if judgement, err := loadDefault(t).JudgeInput(ctx, baseInput()); !errors.Is(err, cause) || judgement.Allow {
		t.Errorf("got %+v, %v after the context's end", judgement, err)
	}
}

func TestJudgeRecoversFromPanics(t *testing.T) {
	t.Parallel()
	set := loadDefault(t)
	judgement, err := set.JudgeInput(t.Context(), nil)
	if !errors.Is(err, policies.ErrEvaluation) || judgement.Allow {
		t.Errorf("got %+v, %v, want an error", judgement, err)
	}
}

// TestInputIsWhatTheEngineGives asks Rego for its input and compares.
func TestInputIsWhatTheEngineGives(t *testing.T) {
	t.Parallel()
	set := load(t, files{"policy.rego": `package twyn

decision := {"allow": true, "reasons": [{"code": "input", "message": json.marshal(part)}], "limits": []} if {
	part := object.get(input, [input.request.query.part], "missing")
}
`})
	input := baseInput()
	input.Key.Scopes = []string{"keys:read", "a\"b"}
	input.Key.Metadata = map[string]any{"a": []any{1.5, true, nil, "x"}, "b": map[string]any{"c": 1e3}}
	input.Key.ExpiresAt = "2026-01-01T00:00:00Z"
	for part, want := range map[string]string{
		"key":      `{"created_at":"2025-11-24T01:00:00Z","environment":"live","expires_at":"2026-01-01T00:00:00Z","id":"key_acmeacmeacmeacmeacmeacme","metadata":{"a":[1.5,true,null,"x"],"b":{"c":1000}},"name":"Production Server","rate_limit":1000,"scopes":["keys:read","a\"b"]}`,
		"tenant":   `{"id":"ten_acme","name":"Acme"}`,
		"request":  `{"headers":{"user-agent":"curl/8"},"id":"req_1","ip":"192.0.2.1","method":"GET","path":"/v1/simulations/0190a000-0000-7000-8000-000000000000","query":{"part":"request"},"resource_type":"simulation","route":"/v1/simulations/:id","segments":["v1","simulations","0190a000-0000-7000-8000-000000000000"],"size":0,"time":1763946000000000000}`,
		"resource": `{"environment":"live","id":"0190a000-0000-7000-8000-000000000000","tenant_id":"ten_acme","type":"simulation"}`,
		"nothing":  `"missing"`,
	} {
		input.Request.Query = map[string]string{"part": part}
		judgement, err := set.JudgeInput(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if got := judgement.Reasons[0].Message; got != want {
			t.Errorf("got %s\n%s\nwant\n%s", part, got, want)
		}
	}
	input.Resource, input.Request.Query["part"] = nil, "resource"
	if judgement, err := set.JudgeInput(t.Context(), input); err != nil || judgement.Reasons[0].Message != "null" {
		t.Errorf("got %+v, %v, want a null resource", judgement, err)
	}
}

// TestNilIsEmpty holds the input to its schema, which knows no null lists.
func TestNilIsEmpty(t *testing.T) {
	t.Parallel()
	set := load(t, files{"policy.rego": `package twyn

decision := {"allow": allow, "reasons": [], "limits": []}

default allow := false

allow if {
	input.key.scopes == []
	input.key.metadata == {}
	input.request.segments == []
	input.request.query == {}
	input.request.headers == {}
	not input.key.expires_at
}
`})
	if judgement, err := set.JudgeInput(t.Context(), &engine.Input{}); err != nil || !judgement.Allow {
		t.Errorf("got %+v, %v", judgement, err)
	}
}

// TestScopesAgreeWithTheEngine draws scopes and a request, and compares the
// policies with engine.Scopes.Covers, which guards the making of keys.
func TestScopesAgreeWithTheEngine(t *testing.T) {
	t.Parallel()
	set := loadDefault(t)
	plurals := map[string]string{
		"decision": "decisions", "key": "keys", "plugin": "plugins", "policy": "policies",
		"scenario": "scenarios", "simulation": "simulations", "tenant": "tenants", "trace": "traces",
	}
	types := make([]string, 0, len(plurals))
	for name := range plurals {
		types = append(types, name)
	}
	rapid.Check(t, func(t *rapid.T) {
		resource := rapid.SampledFrom(types).Draw(t, "resource")
		method := rapid.SampledFrom([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}).Draw(t, "method")
		scopes := rapid.SliceOfN(rapid.Custom(drawScope), 0, 5).Draw(t, "scopes")
		action := "write"
		if method == "GET" || method == "HEAD" {
			action = "read"
		}
		input := baseInput()
		// An operator's key, so that the scopes alone decide.
		input.Tenant.ID = engine.PlatformTenantID
		input.Key.Scopes = scopes
		input.Request.Method, input.Request.ResourceType = method, resource
		input.Resource = nil
		judgement, err := set.JudgeInput(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if want := engine.Scopes(scopes).Covers(plurals[resource] + ":" + action); judgement.Allow != want {
			t.Fatalf("%s %s with %q: policies say %t, engine %t", method, resource, scopes, judgement.Allow, want)
		}
	})
}

// TestCoversAgreesWithTheEngine compares the two on any strings, scopes or not.
func TestCoversAgreesWithTheEngine(t *testing.T) {
	t.Parallel()
	policy := defaultFiles(t)
	policy["decision.rego"].Data = []byte(`package twyn

decision := {"allow": allow, "reasons": [], "limits": []}

default allow := false

allow if covers(input.key.scopes, input.key.name)

deny contains "unused" if false
`)
	set, err := policies.Load(t.Context(), policy, patient)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.Custom(drawScope), rapid.String(), rapid.StringMatching(`[a:*]{0,5}`))
		input := baseInput()
		input.Key.Scopes = rapid.SliceOfN(text, 0, 5).Draw(t, "scopes")
		input.Key.Name = text.Draw(t, "scope")
		judgement, err := set.JudgeInput(t.Context(), input)
		if err != nil {
			t.Fatal(err)
		}
		if want := engine.Scopes(input.Key.Scopes).Covers(input.Key.Name); judgement.Allow != want {
			t.Fatalf("%q covers %q: policies say %t, engine %t", input.Key.Scopes, input.Key.Name, judgement.Allow, want)
		}
	})
}

func drawScope(t *rapid.T) string {
	resource := rapid.SampledFrom([]string{"keys", "scenarios", "simulations", "plugins", "decisions", "traces", "tenants", "policies", "*"}).Draw(t, "resource")
	action := rapid.SampledFrom([]string{":read", ":write", ":*", ""}).Draw(t, "action")
	return resource + action
}

// TestSwapUnderLoad judges while Sets take each other's place: each decision is
// wholly one Set's.
func TestSwapUnderLoad(t *testing.T) {
	t.Parallel()
	sets := make([]*policies.Set, 3)
	limits := map[string]int64{}
	for i := range sets {
		sets[i] = load(t, files{"policy.rego": fmt.Sprintf(`package twyn

decision := {"allow": true, "reasons": [], "limits": [{
	"name": "n", "limit": data.limit, "window_seconds": %d, "algorithm": "fixed_window", "scope": "key",
}]}
`, i+1), "data.json": fmt.Sprintf(`{"limit": %d}`, i+1)})
		limits[sets[i].Revision()] = int64(i + 1)
	}
	live := policies.NewEngine(sets[0])
	var wait sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		wait.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				judgement, err := live.Judge(t.Context(), policies.QuestionOf(baseInput()))
				if err != nil {
					t.Error(err)
					return
				}
				want := limits[judgement.Revision]
				if got := judgement.Limits[0]; got.Limit.Limit != want || int64(got.Window.Seconds()) != want {
					t.Errorf("revision %s with the limits %+v of another", judgement.Revision, got)
					return
				}
			}
		})
	}
	for i := range 2000 {
		live.Swap(sets[i%len(sets)])
	}
	close(done)
	wait.Wait()
	if former := live.Swap(sets[1]); former == nil || live.Live() != sets[1] {
		t.Error("Swap did not swap")
	}
}

// TestAddressesAreCompared asks for a function of the net family that reaches
// nothing.
func TestAddressesAreCompared(t *testing.T) {
	t.Parallel()
	set := load(t, files{"policy.rego": `package twyn

decision := {"allow": net.cidr_contains("192.0.2.0/24", input.request.ip), "reasons": [], "limits": []}
`})
	for ip, want := range map[string]bool{"192.0.2.7": true, "198.51.100.1": false} {
		input := baseInput()
		input.Request.IP = ip
		if judgement, err := set.Judge(t.Context(), policies.QuestionOf(input)); err != nil || judgement.Allow != want {
			t.Errorf("%s: got %+v, %v", ip, judgement, err)
		}
	}
}
