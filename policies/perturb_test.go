package policies

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/twyn/twyn/engine"
)

// parts returns the paths of what an encoder's keys hold.
func (e encoder) parts() [][]string {
	paths := make([][]string, 0, len(e))
	for _, o := range e {
		for _, f := range inputFields {
			if o.code == f.code {
				paths = append(paths, strings.Split(f.path, "."))
			} else if f.value != 0 && o.code == f.value {
				paths = append(paths, append(strings.Split(f.path, "."), o.name))
			}
		}
	}
	return paths
}

// projection returns what a document has at each path, and for the resource
// itself whether there is one.
func projection(doc map[string]any, paths [][]string) []any {
	var values []any
	for _, path := range paths {
		value, present := lookup(doc, path)
		if len(path) == 1 {
			value = value != nil
		}
		values = append(values, present, value)
	}
	return values
}

// transplant makes the document to agree with from at every path.
func transplant(to, from map[string]any, paths [][]string) {
	if slices.ContainsFunc(paths, func(path []string) bool { return path[0] == "resource" }) {
		switch {
		case from["resource"] == nil:
			to["resource"] = nil
		case to["resource"] == nil:
			to["resource"] = map[string]any{"type": "other", "id": "other", "tenant_id": "other", "environment": "other"}
		}
	}
	for _, path := range paths {
		if len(path) == 1 {
			continue
		}
		parent, _ := lookup(to, path[:len(path)-1])
		object, ok := parent.(map[string]any)
		if !ok {
			continue
		}
		if value, present := lookup(from, path); present {
			object[path[len(path)-1]] = value
		} else {
			delete(object, path[len(path)-1])
		}
	}
}

// keyOf returns the key of an input.
func keyOf(e encoder, in *engine.Input) (string, bool) {
	var room [4 * maxKeyBytes]byte
	n, ok := e.encode(room[:], QuestionOf(in))
	if !ok {
		return "", false
	}
	return string(room[:n]), true
}

// checkKeys compares two inputs by their keys and by what keys are to hold.
func checkKeys(t testing.TB, e encoder, a, b *engine.Input) {
	t.Helper()
	keyA, okA := keyOf(e, a)
	keyB, okB := keyOf(e, b)
	if !okA || !okB {
		return
	}
	same := reflect.DeepEqual(projection(document(t, a), e.parts()), projection(document(t, b), e.parts()))
	if (keyA == keyB) != same {
		t.Fatalf("%v: the same parts: %t, keys\n%q\n%q\n%+v\n%+v", e.parts(), same, keyA, keyB, a, b)
	}
}

// drawPair draws two inputs that agree on most of their parts.
func drawPair(t testing.TB, pick chooser) (a, b *engine.Input) {
	t.Helper()
	a, b = drawInput(pick), drawInput(pick)
	var common [][]string
	for _, f := range inputFields {
		if path := strings.Split(f.path, "."); len(path) > 1 && pick(4) > 0 {
			common = append(common, path)
		}
	}
	doc := document(t, b)
	transplant(doc, document(t, a), common)
	return a, inputOf(t, doc)
}

// drawEncoder draws which parts of the input keys hold.
func drawEncoder(pick chooser) encoder {
	f := &footprint{}
	for range 1 + pick(5) {
		field := oneOf(pick, inputFields[:len(inputFields)-1]...)
		path := strings.Split(field.path, ".")
		if field.value != 0 && pick(2) == 0 {
			path = append(path, oneOf(pick, "a", "b", "plan", ""))
		}
		f.input = append(f.input, inputPath{path: path})
	}
	e, _ := newEncoder(f)
	return e
}

func TestKeysAreProjections(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5000) {
		pick := seeded(seed)
		a, b := drawPair(t, pick)
		checkKeys(t, drawEncoder(pick), a, b)
	}
}

func FuzzEncodeKey(f *testing.F) {
	for seed := range uint64(32) {
		pick := seeded(seed)
		data := make([]byte, 200)
		for i := range data {
			data[i] = byte(pick(256))
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		pick := fromBytes(data)
		e := drawEncoder(pick)
		a, b := drawPair(t, pick)
		checkKeys(t, e, a, b)
	})
}

