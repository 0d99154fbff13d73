package policies_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/twyn/twyn/engine"
	"github.com/twyn/twyn/policies"
)

// defaults are the files of the default policies.
func defaults(t testing.TB) map[string]string {
	t.Helper()
	found, err := policies.ReadDir(policies.Default())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// with returns the default policies and more files.
func with(t testing.TB, more map[string]string) map[string]string {
	t.Helper()
	all := defaults(t)
	maps.Copy(all, more)
	return all
}

func check(t testing.TB, files map[string]string) *engine.PolicyReport {
	t.Helper()
	report, _, err := policies.Check(t.Context(), files, nil, policies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestCheckDefaultPolicies(t *testing.T) {
	t.Parallel()
	report, set, err := policies.Check(t.Context(), defaults(t), nil, policies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !report.Good() || len(report.Warnings) > 0 || set == nil {
		t.Errorf("got %+v", report)
	}
	if report.Tests.Passed == 0 || report.Tests.Failed > 0 || report.Tests.Coverage < 95 {
		t.Errorf("got tests %+v", report.Tests)
	}
	if !report.Memo.Enabled || len(report.Memo.Paths) == 0 || len(report.Digest) != 64 {
		t.Errorf("got memo %+v, digest %q", report.Memo, report.Digest)
	}
}

// TestCheckNamesEverythingWrong looks for each problem by its kind and place.
func TestCheckNamesEverythingWrong(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		want  []string // kind file:row:col
	}{
		"files of other kinds": {map[string]string{"../a.rego": "", "a.txt": "", ".b/a.rego": ""}, []string{"files ../a.rego:0:0", "files .b/a.rego:0:0", "files a.txt:0:0"}},
		"policies and tests at once": {
			map[string]string{"a.rego": "package twyn\n\na := http.send({})\n", "b.rego": "package twyn\n\na := \n", "c_test.rego": "package twyn_test\n\nx := rand.intn(\"\", 1)\n"},
			[]string{"compile a.rego:3:6", "compile b.rego:4:1", "compile c_test.rego:3:6"},
		},
		"a test that does not hold":    {map[string]string{"a_test.rego": "package twyn_test\n\ntest_a if 1 == 2\n"}, []string{"test a_test.rego:3:1"}},
		"a test that does not compile": {map[string]string{"a_test.rego": "package twyn_test\n\ntest_a if unknown(1)\n"}, []string{"compile a_test.rego:3:11"}},
		"deny is no set":               {map[string]string{"decision.rego": `package twyn` + "\n\n" + `deny := false` + "\n\n" + `decision := {"allow": deny, "reasons": [], "limits": []}` + "\n"}, []string{"lint decision.rego:3:1"}},
		"a variable hides a rule":      {map[string]string{"a.rego": "package twyn\n\n# METADATA\n# description: x\ndeny contains x if {\n\tsome limits in [{\"code\": \"a\", \"message\": \"b\"}]\n\tx := limits\n\tinput.tenant.id == \"none\"\n}\n"}, []string{"lint a.rego:6:7"}},
		"a package that is not read":   {map[string]string{"a.rego": "package elsewhere\n\ndeny contains 1\n"}, []string{"lint a.rego:1:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := with(t, test.files)
			if test.files["decision.rego"] != "" {
				files = test.files
			}
			var got []string
			for _, p := range check(t, files).Problems {
				got = append(got, fmt.Sprintf("%s %s:%d:%d", p.Kind, p.File, p.Row, p.Col))
				t.Log(p)
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestCheckWarns(t *testing.T) {
	t.Parallel()
	report := check(t, map[string]string{"a.rego": `package twyn

default allow := true

deny contains {"code": "a", "message": "b"} if input.tenant.id == "x"

unused := 1

decision := {"allow": allow, "reasons": [reason | some reason in deny], "limits": []}
`})
	var got []string
	for _, w := range report.Warnings {
		got = append(got, fmt.Sprintf("%s:%d", w.Rule, w.Row))
	}
	if want := []string{"tests:0", "open:3", "metadata:5", "unread:7"}; !slices.Equal(got, want) || !report.Good() {
		t.Errorf("got %q and problems %v, want %q", got, report.Problems, want)
	}
}

// TestCheckStopsRunaways runs tests that would not end, or would fill memory.
func TestCheckStopsRunaways(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"iteration":     "count([1 | some x in numbers.range(1, 10000); some y in numbers.range(1, 10000); x + y == 0]) == 0",
		"comprehension": "count([[x, y] | some x in numbers.range(1, 10000); some y in numbers.range(1, 10000)]) > 0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := check(t, with(t, map[string]string{"a_test.rego": "package twyn_test\n\ntest_a if {\n\t" + body + "\n}\n"}))
			if len(report.Problems) == 0 || report.Problems[0].Kind != engine.ProblemTest || !strings.Contains(report.Problems[0].Message, "budget") {
				t.Errorf("got %v", report.Problems)
			}
		})
	}
}

// TestCheckBoundsWhatItReads hands in what is too large or nested too deeply.
func TestCheckBoundsWhatItReads(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000)
	for name, files := range map[string]map[string]string{
		"50 MB of data": {"data.json": `{"a": "` + strings.Repeat("a", 50<<20) + `"}`},
		"regex bomb":    {"a_test.rego": "package twyn_test\n\ntest_a if regex.match(\"((a{100}){100}){100}\", \"a\")\n"},
		"deep data":     {"data.json": `{"a": ` + deep + `}`},
		"deep policy":   {"a.rego": "package twyn\n\na := " + deep + "\n"},
		"deep test":     {"a_test.rego": "package twyn\n\na := " + deep + "\n"},
		"many files": func() map[string]string {
			many := map[string]string{}
			for i := range 1001 {
				many[fmt.Sprintf("a%d.rego", i)] = "package twyn\n"
			}
			return many
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if check(t, with(t, files)).Good() {
				t.Error("not refused")
			}
		})
	}
}

// TestCheckSaysWhatCostsTheMemo points at the line.
func TestCheckSaysWhatCostsTheMemo(t *testing.T) {
	t.Parallel()
	report := check(t, with(t, map[string]string{"a.rego": "package twyn\n\n# METADATA\n# description: x\ndeny contains {\"code\": \"a\", \"message\": \"b\"} if {\n\tinput.request.id == \"x\"\n}\n"}))
	if report.Memo.Enabled || report.Memo.File != "a.rego" || report.Memo.Row != 6 {
		t.Errorf("got %+v", report.Memo)
	}
}

// newBundle packs files, signed if a secret is given.
func newBundle(t testing.TB, secret string, files map[string]string) []byte {
	t.Helper()
	all := maps.Clone(files)
	if secret != "" {
		all[".signatures.json"] = signatures(t, secret, files)
	}
	var packed bytes.Buffer
	zipped := gzip.NewWriter(&packed)
	archive := tar.NewWriter(zipped)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if err := archive.WriteHeader(&tar.Header{Name: "/" + name, Mode: 0o600, Size: int64(len(all[name])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(all[name])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func signatures(t testing.TB, secret string, files map[string]string) string {
	t.Helper()
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	var list []bundle.FileInfo
	for name, content := range files {
		var value any = []byte(content)
		if bundle.IsStructuredDoc(name) {
			if err := json.Unmarshal([]byte(content), &value); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := hasher.HashFile(value)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, bundle.NewFile(name, fmt.Sprintf("%x", sum), bundle.SHA256.String()))
	}
	token, err := bundle.GenerateSignedToken(list, bundle.NewSigningConfig(secret, "HS256", ""), "any")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(bundle.SignaturesConfig{Signatures: []string{token}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadBundle(t *testing.T) {
	t.Parallel()
	const secret = "a secret of the test, long enough for HMAC"
	key := &policies.BundleKey{Key: secret, Algorithm: "HS256"}
	files := map[string]string{"a/b.rego": minimal, "plans/data.json": `{"free": 1}`, ".manifest": `{"revision": "1"}`}
	want := map[string]string{"a/b.rego": minimal, "plans/data.json": `{"free": 1}`}
	signed, unsigned := newBundle(t, secret, files), newBundle(t, "", files)
	for _, packed := range [][]byte{signed, unsigned} {
		if got, err := policies.ReadBundle(bytes.NewReader(packed), nil); err != nil || !maps.Equal(got, want) {
			t.Errorf("got %v, %v", got, err)
		}
	}
	if got, err := policies.ReadBundle(bytes.NewReader(signed), key); err != nil || !maps.Equal(got, want) {
		t.Errorf("signed: got %v, %v", got, err)
	}
	changed := maps.Clone(files)
	changed[".signatures.json"] = signatures(t, secret, files)
	changed["a/b.rego"] = "package twyn\n"
	added := maps.Clone(files)
	added[".signatures.json"] = signatures(t, secret, files)
	added["more.rego"] = minimal
	for name, packed := range map[string][]byte{
		"not signed":     unsigned,
		"another key":    newBundle(t, secret+"!", files),
		"changed":        newBundle(t, "", changed),
		"a file more":    newBundle(t, "", added),
		"not an archive": []byte("package twyn"),
		"cut short":      signed[:len(signed)/2],
		"delta":          newBundle(t, "", map[string]string{"patch.json": `{}`}),
		"empty":          nil,
		"zeros":          newBundle(t, "", map[string]string{"data.json": strings.Repeat("0", 5<<20)}),
	} {
		if got, err := policies.ReadBundle(bytes.NewReader(packed), key); !errors.Is(err, policies.ErrBundle) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

// FuzzReadBundle: no bytes end the process.
func FuzzReadBundle(f *testing.F) {
	f.Add(newBundle(f, "", map[string]string{"a.rego": minimal}))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, packed []byte) {
		_, err := policies.ReadBundle(bytes.NewReader(packed), nil)
		if err != nil && !errors.Is(err, policies.ErrBundle) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDiff(t *testing.T) {
	t.Parallel()
	got := policies.Diff(
		map[string]string{"same": "x\n", "gone": "a\n", "changed": "one\ntwo\n"},
		map[string]string{"same": "x\n", "new": "b\n", "changed": "one\nthree\n"},
	)
	want := map[string]string{
		"gone":    "--- a/gone\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-a\n",
		"new":     "--- /dev/null\n+++ b/new\n@@ -0,0 +1,1 @@\n+b\n",
		"changed": "--- a/changed\n+++ b/changed\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	_, set, err := policies.Check(t.Context(), defaults(t), nil, policies.Options{})
	if err != nil {
		t.Fatal(err)
	}
	input := baseInput()
	input.Resource.TenantID = "ten_globex"
	input.Key.Scopes = []string{"keys:read"}
	got, err := policies.Explain(t.Context(), set, input)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Code != "tenant_isolation" || got[0].File != "tenant.rego" || got[0].Row == 0 || got[0].Rule != "data.twyn.deny" ||
		got[0].Values["input.resource.tenant_id"] != "ten_globex" || got[0].Values["input.tenant.id"] != input.Tenant.ID {
		t.Fatalf("got %+v", got)
	}
	if got[1].Code != "scope_missing" || got[1].Values["scope"] == nil || got[1].Values["input.key.scopes"] == nil {
		t.Errorf("got %+v", got[1])
	}
	if got, err := policies.Explain(t.Context(), set, baseInput()); err != nil || len(got) != 1 || got[0].Rule != "data.twyn.decision" {
		t.Errorf("allowed: got %+v, %v", got, err)
	}
}
