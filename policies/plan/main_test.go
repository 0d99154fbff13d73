package plan_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain draws the same random policies in every run, so that a change is
// judged by itself; "go test ./policies/plan -rapid.seed=N" draws others.
func TestMain(m *testing.M) {
	flag.Parse()
	drawn := false
	flag.Visit(func(f *flag.Flag) { drawn = drawn || f.Name == "rapid.seed" })
	if !drawn {
		if err := flag.Set("rapid.seed", "1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}
