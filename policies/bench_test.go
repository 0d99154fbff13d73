package policies_test

import "testing"

// BenchmarkJudge is the interpreter's part of a decision.
func BenchmarkJudge(b *testing.B) {
	set := loadDefault(b)
	for name, tenant := range map[string]string{"allow": "ten_acme", "deny": "ten_globex"} {
		b.Run(name, func(b *testing.B) {
			input := baseInput()
			input.Resource.TenantID = tenant
			b.ReportAllocs()
			for b.Loop() {
				judgement, err := set.JudgeInput(b.Context(), input)
				if err != nil || judgement.Allow != (name == "allow") {
					b.Fatalf("got %+v, %v", judgement, err)
				}
			}
		})
	}
}
