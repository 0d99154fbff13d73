package policies_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/engine/quota"
	"github.com/twyn/twyn/policies"
)

// benchSet loads the default policies.
func benchSet(b *testing.B, options policies.Options) *policies.Set {
	b.Helper()
	options.Timeout = time.Minute
	set, err := policies.Load(b.Context(), policies.Default(), options)
	if err != nil {
		b.Fatal(err)
	}
	return set
}

// tenants are the owners of the resource by whether the request is allowed.
var tenants = map[string]string{"allow": "ten_acme", "deny": "ten_globex"}

// BenchmarkJudge is a decision that is not remembered, by what evaluates it.
func BenchmarkJudge(b *testing.B) {
	for _, evaluator := range []policies.Evaluator{policies.Compiled, policies.Interpreted} {
		set := benchSet(b, policies.Options{Evaluator: evaluator, MemoEntries: -1})
		for name, tenant := range tenants {
			b.Run(fmt.Sprintf("%s/%s", evaluator, name), func(b *testing.B) {
				input := baseInput()
				input.Resource.TenantID = tenant
				question := policies.QuestionOf(input)
				b.ReportAllocs()
				for b.Loop() {
					judgement, err := set.Judge(b.Context(), question)
					if err != nil || judgement.Allow != (name == "allow") {
						b.Fatalf("got %+v, %v", judgement, err)
					}
				}
			})
		}
	}
}

// BenchmarkJudgeReference is BenchmarkJudge with the reference policies.
func BenchmarkJudgeReference(b *testing.B) {
	for _, evaluator := range []policies.Evaluator{policies.Compiled, policies.Interpreted} {
		options := policies.Options{Evaluator: evaluator, MemoEntries: -1, Timeout: time.Minute}
		set, err := policies.Load(b.Context(), policies.ReferenceFiles(b), options)
		if err != nil {
			b.Fatal(err)
		}
		for name, owner := range map[string]string{"allow": "ten_a", "deny": "ten_b"} {
			b.Run(fmt.Sprintf("%s/%s", evaluator, name), func(b *testing.B) {
				input := baseInput()
				input.Tenant.ID, input.Resource.TenantID = "ten_a", owner
				question := policies.QuestionOf(input)
				b.ReportAllocs()
				for b.Loop() {
					judgement, err := set.Judge(b.Context(), question)
					if err != nil || judgement.Allow != (name == "allow") {
						b.Fatalf("got %+v, %v", judgement, err)
					}
				}
			})
		}
	}
}

// BenchmarkJudgeMiss is a decision that is remembered, but for the first time.
func BenchmarkJudgeMiss(b *testing.B) {
	set := benchSet(b, policies.Options{})
	question := policies.QuestionOf(baseInput())
	b.ReportAllocs()
	for b.Loop() {
		question.Principal.Key.RateLimit++
		if judgement, err := set.Judge(b.Context(), question); err != nil || !judgement.Allow {
			b.Fatalf("got %+v, %v", judgement, err)
		}
	}
}

// BenchmarkJudgeHit is a decision that is remembered, for one question and for
// many in turn.
func BenchmarkJudgeHit(b *testing.B) {
	set := benchSet(b, policies.Options{})
	for _, n := range []int{1, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			questions := benchQuestions(n)
			for _, q := range questions {
				if _, err := set.Judge(b.Context(), q); err != nil {
					b.Fatal(err)
				}
			}
			before := set.Counts()
			ctx := b.Context()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if judgement, err := set.Judge(ctx, questions[i]); err != nil || !judgement.Allow {
					b.Fatalf("got %+v, %v", judgement, err)
				}
				if i++; i == n {
					i = 0
				}
			}
			if after := set.Counts(); after.Misses != before.Misses {
				b.Errorf("%d misses", after.Misses-before.Misses)
			}
		})
	}
}

// benchQuestions returns questions of as many tenants and keys.
func benchQuestions(n int) []engine.Question {
	questions := make([]engine.Question, n)
	for i := range questions {
		input := baseInput()
		input.Tenant.ID = fmt.Sprintf("ten_%024d", i)
		input.Key.ID = fmt.Sprintf("key_%024d", i)
		input.Resource.TenantID = input.Tenant.ID
		questions[i] = policies.QuestionOf(input)
	}
	return questions
}

// BenchmarkDecide is a whole decision of the engine with the default policies:
// a key that is in the cache, one limit.
func BenchmarkDecide(b *testing.B) {
	for _, tc := range []struct {
		name    string
		options policies.Options
	}{
		{"remembered", policies.Options{}},
		{"compiled", policies.Options{MemoEntries: -1}},
		{"interpreted", policies.Options{MemoEntries: -1, Evaluator: policies.Interpreted}},
	} {
		b.Run(tc.name, func(b *testing.B) {
			ledger, err := quota.NewMemory(quota.Options{})
			if err != nil {
				b.Fatal(err)
			}
			const credential = engine.Credential("twyn_live_0000000000000000000000000000000000000000000000000000000000000000")
			input := baseInput()
			input.Key.RateLimit = engine.MaxRateLimit
			question := policies.QuestionOf(input)
			directory := oneKey{engine.Identity{Principal: *question.Principal, Digest: credential.Digest()}}
			keys, err := engine.NewKeyCache(directory, 1000)
			if err != nil {
				b.Fatal(err)
			}
			decider, err := engine.New(engine.Config{
				Keys: keys, Resources: directory, Policy: policies.NewEngine(benchSet(b, tc.options)), Ledger: ledger, NewID: engine.NewDecisionID,
			})
			if err != nil {
				b.Fatal(err)
			}
			request := *question.Request
			request.Credential, request.Credentials, request.Target.ID = credential, 1, ""
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				// The limit's window moves on, so that nothing is throttled.
				request.At = request.At.Add(time.Second)
				if decision, err := decider.Decide(ctx, &request); err != nil || !decision.Allowed() {
					b.Fatalf("got %+v, %v", decision, err)
				}
			}
		})
	}
}
