package policies

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// TestRecipes does what the recipes of docs/policies.md say: adds the files of
// each, as they stand there, to the default policies.
func TestRecipes(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	step := regexp.MustCompile("(?s)`recipes/([a-z]+)/([a-z_/.]+)`:\n\n```[a-z]+\n(.*?)```")
	recipes := map[string]map[string]string{}
	for _, found := range step.FindAllStringSubmatch(string(content), -1) {
		if recipes[found[1]] == nil {
			recipes[found[1]] = map[string]string{}
		}
		recipes[found[1]][found[2]] = found[3]
	}
	if len(recipes) != 5 {
		t.Fatalf("got %d recipes, want 5", len(recipes))
	}
	for name, more := range recipes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			defaults := fstest.MapFS{}
			if err := fsCopy(defaults); err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for path, file := range defaults {
				files[path] = string(file.Data)
			}
			before, _, err := Check(t.Context(), files, nil, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for path, text := range more {
				files[path] = text
				if formatted, err := Format(path, text); strings.HasSuffix(path, ".rego") && (err != nil || formatted != text) {
					t.Errorf("%s is not in the form of opa fmt: %v\n%s", path, err, formatted)
				}
			}
			report, _, err := Check(t.Context(), files, nil, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !report.Good() || len(report.Warnings) > 0 || report.Tests.Coverage < 95 || report.Tests.Passed < before.Tests.Passed+3 {
				t.Errorf("got %+v", report)
			}
		})
	}
}
