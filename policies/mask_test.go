package policies_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/twyn/twyn/policies"
)

const maskedPolicy = "package twyn\n\ndecision := {\"allow\": true, \"reasons\": [], \"limits\": []}\n"

const maskRecord = `{"decision_id": "dec_1", "input": {"key": {"metadata": {"email": "a@example.com", "a/b": 1}}, "request": {"segments": ["v1", "keys", "secret"], "headers": null}},
	"result": {"allow": false, "reasons": [{"code": "c", "message": "m"}]}}`

func document(t *testing.T, text string) (record map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &record); err != nil {
		t.Fatal(err)
	}
	return record
}

func TestMask(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mask string
		want map[string]string // members of the record as JSON
	}{
		"remove": {`mask contains "/input/key/metadata/email"`, map[string]string{
			"input": `{"key":{"metadata":{"a/b":1}},"request":{"headers":null,"segments":["v1","keys","secret"]}}`, "erased": `["/input/key/metadata/email"]`,
		}},
		"conditional": {`mask contains "/input/key" if not input.result.allow`, map[string]string{
			"input": `{"request":{"headers":null,"segments":["v1","keys","secret"]}}`,
		}},
		"condition that does not hold": {`mask contains "/input/key" if input.result.allow`, map[string]string{"erased": "null"}},
		"elements keep their places until the end": {`mask := {"/input/request/segments/0", "/input/request/segments/2"}`, map[string]string{
			"input": `{"key":{"metadata":{"a/b":1,"email":"a@example.com"}},"request":{"headers":null,"segments":["keys"]}}`,
		}},
		"what is not there": {`mask := {"/input/nothing/here", "/input/request/segments/7", "/input/request/segments/x"}`, map[string]string{"erased": "null"}},
		"escaped":           {`mask := {"/input/key/metadata/a~1b", "/input/request"}`, map[string]string{"input": `{"key":{"metadata":{"email":"a@example.com"}}}`}},
		"everything":        {`mask := {"/input", "/result"}`, map[string]string{"input": "null", "result": "null"}},
		"upsert": {`mask := {{"op": "upsert", "path": "/input/request/headers/x", "value": "**"}, {"op": "upsert", "path": "/result/reasons/0/message", "value": "hidden"}}`, map[string]string{
			"result": `{"allow":false,"reasons":[{"code":"c","message":"hidden"}]}`, "masked": `["/input/request/headers/x","/result/reasons/0/message"]`,
			"input": `{"key":{"metadata":{"a/b":1,"email":"a@example.com"}},"request":{"headers":{"x":"**"},"segments":["v1","keys","secret"]}}`,
		}},
		"removing wins":         {`mask := {{"op": "upsert", "path": "/input/key", "value": 1}, {"op": "remove", "path": "/input"}}`, map[string]string{"input": "null"}},
		"of the policies' data": {`mask := {p | some p in data.hidden}`, map[string]string{"result": "null"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := load(t, files{
				"policy.rego": maskedPolicy, "mask.rego": "package system.log\n\n" + test.mask + "\n", "data.json": `{"hidden": ["/result"]}`,
			})
			if !set.Masks() {
				t.Fatal("no masks")
			}
			got, err := policies.NewEngine(set).Mask(t.Context(), document(t, maskRecord))
			if err != nil {
				t.Fatal(err)
			}
			for member, want := range test.want {
				raw, err := json.Marshal(got[member])
				if err != nil || string(raw) != want {
					t.Errorf("%s is %s, %v; want %s", member, raw, err, want)
				}
			}
		})
	}
}

// TestMaskErrors: what is not understood is an error, never a mask less.
func TestMaskErrors(t *testing.T) {
	t.Parallel()
	for name, mask := range map[string]string{
		"another part":      `mask := {"/labels/tenant_id"}`,
		"no pointer":        `mask := {"input/key"}`,
		"unknown operation": `mask := {{"op": "hide", "path": "/input/key"}}`,
		"no operation":      `mask := {{"path": "/input/key"}}`,
		"a number":          `mask := {1}`,
		"not a set":         `mask := "/input/key"`,
		"below a text":      `mask := {{"op": "upsert", "path": "/input/key/metadata/email/x", "value": 1}}`,
		"an error within":   `mask contains p if p := sprintf("/input/%d", [to_number(input.input.key.metadata.email)])`,
	} {
		set := load(t, files{"policy.rego": maskedPolicy, "mask.rego": "package system.log\n\n" + mask + "\n"})
		if got, err := set.Mask(t.Context(), document(t, maskRecord)); !errors.Is(err, policies.ErrMask) || got != nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestMasksAreCompiled(t *testing.T) {
	t.Parallel()
	for name, mask := range map[string]string{
		"syntax":    `mask contains`,
		"forbidden": `mask contains "/input" if http.send({"url": "http://example.com"})`,
		"unsafe":    `mask contains x`,
	} {
		_, err := policies.Load(t.Context(), files{"policy.rego": maskedPolicy, "mask.rego": "package system.log\n\n" + mask + "\n"}.fs(), policies.Options{})
		var compile *policies.CompileError
		if !errors.As(err, &compile) || !strings.Contains(err.Error(), "mask.rego:") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if loadDefault(t).Masks() {
		t.Error("the default policies mask something")
	}
}