// checkFootprint judges pairs of inputs that agree on what the policy can read,
// and on nothing else but by chance.
func checkFootprint(t *testing.T, set *Set, pick chooser, pairs int) {
	t.Helper()
	paths := set.encoder.parts()
	for range pairs {
		a, b := drawInput(pick), drawInput(pick)
		doc := document(t, b)
		transplant(doc, document(t, a), paths)
		b = inputOf(t, doc)
		gotA, errA := set.JudgeInput(t.Context(), a)
		gotB, errB := set.JudgeInput(t.Context(), b)
		if !reflect.DeepEqual(gotA, gotB) || (errA == nil) != (errB == nil) {
			t.Fatalf("what lies outside of %v changes the decision\n%+v %v\n%+v %v\n%+v\n%+v", paths, gotA, errA, gotB, errB, a, b)
		}
		if set.memo == nil {
			continue
		}
		keyA, okA := keyOf(set.encoder, a)
		keyB, okB := keyOf(set.encoder, b)
		if okA != okB || keyA != keyB {
			t.Fatalf("keys differ:\n%q\n%q", keyA, keyB)
		}
		c, d := drawPair(t, pick)
		checkKeys(t, set.encoder, c, d)
		// What is remembered is what an evaluation says.
		got, err := set.Judge(t.Context(), QuestionOf(a))
		if (err == nil) != (errA == nil) || !reflect.DeepEqual(got, gotA) {
			t.Fatalf("remembered %+v, %v; evaluated %+v, %v", got, err, gotA, errA)
		}
	}
	if n := set.Counts().Differences; n != 0 {
		t.Errorf("%d decisions of the compiled policy differ", n)
	}
}

// both compares the evaluators on the way.
func both() Options { return Options{Evaluator: Both, Timeout: time.Minute} }

// ReferenceFiles are the reference policies of package plan as twyn's.
func ReferenceFiles(t testing.TB) fstest.MapFS {
	t.Helper()
	paths, err := filepath.Glob("plan/testdata/reference/*")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no reference policies: %v", err)
	}
	files := fstest.MapFS{}
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(content), "package reference", "package twyn", 1)
		files[filepath.Base(path)] = &fstest.MapFile{Data: []byte(text)}
	}
	return files
}

func TestOutsideOfTheFootprintNothingMatters(t *testing.T) {
	t.Parallel()
	corpora := map[string]fstest.MapFS{"default": {}, "reference": ReferenceFiles(t)}
	if err := fsCopy(corpora["default"]); err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob("../testdata/decisions/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range archives {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := fstest.MapFS{}
		if err := fsCopy(files); err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if name, ok := strings.CutPrefix(f.Name, "policy/"); ok {
				files[name] = &fstest.MapFile{Data: f.Data}
			}
		}
		corpora[filepath.Base(path)] = files
	}
	for name, files := range corpora {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, err := Load(t.Context(), files, both())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", set.Memo())
			checkFootprint(t, set, seeded(uint64(len(name))), 200)
		})
	}
}

func TestOutsideOfTheFootprintNothingMattersToGeneratedPolicies(t *testing.T) {
	t.Parallel()
	remembered, compiled := 0, 0
	for seed := range uint64(200) {
		pick := seeded(seed)
		policy := generatePolicy(pick)
		set, err := Load(t.Context(), fstest.MapFS{"policy.rego": {Data: []byte(policy)}, "data.json": {Data: []byte(generateData)}}, both())
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, policy)
		}
		if set.memo != nil {
			remembered++
		}
		if set.program != nil {
			compiled++
		}
		checkFootprint(t, set, pick, 8)
		if t.Failed() {
			t.Fatalf("seed %d\n%s", seed, policy)
		}
	}
	t.Logf("of 200 policies %d remember, %d compile", remembered, compiled)
	if remembered < 150 {
		t.Errorf("only %d of 200 policies remember", remembered)
	}
}
