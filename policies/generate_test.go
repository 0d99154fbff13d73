package policies

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/twyn/twyn/engine"
)

// chooser returns a number below n. Everything random is drawn through one, so
// that a seed or a fuzzer's bytes make the same policies and inputs again.
type chooser func(n int) int

func seeded(seed uint64) chooser { return rand.New(rand.NewPCG(seed, 0)).IntN }

// fromBytes draws from bytes, and zeros after their end.
func fromBytes(data []byte) chooser {
	return func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
}

func oneOf[T any](pick chooser, values ...T) T { return values[pick(len(values))] }

// drawInput draws an input of few values, so that conditions hold now and then
// and two inputs often agree.
func drawInput(pick chooser) *engine.Input {
	in := &engine.Input{
		Key: engine.InputKey{
			ID: oneOf(pick, "key_a", "key_b", ""), Name: oneOf(pick, "a", "ab", "\x00", "é"),
			Environment: oneOf(pick, "live", "test", ""), RateLimit: oneOf[int64](pick, 1, 256, 1000),
			Scopes:   oneOf(pick, nil, []string{}, []string{"*"}, []string{"keys:read"}, []string{"a", "b"}, []string{"ab"}, []string{"a", "b", ""}, []string{"a", "\x00"}, []string{"a\x00", ""}),
			Metadata: drawMetadata(pick), CreatedAt: oneOf(pick, "2025-11-24T01:00:00Z", "2025-11-24T01:00:01Z", "0001-01-01T00:00:00Z"),
			ExpiresAt: oneOf(pick, "", "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"),
		},
		Tenant: engine.InputTenant{ID: oneOf(pick, "ten_a", "ten_b", "platform"), Name: oneOf(pick, "A", "", strings.Repeat("x", 254), strings.Repeat("x", 255), strings.Repeat("x", 300))},
		Request: engine.InputRequest{
			ID: oneOf(pick, "req_1", "req_2"), Method: oneOf(pick, "GET", "POST", "DELETE"), Path: oneOf(pick, "/v1/keys", "/v1", ""),
			Segments: oneOf(pick, nil, []string{"v1"}, []string{"v1", "keys"}, []string{"v", "1keys"}), Route: oneOf(pick, "", "/v1/keys"),
			Query: drawMap(pick), Headers: drawMap(pick), Size: oneOf[int64](pick, 0, 1, 1<<40),
			IP: oneOf(pick, "192.0.2.1", "192.0.2.11"), Time: oneOf[int64](pick, 0, 60e9, 1763946000000000000),
			ResourceType: oneOf(pick, "", "key", "tenant", "simulation", "unknown"),
		},
	}
	if pick(4) > 0 {
		in.Resource = &engine.InputResource{
			Type: oneOf(pick, "key", "tenant", "simulation", ""), ID: oneOf(pick, "r1", "r2", ""),
			TenantID: oneOf(pick, "ten_a", "ten_b"), Environment: oneOf(pick, "live", "test", ""),
		}
	}
	return in
}

func drawMap(pick chooser) map[string]string {
	m := map[string]string{}
	for range pick(4) {
		m[oneOf(pick, "a", "b", "ab", "")] = oneOf(pick, "", "a", "b", "\x01a")
	}
	if pick(8) == 0 {
		return nil
	}
	return m
}

func drawMetadata(pick chooser) map[string]any {
	m := map[string]any{}
	for range pick(4) {
		m[oneOf(pick, "plan", "a", "b")] = drawValue(pick, 3)
	}
	if pick(8) == 0 {
		return nil
	}
	return m
}

func drawValue(pick chooser, depth int) any {
	switch n := pick(9); {
	case n == 0:
		return nil
	case n == 1:
		return pick(2) == 0
	case n == 2:
		return oneOf(pick, 0.0, 1.0, 256.0, 0.5)
	case n < 6 || depth == 0:
		return oneOf(pick, "gold", "", "1", "a", "b", "\x05")
	case n == 6:
		list := make([]any, pick(3))
		for i := range list {
			list[i] = drawValue(pick, depth-1)
		}
		return list
	default:
		object := map[string]any{}
		for range pick(3) {
			object[oneOf(pick, "a", "b", "")] = drawValue(pick, depth-1)
		}
		return object
	}
}

// document is the input as JSON, nil lists and maps being empty, as Rego sees it.
func document(t testing.TB, in *engine.Input) map[string]any {
	t.Helper()
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for object, fields := range map[string][]string{"key": {"scopes", "metadata"}, "request": {"segments", "query", "headers"}} {
		for _, field := range fields {
			parent, _ := doc[object].(map[string]any)
			switch {
			case parent[field] != nil:
			case field == "scopes" || field == "segments":
				parent[field] = []any{}
			default:
				parent[field] = map[string]any{}
			}
		}
	}
	return doc
}

// inputOf is the input of a document.
func inputOf(t testing.TB, doc map[string]any) *engine.Input {
	t.Helper()
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	in := new(engine.Input)
	if err := json.Unmarshal(text, in); err != nil {
		t.Fatal(err)
	}
	return in
}

// lookup returns the value of a document at a path.
func lookup(doc any, path []string) (any, bool) {
	for _, name := range path {
		object, ok := doc.(map[string]any)
		if !ok {
			return nil, false
		}
		if doc, ok = object[name]; !ok {
			return nil, false
		}
	}
	return doc, true
}

// generateData is the data of generated policies.
const generateData = `{"levels": {"ten_a": {"n": 1, "names": ["a", "ab"]}, "ten_b": {"n": 2, "names": []}}}`

// generatePolicy writes a policy that reads its input in many ways.
func generatePolicy(pick chooser) string {
	g := &generator{pick: pick}
	var b strings.Builder
	b.WriteString("package twyn\n\n" + `decision := {"allow": allow, "reasons": [reason | some reason in deny], "limits": []}` + "\n\ndefault allow := false\n\nallow if count(deny) == 0\n\n")
	for i := range 4 {
		g.helpers = i
		fmt.Fprintf(&b, "default h%d := \"none\"\n\nh%d := %s if {\n%s}", i, i, g.text(), g.conditions())
		if pick(2) == 0 {
			fmt.Fprintf(&b, " else := %s if {\n%s}", g.text(), g.conditions())
		}
		fmt.Fprintf(&b, "\n\nf%d(x) if {\n\tx == %s\n%s}\n\ns%d contains %s if {\n%s}\n\n", i, g.text(), g.conditions(), i, g.text(), g.conditions())
	}
	g.helpers = 4
	for i := range 1 + pick(4) {
		fmt.Fprintf(&b, "deny contains {\"code\": \"c%d\", \"message\": concat(\"\", [\"m\", %s])} if {\n%s}\n\n", i, g.text(), g.conditions())
	}
	return b.String()
}

// generator writes the parts of a policy. Rules call only helpers with smaller
// numbers, so that none calls itself.
type generator struct {
	pick      chooser
	helpers   int
	variables int
}

// text is an expression whose value is a string.
func (g *generator) text() string {
	fields := []string{
		`input.key.id`, `input.key.name`, `input.key.environment`, `input.tenant.id`, `input.request.method`, `input.request.route`,
		`input.request.path`, `input.request.ip`, `input.request.resource_type`, `input.resource.type`, `input.resource.tenant_id`,
		`input.resource.environment`, `input.resource.id`, `input.key.created_at`, `input.key.expires_at`,
		`input.request.headers.a`, `input.request.query["b"]`, `input.key.scopes[0]`, `input.request.segments[1]`,
		`object.get(input.request.headers, "ab", "x")`, `object.get(input.resource, "id", "x")`, `json.marshal(input.key.metadata.plan)`,
		`json.marshal(input.key.metadata)`, `format_int(input.request.size, 10)`, `concat(",", input.key.scopes)`, `input["tenant"]["id"]`,
		`sprintf("%v", [input.request.query])`, `lower(input.key.name)`, `"a"`, `"ten_a"`, `"GET"`,
	}
	if g.helpers > 0 && g.pick(4) == 0 {
		return fmt.Sprintf("h%d", g.pick(g.helpers))
	}
	return fields[g.pick(len(fields))]
}

// conditions are one to three lines of a body.
func (g *generator) conditions() string {
	var b strings.Builder
	for range 1 + g.pick(3) {
		b.WriteString("\t" + g.condition() + "\n")
	}
	return b.String()
}

func (g *generator) condition() string {
	g.variables++
	v := fmt.Sprintf("v%d", g.variables)
	if g.helpers > 0 && g.pick(3) == 0 {
		h := g.pick(g.helpers)
		return oneOf(g.pick,
			fmt.Sprintf("f%d(%s)", h, g.text()),
			fmt.Sprintf("not f%d(%s)", h, g.text()),
			fmt.Sprintf("%s in s%d", g.text(), h),
			fmt.Sprintf("count(s%d) > 0", h),
			fmt.Sprintf("h%d != %s", h, g.text()),
			fmt.Sprintf("h%d == %s with input.key.id as %s", h, g.text(), g.text()),
			fmt.Sprintf("data.twyn.s%d[%s]", h, g.text()),
		)
	}
	return oneOf(g.pick,
		fmt.Sprintf("%s == %s", g.text(), g.text()),
		fmt.Sprintf("%s != %s", g.text(), g.text()),
		fmt.Sprintf("not %s == %s", g.text(), g.text()),
		fmt.Sprintf("startswith(%s, %s)", g.text(), g.text()),
		"input.key.rate_limit > 5", "input.request.size == 1", "input.request.time > 60000000000",
		`"*" in input.key.scopes`, fmt.Sprintf("%s in input.request.segments", g.text()),
		fmt.Sprintf("some %s in input.key.scopes\n\tstartswith(%s, \"a\")", v, v),
		fmt.Sprintf("some %s, w%s in input.request.query\n\tw%s == input.request.headers[%s]", v, v, v, v),
		fmt.Sprintf("every %s in input.request.segments { %s != %s }", v, v, g.text()),
		fmt.Sprintf("count([%s | some %s in input.key.scopes; %s != %s]) > 0", v, v, v, g.text()),
		`object.get(input.key.metadata, "plan", "none") == "gold"`, "input.key.metadata.plan.a == 1", "input.key.metadata.a",
		fmt.Sprintf("%s := input.resource\n\t%s.type == %s", v, v, g.text()),
		fmt.Sprintf("%s := input.tenant\n\t%s.name != %s", v, v, g.text()),
		"data.levels[input.tenant.id].n > 1", fmt.Sprintf("%s in data.levels[%s].names", g.text(), g.text()),
		"input.resource", "not input.resource.id", "not input.key.expires_at",
	)
}
